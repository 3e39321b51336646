"""The ways to divide images into training, validation and test.

=======  ==============================================================================
group    blocks of neighbouring frames, joined where they hold twins (the default)
block    blocks of neighbouring frames alone
session  what was recorded between two changes of scene or light
source   test is what other signers (sets) recorded; the rest is divided by group
random   each image by itself: measures memory where frames resemble each other
=======  ==============================================================================

Data sets that come with their own validation or test set keep it; the rest is divided.
"""

from dataclasses import dataclass, replace
from typing import Sequence

import numpy as np

from data_prep.errors import InputError
from data_prep.packed import SPLITS
from data_prep.sources import RawImage
from data_prep.splitting import grouping
from data_prep.splitting.splits import TEST, TRAIN, VAL, deal, shuffle_key

METHODS = ("group", "block", "session", "source", "random")
LEFT_OUT = -1
GIVEN = "given"  # what the method is called where the test set is


@dataclass(frozen=True)
class SplitOptions:
    """How to divide.

    Attributes:
        method: One of METHODS.
        ratios: Parts for train, val, test, such as 80, 10, 10.
        seed: Another seed deals the groups differently.
        hold_out: For method source: the sources to test on; empty: chosen by size.
        val_set, test_set: Raw sets that are these splits, by the names that begin their
            images' paths; the part of such a split in ``ratios`` does not count.
        drop_twins: Leave out training images that have a twin in those sets.
    """

    method: str = "group"
    ratios: tuple[float, float, float] = (80, 10, 10)
    seed: int = 0
    hold_out: tuple[str, ...] = ()
    val_set: tuple[str, ...] = ()
    test_set: tuple[str, ...] = ()
    drop_twins: bool = False

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
        if self.hold_out and self.method != "source":
            raise InputError(
                f"--hold-out needs --split source, not {self.method}; change one"
            )
        if self.test_set and self.method == "source":
            raise InputError(
                "--test-set and --split source both say what is tested on; change one"
            )
        if self.drop_twins and not (self.val_set or self.test_set):
            raise InputError(
                "--drop-twins is about those of a --test-set or --val-set; name one"
            )

    @property
    def name(self) -> str:
        """What the test split is by: `GIVEN`, or the method."""
        return GIVEN if self.test_set else self.method


def assign(
    images: Sequence[RawImage],
    hashes: np.ndarray,
    tiny: np.ndarray,
    options: SplitOptions,
) -> tuple[list[str], np.ndarray]:
    """Group images and deal whole groups to splits.

    Args:
        hashes: Perceptual hashes, uint64 ``(N,)``.
        tiny: Grey miniatures, uint8 ``(N, 8, 8)``.

    Returns:
        Name of each image's group; index into packed.SPLITS, or LEFT_OUT, int64 (N,).

    Raises:
        InputError: Method ``source`` without at least two sources.
    """
    # everything below depends on the order of the images only through this one
    order = sorted(range(len(images)), key=lambda i: images[i].path)
    ordered = [images[i] for i in order]
    groups, split = _assign_free(ordered, hashes[order], tiny[order], options)
    names, place = [""] * len(images), np.empty(len(images), np.int64)
    for position, i in enumerate(order):
        names[i] = ordered[groups[position]].path
        place[i] = split[position]
    return names, place


def _assign_free(images, hashes, tiny, options: SplitOptions):
    """Put given sets where they belong, and divide the others."""
    split = np.full(len(images), TRAIN)
    train, val, test = options.ratios
    options = replace(
        options,
        ratios=(train, 0 if options.val_set else val, 0 if options.test_set else test),
    )
    for number, names in ((VAL, options.val_set), (TEST, options.test_set)):
        for name in names:
            here = _of_set(images, name)
            if not here.any():
                raise InputError(
                    f"no image lies in {name}, which is to be the {SPLITS[number]} "
                    "split; there are "
                    + " ".join(sorted({i.path.split("/")[0] for i in images}))
                )
            split[here] = number
    given, free = split != TRAIN, np.flatnonzero(split == TRAIN)
    if not given.any():
        return _assign(images, hashes, tiny, options)
    groups = np.arange(len(images))
    if len(free):
        inside, split[free] = _assign(
            [images[i] for i in free],
            hashes[free],
            tiny[free],
            options,
        )
        groups[free] = free[inside]
    if options.drop_twins:
        labels = np.array([image.label for image in images])
        split[grouping.has_twin(labels, hashes, split == TRAIN, given)] = LEFT_OUT
    return groups, split


def _of_set(images: Sequence[RawImage], name: str) -> np.ndarray:
    return np.array([f"{image.path}/".startswith(f"{name}/") for image in images])


def _assign(images, hashes, tiny, options: SplitOptions):
    """The same for images in the order of their paths; groups are indices."""
    labels = np.array([image.label for image in images])
    if options.method == "random":
        groups = np.arange(len(images))
    elif options.method == "block":
        groups = grouping.blocks(images)
    elif options.method == "session":
        groups = grouping.sessions(images, tiny)
    else:
        return _assign_groups(images, labels, hashes, options)
    return groups, deal(labels, _names(images, groups), options.ratios, options.seed)


def _assign_groups(images, labels, hashes, options: SplitOptions):
    """Methods group and source."""
    held_out = np.zeros(len(images), bool)
    ratios: tuple[float, ...] = options.ratios
    if options.method == "source":
        sources = np.array([image.source for image in images])
        held_out = np.isin(sources, _held_out(sources, options))
        ratios = (*ratios[:TEST], 0)
    blocks = grouping.blocks(images)
    groups, split = blocks.copy(), np.full(len(images), TEST)
    for label in np.unique(labels[~held_out]):
        members = np.flatnonzero((labels == label) & ~held_out)
        groups[members], split[members] = _divide_class(
            images, members, hashes, blocks, ratios, options.seed
        )
    # of a photograph in two sets, the copy in the held-out one counts
    split[grouping.has_twin(labels, hashes, ~held_out, held_out)] = LEFT_OUT
    return groups, split


def _divide_class(images, members, hashes, blocks, ratios, seed: int):
    """Deal the groups of one class, cutting up a group that is too large for that.

    A fixed camera can make a whole class one group of near-duplicates. It is cut into
    its blocks again, and what has a twin in training is left out of validation and
    test, unless that would leave less than half of them.
    """
    labels = np.array([images[i].label for i in members])
    hashes, blocks = hashes[members], blocks[members]
    groups = whole = members[grouping.join_twins(labels, hashes, blocks)]
    want = len(members) * np.array(ratios) / sum(ratios)
    while True:
        split = deal(labels, _names(images, groups), ratios, seed)
        enough = np.bincount(split, minlength=len(SPLITS)) >= np.floor(want / 2)
        joined = groups != blocks
        if enough.all() or not joined.any():
            break
        numbers, sizes = np.unique(groups[joined], return_counts=True)
        groups = np.where(groups == numbers[sizes.argmax()], blocks, groups)
    if groups is not whole:
        for number in (VAL, TEST):
            here = split == number
            twins = grouping.has_twin(labels, hashes, here, split == TRAIN)
            if 2 * twins.sum() <= here.sum():
                split[twins] = LEFT_OUT
    return groups, split


def _held_out(sources: np.ndarray, options: SplitOptions) -> list[str]:
    """Choose the sources to test on: given, or the one whose size fits best."""
    names, sizes = np.unique(sources, return_counts=True)
    unknown = set(options.hold_out) - set(names.tolist())
    if unknown:
        raise InputError(
            f"there is no source {min(unknown)!r} to hold out; there are "
            f"{' '.join(names)}"
        )
    if len(names) <= max(1, len(options.hold_out)):
        raise InputError(
            f"split method source needs images of other sources to train on; there is "
            f"only {' '.join(names)}: add a folder or use --split group"
        )
    if options.hold_out:
        return list(options.hold_out)
    want = len(sources) * options.ratios[TEST] / sum(options.ratios)
    return [
        min(
            zip(names.tolist(), sizes.tolist()),
            key=lambda s: (abs(s[1] - want), shuffle_key(str(options.seed), s[0])),
        )[0]
    ]


def _names(images: Sequence[RawImage], groups: np.ndarray) -> list[str]:
    return [images[group].path for group in groups.tolist()]
