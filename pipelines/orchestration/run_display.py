"""What a run of the pipeline shows: a line a step, with its result and its time.

    train      97.1 % of 174 test photographs right; 12 of 12 epochs              58 s

Its warnings stand below its line. Everything else that the steps and ClearML print goes
into a log file.
"""

import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from data_prep.paths import data_home
from data_prep.progress import CONSOLE, duration, pause, write_in_place

WIDTH = 92  # columns of a line, time included
NAME = 11  # columns of a step's name
LOOK = 0.2  # seconds between two looks at what a step tells


class RunDisplay:
    """Shows steps as they run.

    Args:
        log: File for everything that is printed while `quiet`; None shows that, too.
    """

    def __init__(self, log: Path | None = None):
        self.log = log
        self.out = sys.stdout
        self.step, self.started, self.said = "", 0.0, 0.0
        self.messages: IO[str] | None = None  # what steps tell, while `quiet`
        self.half = ""  # of a message that is being written
        self.warnings: list[str] = []  # of the step that runs
        self.lock = threading.Lock()

    def start(self, step: str) -> None:
        """A step begins."""
        with self.lock:
            self.step = step
            self.started = self.said = time.monotonic()
            self._live("")

    def end(self, step: str, result: str) -> None:
        """A step has ended, with a result of one line."""
        with self.lock:
            self._read()
            seconds = time.monotonic() - self.started if self.step == step else 0.0
            self.step = ""
            self._line(step, result, duration(seconds))
            self._show_warnings()

    @contextmanager
    def running(self, step: str) -> Iterator[list[str]]:
        """A step within this process; its result is put into the list."""
        result: list[str] = []
        self.start(step)
        yield result
        self.end(step, "; ".join(result))

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Send what this process and its children print to the log meanwhile.

        Live lines and warnings that children tell (data_prep/progress.py) are shown;
        warnings below the line of their step.
        """
        if self.log is None:
            yield
            return
        self.log.parent.mkdir(parents=True, exist_ok=True)
        flush()
        kept = [os.dup(number) for number in (1, 2)]
        self.out = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="replace")
        over = threading.Event()
        with (
            open(self.log, "ab", buffering=0) as log,
            tempfile.NamedTemporaryFile("r", prefix="asl-console-") as messages,
        ):
            self.messages = messages
            watcher = threading.Thread(target=self._watch, args=(over,), daemon=True)
            os.environ[CONSOLE] = messages.name
            for number in (1, 2):
                os.dup2(log.fileno(), number)
            watcher.start()
            try:
                yield
            finally:
                over.set()
                watcher.join()
                del os.environ[CONSOLE]
                flush()
                for number, before in zip((1, 2), kept):
                    os.dup2(before, number)
                    os.close(before)
                with self.lock:
                    self._live("", clear=True)
                    self._show_warnings()  # of a step that failed
                    self.out.close()
                    self.out, self.messages = sys.stdout, None

    def _watch(self, over: threading.Event) -> None:
        """Show what steps tell, until the run is over."""
        while not over.wait(LOOK):
            with self.lock:
                self._read()
        with self.lock:
            self._read()

    def _read(self) -> None:
        """Take note of what steps have told since the last time."""
        if self.messages is None:
            return
        *lines, self.half = (self.half + self.messages.read()).split("\n")
        told = [json.loads(line) for line in lines]
        self.warnings += [m["warning"] for m in told if "warning" in m]
        if not self.step:
            self._show_warnings()
        if live := [m["live"] for m in told if "live" in m]:
            self._live(live[-1])

    def _show_warnings(self) -> None:
        for text in self.warnings:
            self._line("", f"warning: {text}")
        self.warnings.clear()

    def _live(self, text: str, clear: bool = False) -> None:
        if self.log is None:
            return
        text = text.removeprefix(f"{self.step}: ")  # its name stands before it
        if self.out.isatty():
            shown = "" if clear else f"{self.step:<{NAME}}{text or '...'}"
            write_in_place(shown, self.out)
        elif text and time.monotonic() - self.said >= pause(self.said - self.started):
            self.said = time.monotonic()
            self._line(self.step, text)

    def _line(self, step: str, text: str, took: str = "") -> None:
        clear = "\r\x1b[K" if self.out.isatty() else ""
        space = WIDTH - NAME - len(took) - 1
        line = f"{step:<{NAME}}{text:<{space}} {took}".rstrip()
        print(f"{clear}{line}", file=self.out, flush=True)


def log_file(name: str) -> Path:
    """The file that keeps what a run of this name, begun now, prints."""
    moment = time.strftime("%Y-%m-%d_%H.%M.%S")
    return data_home() / "logs" / f"{name}-{moment}-{os.getpid()}.log"


def flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
