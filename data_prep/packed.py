"""The prepared data set on disk: what prepare writes and everything later reads.

A prepared folder holds::

    train/ val/ test/     each images.npy (uint8, N x H x W x 3, RGB)
                          and labels.npy (int64, N; an index into classes.txt)
    manifest.csv          one row an image, see ManifestRow
    classes.txt           class names, sorted, one a line: the order of the outputs
    preprocessing.json    the preprocessing record, with mean and std of train
    split.json            method, seed, ratios, counts and the measured share of twins
    preview.png           a mosaic of prepared images, a row a class
    raw_samples.npz       a few test images as they were taken (`write_samples`)

Row ``i`` of a split in the manifest describes image ``i`` of that split's array.
"""

import csv
import io
from pathlib import Path
from typing import Iterable, NamedTuple

import numpy as np

from data_prep.errors import InputError

CLASSES_FILE = "classes.txt"
SPLITS = ("train", "val", "test")
HEADER_BYTES = 128  # NumPy leaves room for a count that grows

RAW_SAMPLES, SAMPLES = "raw_samples.npz", 8
LARGEST_SAMPLE = 2 << 20  # bytes


class ManifestRow(NamedTuple):
    """Where one prepared image comes from.

    Attributes:
        path: Raw path, with forward slashes, starting with the raw folder's name.
        label: Class name.
        source: Who or what took it: the raw set (a signer) the image belongs to.
        sha256: Of the raw file's bytes, 64 hex digits.
        phash: Perceptual hash, 16 hex digits (see data_prep.hashing).
        group: Images of one group never fall on two sides of a split.
        split: train, val or test.
    """

    path: str
    label: str
    source: str
    sha256: str
    phash: str
    group: str
    split: str


def load_split(folder: str | Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Open one split without reading it into memory.

    Returns:
        images: uint8 ``(N, H, W, 3)`` RGB, a read-only memory map.
        labels: int64 ``(N,)``, indices into `read_classes`.

    Raises:
        InputError: No such split, or its two arrays do not belong together.
    """
    base = Path(folder) / split
    try:
        images = np.load(base / "images.npy", mmap_mode="r")
        labels = np.load(base / "labels.npy")
    except (OSError, ValueError) as error:
        raise InputError(
            f"{base} is not a split of a prepared data set ({error}); make one with "
            "python -m data_prep.prepare"
        ) from None
    if len(images) != len(labels) or images.dtype != np.uint8 or images.ndim != 4:
        raise InputError(
            f"{base} is damaged: images {images.shape} {images.dtype}, labels "
            f"{labels.shape}; prepare the data again"
        )
    return images, labels


def read_classes(folder: str | Path) -> list[str]:
    """Class names in the order of the label numbers.

    Raises:
        InputError: The folder holds no classes.txt.
    """
    return read_names(Path(folder) / CLASSES_FILE)


def read_names(path: Path) -> list[str]:
    """Names that stand one a line in a file, as Triton reads them: only "\\n" ends one.

    Raises:
        InputError: There is no such file.
    """
    text = _read(path.parent, path.name)
    return text.removesuffix("\n").split("\n") if text else []


def read_manifest(folder: str | Path) -> list[ManifestRow]:
    """All rows: train, val, test, each in the order of its arrays.

    Raises:
        InputError: No manifest there, or one with other columns.
    """
    reader = csv.reader(io.StringIO(_read(folder, "manifest.csv"), newline=""))
    header = tuple(next(reader, ()))
    if header != ManifestRow._fields:
        raise InputError(
            f"{Path(folder) / 'manifest.csv'} has the columns {', '.join(header)}; "
            f"expected {', '.join(ManifestRow._fields)}"
        )
    return [ManifestRow(*row) for row in reader]


def write_classes(folder: Path, classes: Iterable[str]) -> None:
    text = "".join(f"{name}\n" for name in classes)
    (folder / CLASSES_FILE).write_bytes(text.encode("utf-8"))


def write_manifest(folder: Path, rows: Iterable[ManifestRow]) -> None:
    with open(folder / "manifest.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(ManifestRow._fields)
        writer.writerows(rows)


def write_split(
    folder: Path, images: Iterable[bytes], labels: np.ndarray, size: int
) -> None:
    """Write one split's two arrays from a stream, a little at a time.

    Args:
        images: The pixels, ``size * size * 3`` bytes an image, RGB, in pieces of one or
            more images; as many as labels.
        labels: int64 ``(N,)``.
    """
    folder.mkdir()
    with open(folder / "images.npy", "wb") as file:
        file.write(images_header(len(labels), size))
        for pixels in images:
            file.write(pixels)
    np.save(folder / "labels.npy", np.asarray(labels, np.int64))


def images_header(count: int, size: int) -> bytes:
    """The start of an ``images.npy``, HEADER_BYTES long for any count and size."""
    header = io.BytesIO()
    shape = (count, size, size, 3)
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
    return header.getvalue()


def _read(folder: str | Path, name: str) -> str:
    path = Path(folder) / name
    try:
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}); is {folder} a prepared data "
            "set? python -m data_prep.prepare makes one"
        ) from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8; take the one that was written") from None


def write_samples(folder: Path, files: Iterable[bytes]) -> None:
    """Keep a few encoded images, but none above LARGEST_SAMPLE.

    Training computes its answers to them. A deployment compares its own answers with
    these, from decoding the file to the probabilities.
    """
    kept = [file for file in files if len(file) <= LARGEST_SAMPLE]
    np.savez(
        folder / RAW_SAMPLES,
        files=np.frombuffer(b"".join(kept), np.uint8),
        lengths=np.array([len(file) for file in kept], np.int64),
    )


def read_samples(folder: Path) -> list[bytes]:
    """Read what `write_samples` kept; nothing for folders made before it did."""
    path = folder / RAW_SAMPLES
    if not path.exists():
        return []
    with np.load(path, allow_pickle=False) as arrays:
        ends = np.cumsum(arrays["lengths"])
        return [part.tobytes() for part in np.split(arrays["files"], ends)[: len(ends)]]
