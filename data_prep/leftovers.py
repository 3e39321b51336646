"""Remove temporary files and folders that killed processes have left behind.

A process holds a lock on each temporary thing that it makes. The system releases the
lock when the process ends, even if it is killed. What nobody locks is a leftover.
"""

import fcntl
import os
import shutil
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Iterable, Iterator

FRESH = 60.0  # seconds within which a new file is given its lock


def hold(file: IO[bytes]) -> None:
    """Mark an open file as in use until it is closed."""
    fcntl.flock(file, fcntl.LOCK_SH)


@contextmanager
def holding(folder: Path) -> Iterator[None]:
    """Mark a folder, and what is in it, as in use while the body runs."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH)
        yield
    finally:
        os.close(handle)


def remove_files(files: Iterable[Path]) -> None:
    """Remove the files that nobody holds."""
    for file in files:
        with _lock(file) as ours, suppress(OSError):  # gone, or somebody else's
            if ours and time.time() - file.stat().st_mtime > FRESH:
                file.unlink()


def remove_folders(folders: Iterable[Path]) -> None:
    """Remove the folders that nobody holds."""
    for folder in folders:
        with _lock(folder.parent) as ours:
            if ours:
                shutil.rmtree(folder, ignore_errors=True)


def newest_first(paths: Iterable[Path]) -> list[Path]:
    """Sort by the time of the last use; leave out what is gone by now."""
    used = {}
    for path in paths:
        with suppress(FileNotFoundError):
            used[path] = path.stat().st_mtime
    return sorted(used, key=used.__getitem__, reverse=True)


@contextmanager
def _lock(path: Path) -> Iterator[bool]:
    """Try to become the only holder of a file or folder; yield whether it worked."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        yield False
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        ours = True
    except OSError:
        ours = False
    try:
        yield ours
    finally:
        os.close(handle)
