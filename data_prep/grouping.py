"""Which images belong together: near-duplicates, neighbouring video frames, one photo.

A *group* is never divided between training and test. A *twin* of an image is one of the
same class whose perceptual hash differs in at most `TWIN_DISTANCE` of 64 bits: having
seen one, a network knows the other. Across classes such pairs are mostly different
letters before one background, which give nothing away.
"""

import re
from pathlib import PurePosixPath
from typing import Iterator, Sequence

import numpy as np

from data_prep.sources import RawImage

TWIN_DISTANCE = 4  # bits of 64
BLOCKS = 20  # contiguous blocks that a numbered sequence of frames is cut into


def name_parts(path: str) -> tuple[str, int | None]:
    """Split a raw path into its series and its number in it.

    ``A/A12.jpg`` is number 12 of the series ``A``. Roboflow's
    ``A/A12_jpg.rf.0f3c....jpg`` is an augmented copy of one photo: its series is that
    photo, and it has no number.
    """
    stem = PurePosixPath(path).stem
    photo = re.match(r"(.+)_(?:jpe?g|png|webp|bmp)\.rf\.[0-9A-Za-z]+$", stem)
    if photo:
        return photo.group(1), None
    numbered = re.match(r"(.*?)([0-9]+)(\D*)$", stem)
    if numbered:
        return f"{numbered.group(1)}#{numbered.group(3)}", int(numbered.group(2))
    return stem, None


def blocks(images: Sequence[RawImage], count: int = BLOCKS) -> np.ndarray:
    """Put neighbouring frames together by their names alone.

    Each series of numbered frames of a class is cut into about ``count`` contiguous
    blocks of equal size; copies of one photo are one block.

    Returns:
        int64 ``(N,)``: equal numbers mean one block. The smallest index of its members.
    """
    series: dict[tuple, list[tuple]] = {}
    for index, image in enumerate(images):
        name, number = name_parts(image.path)
        key = (image.source, image.label, name, number is None)
        series.setdefault(key, []).append((number or 0, image.path, index))
    result = np.arange(len(images))
    for (*_, unnumbered), members in series.items():
        members.sort()
        indices = np.array([index for *_, index in members])
        size = len(members) if unnumbered else -(-len(members) // count)
        for start in range(0, len(indices), size):
            block = indices[start : start + size]
            result[block] = block.min()
    return result


def near_pairs(
    left: np.ndarray, right: np.ndarray, distance: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Find all pairs of hashes that differ in at most ``distance`` bits.

    Args:
        left, right: uint64 ``(N,)`` and ``(M,)``.

    Yields:
        Two equally long arrays of indices, into ``left`` and into ``right``; a few MB
        at a time.
    """
    rows = max(1, (1 << 20) // max(1, len(right)))
    for start in range(0, len(left), rows):
        near = np.bitwise_count(left[start : start + rows, None] ^ right) <= distance
        i, j = np.nonzero(near)
        yield i + start, j


def join(labels: np.ndarray, hashes: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Join groups that hold twins of each other.

    Args:
        labels: ``(N,)`` class of each image.
        hashes: uint64 ``(N,)``.
        groups: int64 ``(N,)``; equal numbers mean one group already.

    Returns:
        int64 ``(N,)``: the smallest index of each image's group.
    """
    parent = np.arange(len(labels))

    def find(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    def union(i: int, j: int) -> None:
        i, j = find(i), find(j)
        parent[max(i, j)] = min(i, j)

    for i, j in enumerate(groups):
        union(i, int(j))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        unique, where = np.unique(hashes[members], return_inverse=True)
        first = np.full(len(unique), -1)
        for index, position in zip(members, where):
            if first[position] < 0:
                first[position] = index
            union(int(first[position]), int(index))
        for i, j in near_pairs(unique, unique, TWIN_DISTANCE):
            for a, b in zip(first[i[i < j]], first[j[i < j]]):
                union(int(a), int(b))
    return np.array([find(i) for i in range(len(labels))])


def twin_share(
    labels: np.ndarray, hashes: np.ndarray, test: np.ndarray, train: np.ndarray
) -> float:
    """Share of ``test`` that has a twin in ``train`` (boolean masks), 0 to 1."""
    found = 0
    for label in np.unique(labels[test]):
        left = np.flatnonzero(test & (labels == label))
        right = np.flatnonzero(train & (labels == label))
        twins = set()
        for i, _ in near_pairs(hashes[left], hashes[right], TWIN_DISTANCE):
            twins.update(i.tolist())
        found += len(twins)
    return found / max(1, int(test.sum()))
