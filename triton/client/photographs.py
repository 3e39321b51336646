"""From what the command line names to batches of encoded photographs."""

import errno
import glob
import os
import sys
from pathlib import Path

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")  # looked for in folders
STANDARD_INPUT = "-"
MAX_FILE_BYTES = 64 << 20
# A request is copied through shared memory, of which containers have little.
MAX_REQUEST_BYTES = 16 << 20


class Unreadable(Exception):
    """A file cannot be sent; the text is the reason."""


def find(wanted, fail):
    """Yield the files that are meant by files, folders, globs and "-", each once."""
    seen, named = set(), set(wanted)
    for name in wanted:
        if name == STANDARD_INPUT or os.path.isfile(name):
            found = [name]
        elif os.path.isdir(name):
            found = sorted(
                str(path)
                for path in Path(name).rglob("*")
                if path.suffix.lower() in SUFFIXES and path.is_file()
            )
            if not found:
                fail(
                    name, "no photographs (%s) are in this folder" % ", ".join(SUFFIXES)
                )
        else:
            found = sorted(glob.glob(name, recursive=True)) or [name]
            found = [path for path in found if not os.path.isdir(path)] or [name]
        for path in found:
            if path not in seen or path in named:
                seen.add(path)
                yield path


def why_not_there(path):
    """Why a file cannot be opened; None if it can."""
    if path == STANDARD_INPUT:
        return None
    try:
        os.stat(path)
    except OSError as error:
        return error.strerror
    return None if os.access(path, os.R_OK) else os.strerror(errno.EACCES)


def read(path):
    """The bytes of a file, or of standard input.

    Raises:
        Unreadable: It cannot be read, or is too large.
    """
    try:
        if path == STANDARD_INPUT:
            data = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
        else:
            with open(path, "rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise Unreadable(error.strerror) from None
    if len(data) > MAX_FILE_BYTES:
        raise Unreadable("it has more than %d MiB" % (MAX_FILE_BYTES >> 20))
    return data


def batches(paths, size, fail):
    """Read files into batches of at most ``size`` files and MAX_REQUEST_BYTES.

    Yields lists of ``(path, bytes)``; files that cannot be read go to ``fail``.
    """
    batch, total = [], 0
    for path in paths:
        try:
            data = read(path)
        except Unreadable as error:
            fail(path, str(error))
            continue
        if batch and (len(batch) == size or total + len(data) > MAX_REQUEST_BYTES):
            yield batch
            batch, total = [], 0
        batch.append((path, data))
        total += len(data)
    if batch:
        yield batch
