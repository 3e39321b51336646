"""From raw images to the packed data set, each image decoded once.

Which split an image belongs to is known only when all are hashed. So the pixels go to
one staging file first, and from there in order to the arrays of their splits: a copy,
which costs far less than decoding again. Memory does not grow with the pixels.
"""

import hashlib
import json
import math
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Iterator, Sequence

import cv2
import numpy as np

from data_prep import grouping, packed, report, splits
from data_prep.errors import InputError
from data_prep.hashing import SIDE, perceptual_hashes, thumbnail, to_hex
from data_prep.parallel import run_chunks
from data_prep.preprocessing import FILE_NAME, BrokenImage, Preprocessing, decode
from data_prep.sources import RawImage

METHODS = ("group", "random")


@dataclass(frozen=True)
class Options:
    """How to prepare; the same options and raw files give the same bytes anywhere.

    Attributes:
        preprocessing: What is done to the pixels; mean and std are filled in.
        method: One of METHODS.
        ratios: Parts for train, val, test.
    """

    preprocessing: Preprocessing = Preprocessing()
    method: str = "group"
    ratios: tuple[float, float, float] = (80, 10, 10)
    seed: int = 0

    def __post_init__(self):
        if self.method not in METHODS:
            raise InputError(
                f"unknown split method {self.method!r}; choose {', '.join(METHODS)}"
            )
        if len(self.ratios) != 3 or min(self.ratios) < 0 or self.ratios[0] <= 0:
            raise InputError(
                f"ratios are {self.ratios}; give parts for train, val and test, "
                "such as 80 10 10, the first above 0"
            )


def prepare(
    images: Sequence[RawImage], target: str | Path, options: Options, workers: int
) -> dict:
    """Make the prepared folder ``target`` (see data_prep.packed).

    Everything is written to ``<target>.partial`` and renamed when complete; what an
    interrupted run left there is removed first.

    Returns:
        The content of split.json.

    Raises:
        InputError: An image cannot be decoded, or ``target`` exists.
    """
    target = Path(target)
    if target.exists():
        raise InputError(f"{target} exists already; remove it or choose another folder")
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        summary = _prepare(images, partial, options, workers)
        partial.rename(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return summary


def assign(
    images: Sequence[RawImage], hashes: np.ndarray, options: Options
) -> tuple[list[str], np.ndarray]:
    """Group images and deal the groups to splits.

    Args:
        hashes: Perceptual hashes, uint64 ``(N,)``.

    Returns:
        Name of each image's group; index into packed.SPLITS, int64 ``(N,)``.
    """
    labels = np.array([image.label for image in images])
    if options.method == "random":
        first = np.arange(len(images))
    else:
        first = grouping.join(labels, hashes, grouping.blocks(images))
    # named after its least path: independent of the order of the images
    names = {}
    for index, root in enumerate(first.tolist()):
        path = images[index].path
        names[root] = min(path, names.get(root, path))
    groups = [names[root] for root in first.tolist()]
    return groups, splits.deal(labels.tolist(), groups, options.ratios, options.seed)


def _prepare(
    images: Sequence[RawImage], folder: Path, options: Options, workers: int
) -> dict:
    record = options.preprocessing
    size = record.image_size
    staging = folder / "staging.bin"
    staging.touch()
    shas, hashes, sums, squares = [], [], [], []
    for chunk in run_chunks(
        _stage_chunk, images, workers, "prepare", _start_staging, (staging, record)
    ):
        for values, part in zip((shas, hashes, sums, squares), chunk):
            values.extend(part)
    hashes = np.array(hashes, np.uint64)
    groups, split = assign(images, hashes, options)
    classes = sorted({image.label for image in images})
    labels = np.array([classes.index(image.label) for image in images])

    rows = []
    with open(staging, "rb") as file:
        for number, name in enumerate(packed.SPLITS):
            chosen = np.flatnonzero(split == number)
            pixels = _read_staged(file.fileno(), chosen, size * size * 3)
            packed.write_split(folder / name, pixels, labels[chosen], size)
            for i in chosen:
                image = images[i]
                rows.append(
                    packed.ManifestRow(
                        image.path,
                        image.label,
                        image.source,
                        shas[i],
                        to_hex(hashes[i]),
                        _group_id(groups[i]),
                        name,
                    )
                )
    staging.unlink()
    packed.write_manifest(folder, rows)
    packed.write_classes(folder, classes)
    train = np.flatnonzero(split == 0)
    _with_statistics(record, np.array(sums)[train], np.array(squares)[train]).save(
        folder / FILE_NAME
    )
    report.write_png(folder / "preview.png", _preview(folder, classes))
    summary = _summary(labels, classes, hashes, groups, split, options)
    text = json.dumps(summary, indent=2, ensure_ascii=False) + "\n"
    (folder / "split.json").write_text(text, encoding="utf-8")
    return summary


def _start_staging(path: Path, preprocessing: Preprocessing) -> None:
    """In each process: open the staging file."""
    global _staging, _preprocessing
    _staging, _preprocessing = open(path, "r+b"), preprocessing


def _stage_chunk(first: int, images: Sequence[RawImage]) -> tuple[list, ...]:
    """Decode, hash, fit and store a chunk of images.

    Returns:
        Of each image: sha256; perceptual hash; sums of the three channels; sums of
        their squares. All exact integers, so that no order of summation matters.
    """
    size = _preprocessing.image_size
    thumbnails = np.empty((len(images), SIDE, SIDE), np.uint8)
    pixels = np.empty((len(images), size, size, 3), np.uint8)
    shas, sums, squares = [], [], []
    for i, image in enumerate(images):
        data = image.read()
        try:
            bgr = decode(data)
        except BrokenImage as error:
            raise InputError(
                f"{image.path}: {error}; remove or replace it (python -m "
                "data_prep.validate lists all such files)"
            ) from None
        shas.append(hashlib.sha256(data).hexdigest())
        thumbnails[i] = thumbnail(bgr)
        pixels[i] = _preprocessing.fit(bgr)
        mean, std = cv2.meanStdDev(pixels[i])
        # OpenCV sums integers; undo its division, exactly after rounding
        sums.append(np.rint(mean[:, 0] * size**2).astype(np.int64))
        square = (std[:, 0] ** 2 + mean[:, 0] ** 2) * size**2
        squares.append(np.rint(square).astype(np.int64))
    _staging.seek(first * size * size * 3)
    _staging.write(pixels)
    _staging.flush()
    return shas, perceptual_hashes(thumbnails).tolist(), sums, squares


def _read_staged(file: int, indices: np.ndarray, item: int) -> Iterator[bytes]:
    """Read staged images, neighbours at once but never more than 16 MB."""
    most = max(1, (1 << 24) // item)
    starts = np.flatnonzero(np.diff(indices, prepend=-2) != 1).tolist()
    for start, end in zip(starts, [*starts[1:], len(indices)]):
        for at in range(start, end, most):
            count = min(most, end - at)
            yield os.pread(file, count * item, int(indices[at]) * item)


def _with_statistics(
    record: Preprocessing, sums: np.ndarray, squares: np.ndarray
) -> Preprocessing:
    """Fill in mean and standard deviation of all training pixels, on the scale 0..1."""
    count = len(sums) * record.image_size**2
    mean = [int(s) / count for s in sums.sum(0)]
    variance = [int(q) / count - m * m for q, m in zip(squares.sum(0), mean)]
    return replace(
        record,
        mean=tuple(round(m / 255, 6) for m in mean),
        # a set without any contrast must not divide by zero later
        std=tuple(round(max(math.sqrt(max(v, 0)), 1) / 255, 6) for v in variance),
    )


def _group_id(name: str) -> str:
    """A short name of a group for the manifest, the same wherever the data lies."""
    return hashlib.sha256(name.encode()).hexdigest()[:12]


def _preview(folder: Path, classes: Sequence[str]) -> np.ndarray:
    images, labels = packed.load_split(folder, "train")
    rows = {}
    for number, name in enumerate(classes):
        members = np.flatnonzero(labels == number)
        picks = np.linspace(0, len(members) - 1, min(10, len(members))).astype(int)
        rows[name] = [images[members[i]] for i in picks]
    return report.mosaic(rows)


def _summary(labels, classes, hashes, groups, split, options: Options) -> dict:
    def counts(chosen) -> dict:
        return {
            name: int((chosen & (split == number)).sum())
            for number, name in enumerate(packed.SPLITS)
        }

    everything = np.ones(len(labels), bool)
    shares = {
        name: round(grouping.twin_share(labels, hashes, split == number, split == 0), 6)
        for number, name in enumerate(packed.SPLITS)
        if name != "train"
    }
    return {
        "method": options.method,
        "seed": options.seed,
        "ratios": list(options.ratios),
        "images": len(labels),
        "groups": len(set(groups)),
        "counts": counts(everything),
        "classes": {name: counts(labels == i) for i, name in enumerate(classes)},
        "twin_distance": grouping.TWIN_DISTANCE,
        "twin_share": shares,
    }
