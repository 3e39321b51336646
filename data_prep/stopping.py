"""The end of commands that run until they are stopped: servers, agents, schedules."""

import _thread
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

INTERRUPTED = 130  # the exit code after Ctrl-C, of every command


@contextmanager
def until_stopped(stop: Callable[[], object] | None = None) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the block in order, and the process after it.

    Ctrl-C ends the process with 130, as it does in every command. SIGTERM, by which
    systemd and others stop what they run, lets the command return.

    Args:
        stop: Makes the block end; called in a thread of its own. None: the block is
            left by KeyboardInterrupt.
    """
    came = []

    def handle(number: int, _) -> None:
        came.append(number)
        with contextlib.suppress(OSError):  # whoever read it may be gone
            os.write(1, b"\nstopping\n")  # print() cannot be called in a handler
        if stop is None:
            raise KeyboardInterrupt
        # not here: what the signal interrupts may hold the very lock that it wants
        _thread.start_new_thread(stop, ())

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handle)
    try:
        yield
    except KeyboardInterrupt:
        if not came:
            raise
    if signal.SIGINT in came:
        sys.exit(INTERRUPTED)
