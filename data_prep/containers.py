"""Files as a tree, whether they lie in folders, in zip or tar archives, or in a CSV.

An archive or a Sign-MNIST table looks like a folder of its own name, and is read in
place. A member's place in it is recorded once, so any process can read any member.
An archive that is compressed as one piece cannot be read from the middle, so it is
unpacked to a temporary file.
"""

import atexit
import codecs
import functools
import io
import itertools
import lzma
import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, cast

import cv2
import numpy as np

from data_prep import leftovers
from data_prep.errors import InputError
from data_prep.image_file import MAX_FILE

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
CSV_HEADER = b"label,pixel1,"
MAX_LINE = 1 << 20  # bytes of a row
UNPACKED = "asl-unpacked-"
# what the archives' modules raise
DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError)

# Where a file's bytes are: in a file of its own; in a zip, by name; or in a tar or CSV,
# by offset and size in bytes.
Place = tuple[str, None] | tuple[str, str] | tuple[str, tuple[int, int]]
# folder -> its files by name; None is a pipe, a device or the like, which is never read
Tree = dict[PurePosixPath, dict[str, Place | None]]


def tree(path: Path, name: str) -> Tree:
    """List a folder, archive or table; archives and tables in a folder are entered.

    Args:
        name: What to call ``path`` itself in the result.

    Raises:
        InputError: An archive or table is damaged.
    """
    top = PurePosixPath(name)
    if path.is_dir():
        return _folder(path, top)
    found = _enter(path, top)
    if found is None:
        raise InputError(
            f"{path} is no folder, archive ({' '.join(ARCHIVES)}) or Sign-MNIST CSV; "
            "give one of these"
        )
    return found


def read(file: str, member: None | str | tuple[int, int]) -> bytes:
    """The bytes at a `Place`; a row of a table as a grey BMP.

    Of a file that is too large for an image, only enough is read to see that.

    Raises:
        InputError: The file has gone, may not be read, or is damaged.
    """
    try:
        if isinstance(member, str):
            with _open_zip(file).open(member) as source:
                return source.read(MAX_FILE + 1)
        with open(file, "rb") as source:
            if member is None:
                return source.read(MAX_FILE + 1)
            source.seek(member[0])
            data = source.read(min(member[1], MAX_FILE + 1))
    except OSError as error:
        raise InputError(
            f"{file} cannot be read ({error.strerror}); restore it and run again"
        ) from None
    except (*DAMAGED, RuntimeError) as error:
        raise InputError(f"{file}, {member}: {error}; pack it again") from None
    return _bitmap(data) if file.lower().endswith(".csv") else data


def walk(path: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """Walk through folders as ``os.walk`` does, in order, linked ones included.

    Raises:
        InputError: A folder may not be read.
    """

    def refuse(error: OSError):
        raise InputError(
            f"{error.filename} cannot be read ({error.strerror}); make it readable"
        )

    seen = set()  # links may lead in circles
    for current, folders, files in os.walk(path, followlinks=True, onerror=refuse):
        real = os.path.realpath(current)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        yield current, folders, sorted(files)


def files_below(path: Path) -> Iterator[Path]:
    """Give all regular files in a folder, in linked folders too."""
    for current, _, files in walk(path):
        yield from (Path(current, name) for name in files if _is_file(current, name))


def _folder(path: Path, top: PurePosixPath) -> Tree:
    found: Tree = {}
    for current, _, files in walk(path):
        here = top / Path(current).relative_to(path).as_posix()
        found[here] = {}
        for file in files:
            if not _is_file(current, file):
                found[here][file] = None
                continue
            inner = _enter(Path(current, file), here / file)
            if inner is None:
                found[here][file] = (os.path.join(current, file), None)
            else:
                found.update(inner)
    return found


def _is_file(folder: str, name: str) -> bool:
    """Say whether this is a file; reading a pipe, socket or device might never end.

    A broken link counts as a file: reading it reports the error.
    """
    try:
        return stat.S_ISREG(os.stat(os.path.join(folder, name)).st_mode)
    except OSError:
        return True


def _enter(path: Path, top: PurePosixPath) -> Tree | None:
    """The tree inside an archive or table; None if the file is neither."""
    name = path.name.lower()
    try:
        if name.endswith(".zip"):
            return _zip(path, top)
        if name.endswith(ARCHIVES):
            return _tar(path, top)
        if name.endswith(".csv") and _is_table(path):
            return _csv(path, top)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error})") from None
    except (*DAMAGED, KeyError, RuntimeError) as error:
        # a link to nothing; encrypted, or compressed in a way that is not known
        raise InputError(f"{path} is damaged ({error}); get it again") from None
    return None


def _is_table(path: Path) -> bool:
    with open(path, "rb") as file:
        return _starts_table(file)


def _starts_table(file: IO[bytes]) -> bool:
    """Is this the start of a Sign-MNIST table? Excel puts a mark in front."""
    start = file.read(len(codecs.BOM_UTF8 + CSV_HEADER))
    return start.removeprefix(codecs.BOM_UTF8).startswith(CSV_HEADER)


def _zip(path: Path, top: PurePosixPath) -> Tree:
    found: Tree = {}
    archive = _open_zip(str(path))
    for entry in archive.infolist():
        # some programs of Windows write backslashes, against the format's rules
        name = entry.filename.replace("\\", "/")
        here = top / name.lstrip("/")
        if name.endswith("/"):
            found.setdefault(here, {})
        elif table := here.suffix.lower() == ".csv" and _table(archive.open(entry)):
            found.update(_csv(table, here))
        else:
            place = str(path), entry.filename
            found.setdefault(here.parent, {})[here.name] = place
    return found


@functools.lru_cache(maxsize=4)
def _open_zip(path: str) -> zipfile.ZipFile:
    """One handle in each process: opening reads the whole directory."""
    return zipfile.ZipFile(path)


def _tar(path: Path, top: PurePosixPath) -> Tree:
    found: Tree = {}
    plain = _plain_tar(path)
    with tarfile.open(plain, "r:") as archive:
        for entry in archive:
            here = top / entry.name
            if entry.isdir():
                found.setdefault(here, {})
            elif entry.islnk():  # a file that is there once more, under another name
                first = archive.getmember(entry.linkname)
                place = plain, (first.offset_data, first.size)
                found.setdefault(here.parent, {})[here.name] = place
            elif not entry.isfile():
                continue
            elif table := (
                here.suffix.lower() == ".csv"
                and (member := archive.extractfile(entry))
                and _table(member)
            ):
                found.update(_csv(table, here))
            else:
                place = plain, (entry.offset_data, entry.size)
                found.setdefault(here.parent, {})[here.name] = place
    return found


def _plain_tar(path: Path) -> str:
    """The path of the archive; of an unpacked temporary one if it is compressed."""
    if path.name.lower().endswith(".tar"):
        return str(path)
    with tarfile.open(path, "r:*") as archive:
        return str(_unpacked(cast(IO[bytes], archive.fileobj), ".tar"))


def _table(member: IO[bytes]) -> Path | None:
    """Unpack a member of an archive if it is a Sign-MNIST table."""
    with member:
        if not _starts_table(member):
            return None
        member.seek(0)
        return _unpacked(member, ".csv")


def _unpacked(stream: IO[bytes], suffix: str) -> Path:
    """Copy a stream into a temporary file that lives as long as this process."""
    leftovers.remove_files(Path(tempfile.gettempdir()).glob(f"{UNPACKED}*"))
    copy = tempfile.NamedTemporaryFile(prefix=UNPACKED, suffix=suffix)
    leftovers.hold(copy)
    atexit.register(copy.close)  # removes it
    shutil.copyfileobj(stream, copy, 1 << 20)
    copy.flush()
    return Path(copy.name)


def _csv(path: Path, top: PurePosixPath) -> Tree:
    """The rows of Sign-MNIST: label 0 is A, 25 is Z; 9 and 25 do not occur in it."""
    found: Tree = {}
    with open(path, "rb") as file:
        offset = len(file.readline())
        for row, line in enumerate(file, 1):
            if not line.strip():
                offset += len(line)
                continue
            folder = top / _letter(line, f"{top}, row {row}")
            place = str(path), (offset, len(line))
            found.setdefault(folder, {})[f"{row}.bmp"] = place
            offset += len(line)
    return found


def _letter(line: bytes, said: str) -> str:
    """The class that a row begins with: 0 is A, 25 is Z."""
    label = line.partition(b",")[0].strip()
    if not (label.isdigit() and int(label) < 26):
        shown = label[:20].decode(errors="replace")
        raise InputError(f"{said}: label {shown!r}; expected 0 to 25")
    return chr(ord("A") + int(label))


def table_row(path: Path, number: int) -> tuple[str, bytes]:
    """Read one row of a Sign-MNIST table.

    Args:
        number: From 1, which is the row below the headings.

    Returns:
        The class, and the picture as the bytes of a BMP.

    Raises:
        InputError: It is no such table, has no such row, or the row is damaged.
    """
    said = f"{path}, row {number}"
    try:
        with open(path, "rb") as file:
            if not _starts_table(file):
                raise InputError(
                    f"{path} is no Sign-MNIST table; its first line must begin with "
                    f"{CSV_HEADER.decode()}"
                )
            file.seek(0)
            rows = itertools.islice(iter(lambda: file.readline(MAX_LINE), b""), 1, None)
            line = next(itertools.islice(rows, max(number, 1) - 1, None), b"")
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from None
    if number < 1 or not line.strip():
        raise InputError(f"{said}: there is no such row; the first is 1")
    label = _letter(line, said)
    if data := _bitmap(line):
        return label, data
    raise InputError(
        f"{said}: {line.count(b',')} values after the label are no square picture of "
        "whole numbers from 0 to 255; Sign-MNIST has 784, of 28 x 28 pixels"
    )


def _bitmap(line: bytes) -> bytes:
    """A row ``label,grey,grey,...`` of a square image as the bytes of a BMP."""
    try:
        values = np.loadtxt(io.BytesIO(line), np.uint8, delimiter=",", ndmin=1)[1:]
    except (ValueError, OverflowError):
        return b""  # validation reports it as an empty file
    side = int(len(values) ** 0.5)
    if not side or side * side != len(values):
        return b""
    return cv2.imencode(".bmp", values.reshape(side, side))[1].tobytes()
