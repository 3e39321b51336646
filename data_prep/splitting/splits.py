"""Deal whole groups of images to training, validation and test."""

import hashlib
from collections import defaultdict
from typing import Sequence

import numpy as np

from data_prep.packed import SPLITS

TRAIN, VAL, TEST = range(len(SPLITS))


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
    order = sorted(sizes, key=lambda g: (-(sizes[g] // step), shuffle_key(seed, g)))
    priority = [s for s in (TRAIN, TEST, VAL) if want[s] > 0]
    if len(order) <= len(priority):
        return dict(zip(order, priority))
    split_of, counts = {}, [0] * len(want)
    for group in order:
        split = max(range(len(want)), key=lambda s: (want[s] - counts[s], -s))
        split_of[group] = split
        counts[split] += sizes[group]
    for split in priority:  # large groups may have left one with nothing
        taken = list(split_of.values())
        if split not in taken:
            rich = [g for g in split_of if taken.count(split_of[g]) > 1]
            split_of[min(rich, key=lambda g: (sizes[g], g))] = split
    return split_of


def shuffle_key(seed: str, name: str) -> bytes:
    """The same "random" order for the same seed on every machine and version."""
    return hashlib.sha256(f"{seed}/{name}".encode()).digest()
