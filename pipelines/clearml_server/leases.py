"""Which processes use the server; when the last one is gone, it may end."""

import os
import threading
import time
from pathlib import Path

# So long it stays after its last user: the links that a command printed lead to it, and
# between the steps of a pipeline nobody may be there for a moment.
GRACE_SECONDS = float(os.environ.get("ASL_CLEARML_GRACE_SECONDS", 900))
# The first user starts the server before it can register.
FIRST_SECONDS = 30.0


class Leases:
    """Processes of this machine, by id and start time (ids are used again)."""

    def __init__(self):
        self._lock = threading.Lock()
        self._users = {}
        self._closed = False

    def add(self, pid: int) -> bool:
        """Note a user; False if it is too late, as the server is about to end."""
        started = start_time(pid)
        with self._lock:
            if started is not None and not self._closed:
                self._users[pid] = started
            return not self._closed

    def alive(self) -> bool:
        """Is any of the processes still there?"""
        with self._lock:
            return self._alive()

    def close(self) -> bool:
        """Admit no further user; False if there is one already."""
        with self._lock:
            self._closed = not self._alive()
            return self._closed

    def _alive(self) -> bool:
        self._users = {
            pid: started
            for pid, started in self._users.items()
            if start_time(pid) == started
        }
        return bool(self._users)

    def wait_until_unused(self, stop: threading.Event) -> None:
        """Return when nobody has used the server for a while, or `stop` is set.

        In the first case, users who come later are turned away.
        """
        deadline = time.monotonic() + FIRST_SECONDS
        while not stop.wait(0.5):
            if self.alive():
                deadline = time.monotonic() + GRACE_SECONDS
            elif time.monotonic() >= deadline and self.close():
                return


def start_time(pid: int) -> str | None:
    """Something that tells processes of one id apart; None if there is no such one."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass  # it lives, and belongs to somebody else
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "unknown"  # no Linux
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else fields[19]
