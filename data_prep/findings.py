"""What is wrong with a raw set: one function a question, each answer a `Finding`.

Errors would spoil a model or break its training and stop the pipeline; warnings are
things a person should have looked at once.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import permutations
from typing import Iterable, Iterator, Sequence

import numpy as np

from data_prep.grouping import count_near, has_twin
from data_prep.inspection import Inspected
from data_prep.sources import Listing, RawImage

ERROR, WARNING = "error", "warning"
EXAMPLES = 12  # images named in a finding

TRAITS = {
    "animated": "are animations; only the first picture is used",
    "grey": "are grey; they are expanded to three equal channels",
    "palette": "have a colour palette; they are expanded to RGB",
    "alpha": "have transparency; it is laid on white",
    "cmyk": "are CMYK; they are converted to RGB, colours may differ",
    "16bit": "have more than 8 bits a channel; they are reduced to 8",
    "rotated": "ask for rotation in their EXIF block; it is applied",
}


@dataclass(frozen=True)
class Thresholds:
    """When something counts as unusual; all are options of the command.

    Attributes:
        dark: Mean grey (0-255) below which an image is nearly black.
        flat: Standard deviation of grey below which an image shows nothing.
        size_ratio: How many times larger or smaller than the median side is an outlier.
        imbalance: Largest class by smallest, above which they are unbalanced.
        few: Images below which a class is too small to be divided.
        copy: Share of a set found byte for byte in another that makes it a copy.
        leak: Share of a set with twins in another that makes it dependent.
    """

    dark: float = 12.0
    flat: float = 4.0
    size_ratio: float = 3.0
    imbalance: float = 3.0
    few: int = 10
    copy: float = 0.9
    leak: float = 0.05


@dataclass(frozen=True)
class Finding:
    """One kind of thing that was found.

    Attributes:
        kind: A fixed name, such as ``unreadable``.
        severity: ``error`` or ``warning``.
        message: A sentence with the numbers, and what to do where that is not plain.
        count: Images (or classes, or files) concerned.
        examples: Raw paths of the first of them.
        details: Numbers behind it, such as shares a class.
    """

    kind: str
    severity: str
    message: str
    count: int
    examples: list[str] = field(default_factory=list)
    details: dict = field(default_factory=dict)


def find_all(
    listing: Listing,
    inspected: Sequence[Inspected],
    thresholds: Thresholds = Thresholds(),
    expected: Iterable[str] = (),
) -> list[Finding]:
    """Ask every question; errors first, in a fixed order.

    Args:
        inspected: One for each image of the listing.
        expected: The class names there should be; empty: any.
    """
    whole = [
        (image, seen)
        for image, seen in zip(listing.images, inspected)
        if not seen.broken
    ]
    found = [
        *_unreadable(listing.images, inspected),
        *_classes(listing, set(expected), thresholds),
        *_duplicates(listing.images, inspected, thresholds),
        *_pixels(whole, thresholds),
        *_near_duplicates(whole, thresholds),
        *_borders(whole),
        *_names(listing),
    ]
    return sorted(found, key=lambda finding: finding.severity != ERROR)


def _finding(kind, severity, message, paths: Sequence[str], **details) -> Finding:
    return Finding(kind, severity, message, len(paths), list(paths[:EXAMPLES]), details)


def _unreadable(images: Sequence[RawImage], inspected: Sequence[Inspected]):
    broken = [(i.path, s.broken) for i, s in zip(images, inspected) if s.broken]
    if broken:
        path, why = broken[0]
        yield _finding(
            "unreadable",
            ERROR,
            f"{len(broken)} files cannot be decoded, such as {path}: {why}; "
            "remove or replace them",
            [path for path, _ in broken],
            reasons=dict(Counter(why for _, why in broken)),
        )


def _classes(listing: Listing, expected: set[str], thresholds: Thresholds):
    counts = Counter(image.label for image in listing.images)
    empty = sorted({label for _, label in listing.empty} - set(counts))
    if empty:
        yield _finding(
            "empty_class",
            ERROR,
            f"class {', '.join(empty)} holds no image; add images or remove the folder",
            empty,
        )
    missing = sorted(expected - set(counts) - set(empty))
    if missing:
        yield _finding(
            "missing_class",
            ERROR,
            f"class {', '.join(missing)} is expected but has no folder",
            missing,
        )
    unknown = sorted(set(counts) - expected) if expected else []
    if unknown:
        yield _finding(
            "unknown_class",
            ERROR,
            f"class {', '.join(unknown)} is not among the expected ones; remove the "
            "folder or extend --expected-classes",
            unknown,
        )
    if len(counts) == 1:
        yield _finding(
            "single_class",
            ERROR,
            f"there is one class only ({min(counts)}); nothing can be learned",
            sorted(counts),
        )
    spellings = defaultdict(set)
    for label in [*counts, *empty]:
        spellings[label.casefold()].add(label)
    clashes = sorted(x for same in spellings.values() if len(same) > 1 for x in same)
    if clashes:
        yield _finding(
            "class_case",
            ERROR,
            f"classes {', '.join(clashes)} differ only in case; merge them",
            clashes,
        )
    few = sorted(label for label, n in counts.items() if n < thresholds.few)
    if few:
        yield _finding(
            "few_images",
            WARNING,
            f"class {', '.join(few)} has fewer than {thresholds.few} images",
            few,
            images={label: counts[label] for label in few},
        )
    most, least = max(counts, key=counts.get), min(counts, key=counts.get)
    ratio = counts[most] / counts[least]
    if ratio > thresholds.imbalance:
        yield _finding(
            "imbalance",
            WARNING,
            f"{most} has {counts[most]} images, {least} only {counts[least]}: "
            f"{ratio:.1f} times fewer",
            [most, least],
            ratio=round(ratio, 3),
        )


def _duplicates(
    images: Sequence[RawImage], inspected: Sequence[Inspected], thresholds: Thresholds
):
    by_hash = defaultdict(list)
    for image, seen in zip(images, inspected):
        by_hash[seen.sha256].append(image)
    same = [members for members in by_hash.values() if len(members) > 1]
    conflicting = [m for m in same if len({i.label for i in m}) > 1]
    if conflicting:
        a, b = conflicting[0][0], next(
            i for i in conflicting[0] if i.label != conflicting[0][0].label
        )
        yield _finding(
            "conflicting_labels",
            ERROR,
            f"{len(conflicting)} images lie in two classes, such as {a.path} and "
            f"{b.path}; decide which is right",
            [i.path for m in conflicting for i in m],
        )
    copies = list(_copied_sets(images, same, thresholds))
    yield from copies
    repeated = [i for m in same if m not in conflicting for i in m[1:]]
    if repeated and not copies:
        yield _finding(
            "exact_duplicates",
            WARNING,
            f"{len(repeated)} images are byte for byte repetitions within their class",
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
            yield _finding(
                "nested_copy",
                ERROR,
                f"{count} of {sizes[source]} images of {source} are also in {other}: "
                "a copy of the set; remove it",
                [i.path for i in images if i.source == source],
                source=source,
                of=other,
            )


def _pixels(whole, thresholds: Thresholds):
    lies = [i.path for i, s in whole if s.suffix_lies]
    if lies:
        kinds = {i.path: s.kind for i, s in whole if s.suffix_lies}
        yield _finding(
            "wrong_suffix",
            WARNING,
            f"{len(lies)} files are of another kind than their suffix says, such as "
            f"{lies[0]}, which is {kinds[lies[0]]}",
            lies,
            kinds=dict(Counter(kinds.values())),
        )
    damaged = [(i.path, s.complaint) for i, s in whole if s.complaint]
    if damaged:
        yield _finding(
            "damaged",
            WARNING,
            f"{len(damaged)} files have small damages, such as {damaged[0][0]}: "
            f"{damaged[0][1].splitlines()[0]}; look at them",
            [path for path, _ in damaged],
        )
    for trait, meaning in TRAITS.items():
        paths = [i.path for i, s in whole if trait in s.traits]
        if paths:
            yield _finding(trait, WARNING, f"{len(paths)} images {meaning}", paths)
    if not whole:
        return
    sides = np.array([(s.width * s.height) ** 0.5 for _, s in whole])
    middle = float(np.median(sides))
    odd = np.maximum(sides / middle, middle / sides) > thresholds.size_ratio
    if odd.any():
        yield _finding(
            "size_outlier",
            WARNING,
            f"{odd.sum()} images are more than {thresholds.size_ratio:g} times larger "
            f"or smaller than the usual {middle:.0f} pixels a side",
            [i.path for (i, _), is_odd in zip(whole, odd) if is_odd],
        )
    flat = [i.path for i, s in whole if s.contrast < thresholds.flat]
    if flat:
        yield _finding(
            "flat",
            WARNING,
            f"{len(flat)} images show nothing: grey varies by less than "
            f"{thresholds.flat:g} of 255",
            flat,
        )
    dark = [
        i.path
        for i, s in whole
        if s.brightness < thresholds.dark and s.contrast >= thresholds.flat
    ]
    if dark:
        yield _finding(
            "dark",
            WARNING,
            f"{len(dark)} images are nearly black: mean grey below "
            f"{thresholds.dark:g} of 255",
            dark,
        )


def _near_duplicates(whole, thresholds: Thresholds):
    """Measure twins: within a class, and between the sets of several sources."""
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
        worst = max(shares, key=shares.get)
        yield _finding(
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
            yield _finding(
                "shared_between_sets",
                WARNING,
                f"{shared.sum()} of {size} images of {source} have a twin in {other}: "
                "no independent test of a model trained on that",
                [whole[i][0].path for i in np.flatnonzero(shared)],
                source=str(source),
                other=str(other),
                share=round(float(shared.sum() / size), 4),
            )


def _borders(whole):
    by_source = defaultdict(list)
    for image, seen in whole:
        by_source[image.source].append(seen.edges)
    for source, edges in sorted(by_source.items()):
        if len(edges) < 10:
            continue
        colours = np.frombuffer(b"".join(edges), np.uint8).reshape(-1, 8, 3)
        usual = np.median(colours, axis=0)
        outer, inner = usual[:4], usual[4:]
        alike = (np.abs(colours[:, :4] - outer).max(2) <= 48).mean(0) >= 0.9
        framed = alike & (np.abs(outer - inner).max(1) >= 64)
        if framed.any():
            names = np.array(["left", "right", "top", "bottom"])[framed]
            red_green_blue = outer[framed].mean(0)[::-1].round().astype(int).tolist()
            yield Finding(
                "repeated_border",
                WARNING,
                f"{source}: nearly all images have a line of one colour (RGB "
                f"{red_green_blue}) on the {', '.join(names)} edge, which a network "
                "would learn; keep --border-crop on",
                len(edges),
                details={
                    "source": source,
                    "edges": names.tolist(),
                    "rgb": red_green_blue,
                },
            )


def _names(listing: Listing):
    if listing.strays:
        yield _finding(
            "stray_files",
            WARNING,
            f"{len(listing.strays)} files are no images of a class and are ignored, "
            f"such as {listing.strays[0]}",
            listing.strays,
        )
    spellings = defaultdict(list)
    for image in listing.images:
        spellings[image.path.casefold()].append(image.path)
    clashes = [path for same in spellings.values() if len(same) > 1 for path in same]
    if clashes:
        yield _finding(
            "name_case",
            WARNING,
            f"{len(clashes)} names differ only in upper and lower case and would "
            f"overwrite each other on other systems, such as {clashes[0]}",
            clashes,
        )
