"""How long each connection may take, and which gives way when there are too many.

The time is for all of a request's head or body together: a client that sends one byte a
second uses it up as one that sends nothing does. A connection is a stranger's until it
has shown a key (or may see the page); when all places are taken, the stranger that has
been there longest gives up its place.
"""

import socket
import threading
import time


class Connections:
    """The open connections of a server; from any thread."""

    def __init__(self):
        self._lock = threading.Lock()
        self._ends = {}  # when each has to be done, or None
        self._strangers = {}  # an ordered set, oldest first

    def add(self, connection: socket.socket, seconds: float) -> None:
        with self._lock:
            self._strangers[connection] = None
        self.limit(connection, seconds)

    def limit(self, connection: socket.socket, seconds: float | None) -> None:
        """Say how long what comes now may take; None for as long as it does."""
        with self._lock:
            self._ends[connection] = seconds and time.monotonic() + seconds

    def trust(self, connection: socket.socket) -> None:
        """It is no stranger's any more."""
        with self._lock:
            self._strangers.pop(connection, None)

    def remove(self, connection: socket.socket) -> None:
        with self._lock:
            self._ends.pop(connection, None)
            self._strangers.pop(connection, None)

    def end_overdue(self) -> None:
        """End those whose time is over."""
        now = time.monotonic()
        with self._lock:
            for connection, end in self._ends.items():
                if end is not None and end < now:
                    _end(connection)

    def make_room(self) -> None:
        """End the oldest stranger's, if there is one."""
        with self._lock:
            for connection in self._strangers:
                self._strangers.pop(connection)
                return _end(connection)


def _end(connection: socket.socket) -> None:
    """Let reads and writes in its thread fail; the thread closes it then."""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:  # it has ended by itself
        pass
