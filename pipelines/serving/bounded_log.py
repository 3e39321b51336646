"""Limit the size of a log file that another program writes."""

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LIMIT_BYTES = 16 << 20
INTERVAL_S = 1.0


@contextmanager
def bounded(log: Path, limit: int = LIMIT_BYTES) -> Iterator[None]:
    """Keep a growing log small: what is over the limit goes to ``LOG.1``.

    The program must append to it. Lines that are written just while the file is cut may
    be lost.
    """
    ended = threading.Event()

    def watch():
        while not ended.wait(INTERVAL_S):
            if log.exists() and log.stat().st_size > limit:
                shutil.copyfile(log, f"{log}.1")
                os.truncate(log, 0)

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield
    finally:
        ended.set()
        watching.join()
