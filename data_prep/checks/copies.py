"""Find duplicates in a raw set: equal files, near-duplicate pictures, copied sets."""

from collections import Counter, defaultdict
from itertools import permutations
from typing import Iterator, Sequence

import numpy as np

from data_prep.checks.findings import ERROR, WARNING, Finding, Thresholds, finding
from data_prep.checks.inspection import Seen
from data_prep.figures import counted
from data_prep.sources import RawImage
from data_prep.splitting.grouping import count_near, has_twin


def check_copies(seen: Seen, thresholds: Thresholds) -> Iterator[Finding]:
    """Find files of the same bytes: in two classes, in one, in two sets."""
    by_hash = defaultdict(list)
    for image, inspected in seen:
        by_hash[inspected.sha256].append(image)
    same = [members for members in by_hash.values() if len(members) > 1]
    conflicting = [m for m in same if len({i.label for i in m}) > 1]
    if conflicting:
        a, b = conflicting[0][0], next(
            i for i in conflicting[0] if i.label != conflicting[0][0].label
        )
        yield finding(
            "conflicting_labels",
            ERROR,
            counted(len(conflicting), "image lies", "images lie")
            + f" in two classes, such as {a.path} and {b.path}; decide which is right",
            [i.path for m in conflicting for i in m],
        )
    copies = list(_copied_sets([image for image, _ in seen], same, thresholds))
    yield from copies
    repeated = [i for m in same if len({i.label for i in m}) == 1 for i in m[1:]]
    if repeated and not copies:
        yield finding(
            "exact_duplicates",
            WARNING,
            counted(len(repeated), "image repeats", "images repeat")
            + " another one of the same class byte for byte",
            [i.path for i in repeated],
        )


def _copied_sets(
    images: Sequence[RawImage],
    same: Sequence[Sequence[RawImage]],
    thresholds: Thresholds,
) -> Iterator[Finding]:
    """Find a set that is contained in another, such as Kaggle's nested second copy."""
    sizes = Counter(image.source for image in images)
    shared = Counter()
    for members in same:
        by_source = Counter(image.source for image in members)
        for source in by_source:
            for other in by_source:
                if other != source:
                    shared[source, other] += by_source[source]
    for (source, other), count in sorted(shared.items()):
        # of two equal sets the deeper one, or the later name, is the copy
        original = sizes[other], -other.count("/"), source > other
        copy = sizes[source], -source.count("/"), False
        if count >= thresholds.copy * sizes[source] and original > copy:
            yield finding(
                "nested_copy",
                ERROR,
                f"{count} of {sizes[source]} images of {source} "
                f"{'is' if count == 1 else 'are'} also in {other}: "
                "a copy of the set; remove it",
                [i.path for i in images if i.source == source],
                source=source,
                of=other,
            )


def check_twins(whole: Seen, thresholds: Thresholds) -> Iterator[Finding]:
    """Measure near-duplicates within a class, and between sets."""
    labels = np.array([image.label for image, _ in whole])
    sources = np.array([image.source for image, _ in whole])
    hashes = np.array([s.phash for _, s in whole], np.uint64)
    twin, shares = np.zeros(len(whole), bool), {}
    for label in np.unique(labels):
        members = labels == label
        # each is near itself
        twin[members] = count_near(hashes[members], hashes[members]) > 1
        shares[str(label)] = round(float(twin[members].mean()), 4)
    if twin.any():
        worst = max(shares, key=lambda name: shares[name])
        yield finding(
            "near_duplicates",
            WARNING,
            f"{twin.sum()} of {len(whole)} images have a near-duplicate in their class "
            f"(most: {worst}, {shares[worst]:.0%}); split by group, not at random",
            [whole[i][0].path for i in np.flatnonzero(twin)],
            share_by_class=shares,
        )
    names, sizes = np.unique(sources, return_counts=True)
    for (source, size), (other, other_size) in permutations(zip(names, sizes), 2):
        if (size, source) > (other_size, other):
            continue  # the smaller one is the test set
        shared = has_twin(labels, hashes, sources == source, sources == other)
        if shared.sum() >= thresholds.leak * size:
            yield finding(
                "shared_between_sets",
                WARNING,
                f"{shared.sum()} of {size} images of {source} "
                f"{'has' if shared.sum() == 1 else 'have'} a twin in {other}: "
                "no independent test of a model trained on that",
                [whole[i][0].path for i in np.flatnonzero(shared)],
                source=str(source),
                other=str(other),
                share=round(float(shared.sum() / size), 4),
            )
