"""Which images belong together: near-duplicates, neighbouring video frames, one photo.

A *group* is never divided between training and test. A *twin* of an image is one of the
same class whose perceptual hash differs in at most `TWIN_DISTANCE` of 64 bits: a
network that has learned one knows the other. Such pairs of two classes are mostly
different letters before the same background, so they do not count as twins.

Groups are arrays of int64 ``(N,)``: for each image the least index of its group.
"""

import re
from typing import Iterator, Sequence

import numpy as np

from data_prep.sources import RawImage

TWIN_DISTANCE = 4  # bits of 64
BLOCKS = 20  # contiguous blocks that a numbered sequence of frames is cut into
ROBOFLOW = re.compile(r"(.+)_(?:jpe?g|png|webp|bmp)\.rf\.[0-9A-Za-z]+$")
LAST_NUMBER = re.compile(r"(.*?)([0-9]+)(\D*)$")
CUT = 35  # grey levels of 255 by which neighbouring frames differ at least at a cut,
CUT_RATIO = 3  # and how many times as much as they usually do


def name_parts(path: str) -> tuple[str, int | None]:
    """Split a raw path into its series and its number in it.

    ``A/A12.jpg`` is number 12 of the series ``A#``. Roboflow's
    ``A/A12_jpg.rf.0f3c....jpg`` is an augmented copy of one photo: its series is that
    photo, and it has no number. Rows of a table are in no order: they have none either.
    """
    stem = path.rpartition("/")[2].rpartition(".")[0]
    if ".csv/" in path.lower():
        return stem, None
    photo = ".rf." in stem and ROBOFLOW.match(stem)
    if photo:
        return photo.group(1), None
    numbered = LAST_NUMBER.match(stem)
    if numbered:
        return f"{numbered.group(1)}#{numbered.group(3)}", int(numbered.group(2))
    return stem, None


def blocks(images: Sequence[RawImage], count: int = BLOCKS) -> np.ndarray:
    """Cut each numbered series of a class into about ``count`` equal contiguous blocks.

    Copies of one photo are one block; other images are blocks of their own.
    """
    result = np.arange(len(images))
    for numbered, members in _series(images):
        size = -(-len(members) // count) if numbered else len(members)
        for start in range(0, len(members), size):
            block = members[start : start + size]
            result[block] = block.min()
    return result


def sessions(images: Sequence[RawImage], tiny: np.ndarray) -> np.ndarray:
    """Cut each numbered series of a class where the scene or its light changes.

    Args:
        tiny: uint8 ``(N, 8, 8)`` grey miniatures.
    """
    result = np.arange(len(images))
    for numbered, members in _series(images):
        starts = [0]
        if numbered and len(members) > 1:
            frames = tiny[members].astype(np.int64)
            change = np.abs(np.diff(frames, axis=0)).mean((1, 2))
            cut = change > max(CUT, CUT_RATIO * float(np.median(change)))
            starts += (np.flatnonzero(cut) + 1).tolist()
        for start, end in zip(starts, [*starts[1:], len(members)]):
            result[members[start:end]] = members[start:end].min()
    return result


def join_twins(
    labels: np.ndarray, hashes: np.ndarray, groups: np.ndarray
) -> np.ndarray:
    """Join groups, each of one class, that hold twins of each other.

    Args:
        labels: ``(N,)`` class of each image.
        hashes: uint64 ``(N,)``.
    """
    result = np.empty(len(labels), np.int64)
    reached = np.zeros(groups.max(initial=0) + 1, bool)  # groups, each of one class
    for label in np.unique(labels):
        left = np.flatnonzero(labels == label)
        while len(left):
            # flood: what is near the frontier, or in a group with it, is the next one
            root, frontier, left = left[0], left[:1], left[1:]
            result[root] = root
            while len(frontier) and len(left):
                near = count_near(hashes[left], hashes[frontier]) > 0
                reached[groups[frontier]] = True
                near |= reached[groups[left]]
                frontier, left = left[near], left[~near]
                result[frontier] = root
    return result


def count_near(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Count for each hash of ``left`` those of ``right`` within TWIN_DISTANCE bits.

    Args:
        left, right: uint64 ``(N,)`` and ``(M,)``.

    Returns:
        int64 ``(N,)``.
    """
    counts = np.zeros(len(left), np.int64)
    rows = max(1, (1 << 20) // max(1, len(right)))  # a few MB at a time
    for start in range(0, len(left), rows):
        bits = np.bitwise_count(left[start : start + rows, None] ^ right)
        counts[start : start + rows] = (bits <= TWIN_DISTANCE).sum(1)
    return counts


def has_twin(
    labels: np.ndarray, hashes: np.ndarray, among: np.ndarray, others: np.ndarray
) -> np.ndarray:
    """Say which images of ``among`` have a twin in ``others``.

    Args:
        among, others: Disjoint bool ``(N,)``.

    Returns:
        bool ``(N,)``; False outside ``among``.
    """
    result = np.zeros(len(labels), bool)
    for label in np.unique(labels[among]):
        left = np.flatnonzero(among & (labels == label))
        right = np.flatnonzero(others & (labels == label))
        result[left] = count_near(hashes[left], hashes[right]) > 0
    return result


def _series(images: Sequence[RawImage]) -> Iterator[tuple[bool, np.ndarray]]:
    """Yield each series of a class and source: is it numbered; indices in order."""
    series: dict[tuple, list[tuple]] = {}
    for index, image in enumerate(images):
        name, number = name_parts(image.path)
        # one series a folder: the same names in another are other photographs
        folder = image.path.rpartition("/")[0]
        key = (folder, name, number is not None)
        series.setdefault(key, []).append((number or 0, image.path, index))
    for (*_, numbered), members in series.items():
        yield numbered, np.array([index for *_, index in sorted(members)])
