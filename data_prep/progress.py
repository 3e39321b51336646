"""Messages while a command runs: warnings, and one live line of progress.

On a terminal the live line changes in place; elsewhere it is written now and then. A
command that runs others (scripts/quickstart) names a file in the variable CONSOLE.
The others write their messages there as well, one JSON object a line, and it shows
them. Everything else that they print goes into its log.
"""

import json
import os
import shutil
import sys
import threading
import time

CONSOLE = "ASL_CONSOLE"  # environment variable
FIRST, LONGEST = 10.0, 300.0  # seconds between two lines in a log
REFRESH = 0.2  # seconds between two changes of one on a terminal
MEASURED = 3.0  # seconds over which a pace is measured before it is told


def warn(text: str) -> None:
    """Print a warning: something people should know that does not stop the work."""
    print(f"warning: {text}", file=sys.stderr, flush=True)
    hand_on(warning=text)


def hand_on(**message: str) -> None:
    """Pass a message to the command that runs this one, if one does."""
    if path := os.environ.get(CONSOLE):
        with open(path, "a", encoding="utf-8") as file:
            # in one write: lines stay whole
            file.write(json.dumps(message) + "\n")


def pause(seconds: float) -> float:
    """How long to wait with the next line where there is no terminal.

    It grows with the work: the lines of an hour are no more than a screen.

    Args:
        seconds: From the beginning of the work until the line before.
    """
    return min(max(FIRST, seconds / 2), LONGEST)


class LiveLine:
    """One line about what goes on, on standard error; cleared at the end."""

    def __init__(self):
        self.moves = sys.stderr.isatty()
        self.is_logged = not self.moves and not os.environ.get(CONSOLE)
        self.started = time.monotonic()
        # what is over within seconds needs no line in a log
        self.shown_at = self.started if self.is_logged else 0.0
        self.is_shown = False

    def show(self, text: str) -> None:
        """Show a text, unless the last one was shown a moment ago."""
        now = time.monotonic()
        every = pause(self.shown_at - self.started) if self.is_logged else REFRESH
        if now - self.shown_at < every:
            return
        self.shown_at = now
        if os.environ.get(CONSOLE):
            hand_on(live=text)
        elif self.moves:
            write_in_place(text)
            self.is_shown = True
        else:
            print(text, file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self.is_shown:
            write_in_place("")
            self.is_shown = False

    def __enter__(self) -> "LiveLine":
        return self

    def __exit__(self, *_) -> None:
        self.clear()


def write_in_place(text: str, file=None) -> None:
    """Replace the current line of a terminal."""
    width = shutil.get_terminal_size().columns - 1
    print(f"\r{text[:width]}\x1b[K", end="", file=file or sys.stderr, flush=True)


class Pace:
    """How fast something goes, once that can be told.

    The time until the first piece is done does not count: programs start meanwhile,
    and files are read for the first time.
    """

    def __init__(self):
        self.first: tuple[float, float] | None = None  # when, and how much was done

    def update(self, done: float) -> float | None:
        """Take note of how much is done, in any unit.

        Returns:
            How much of it is done in a second; None before MEASURED seconds.
        """
        now = time.monotonic()
        if self.first is None:
            self.first = now, done
        since, before = self.first
        if now - since < MEASURED or done <= before:
            return None
        return (done - before) / (now - since)


class Progress:
    """A live line that counts: done of how many, how fast, how long still.

    Args:
        title: What is done: "read photographs".
        total: How many there are.
        unit: Of what.
        is_shown: False for a process whose progress is that of another one.
    """

    def __init__(
        self, title: str, total: int, unit: str = "images", is_shown: bool = True
    ):
        self.title, self.total, self.unit = title, total, unit
        self.done, self.is_shown = 0, is_shown
        self.line, self.pace = LiveLine(), Pace()
        self.lock = threading.Lock()
        self.rate: float | None = None  # a second

    def update(self, count: int = 1, note: str = "") -> None:
        """Count some more; several threads may do so.

        Args:
            note: Stands at the end of the line.
        """
        with self.lock:
            self.done += count
            self.rate = self.pace.update(self.done)
            if self.is_shown and self.done < self.total:
                self.line.show(self.text(note))

    def text(self, note: str = "") -> str:
        parts = [f"{self.title}: {self.done:,} of {self.total:,} {self.unit}"]
        if rate := self.rate:
            left = duration((self.total - self.done) / rate)
            speed = f"{rate:,.0f} a second" if rate >= 1 else f"{1 / rate:.1f} s each"
            parts += [speed, f"{left} left"]
        if note:
            parts.append(note)
        return ", ".join(parts)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_) -> None:
        self.line.clear()


def duration(seconds: float) -> str:
    """Say a time as people do: "41 s", "3 min 5 s", "2 h 10 min"."""
    seconds = round(min(seconds, 1e7))
    if seconds < 100:
        return f"{seconds} s"
    minutes, rest = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
