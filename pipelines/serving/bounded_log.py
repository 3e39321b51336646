"""Limit the size of a log file that another program writes."""

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LIMIT_BYTES = 16 << 20
INTERVAL_S = 1.0


@contextmanager
def bounded(log: Path, limit: int = LIMIT_BYTES) -> Iterator[None]:
    """Keep a growing log small: what is over the limit goes to ``LOG.1``.

    The program must append to it. Lines that are written just while the file is cut may
    be lost; where the disk is full, all that it held is, and the disk has room again.
    """
    ended = threading.Event()

    def watch():
        while not ended.wait(INTERVAL_S):
            with suppress(OSError):  # it may come later, or have gone: look again
                if log.stat().st_size > limit:
                    with suppress(OSError):
                        shutil.copyfile(log, f"{log}.1")
                    os.truncate(log, 0)

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield
    finally:
        ended.set()
        watching.join()
