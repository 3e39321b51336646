"""Deal whole groups of images to training, validation and test."""

import hashlib
from collections import defaultdict
from typing import Sequence

import numpy as np

from data_prep.packed import SPLITS


def deal(
    labels: Sequence[str], groups: Sequence[str], ratios: Sequence[float], seed: int
) -> np.ndarray:
    """Assign images to splits: stratified by class, no group divided.

    In each class a split ends within two largest groups of its share. A class with
    fewer groups than splits serves training first, then test. Depends on the seed and
    on the names of the groups alone, never on the order of the images.

    Args:
        labels: Class of each image.
        groups: Name of the group of each image; a group belongs to one class.
        ratios: Parts for train, val, test, such as 80, 10, 10; 0 leaves a split empty.

    Returns:
        int64 ``(N,)``: index into SPLITS.
    """
    sizes: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for label, group in zip(labels, groups):
        sizes[label][group] += 1
    split_of = {}
    for label, members in sizes.items():
        split_of.update(_deal_class(members, ratios, f"{seed}/{label}"))
    return np.array([split_of[group] for group in groups], np.int64)


def _deal_class(
    sizes: dict[str, int], ratios: Sequence[float], seed: str
) -> dict[str, int]:
    total = sum(sizes.values())
    want = [total * ratio / sum(ratios) for ratio in ratios]
    # Large groups first, or they would burst a small split; those of like size at
    # random, or the small splits would get the odd ones only.
    step = max(1.0, min(w for w in want if w > 0) / 2)
    order = sorted(sizes, key=lambda g: (-(sizes[g] // step), _random(seed, g)))
    split_of, counts = {}, [0] * len(want)
    for group in order:
        split = max(range(len(want)), key=lambda s: (want[s] - counts[s], -s))
        split_of[group] = split
        counts[split] += sizes[group]
    _fill_empty(split_of, sizes, want)
    return split_of


def _fill_empty(split_of: dict[str, int], sizes: dict[str, int], want: list) -> None:
    """Give a wanted split that got nothing the smallest group of one that has two."""
    for empty in sorted(
        (s for s in range(len(want)) if want[s] > 0),
        key=lambda s: ("train", "test", "val").index(SPLITS[s]),
    ):
        taken = list(split_of.values())
        rich = [g for g in split_of if taken.count(split_of[g]) > 1]
        if empty not in taken and rich:
            split_of[min(rich, key=lambda g: (sizes[g], g))] = empty


def _random(seed: str, name: str) -> bytes:
    """The same "random" order for the same seed on every machine and version."""
    return hashlib.sha256(f"{seed}/{name}".encode()).digest()
