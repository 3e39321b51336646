"""Checks of the names and classes of a raw set; no image is opened."""

import unicodedata
from collections import Counter, defaultdict
from typing import Callable, Iterator

from data_prep.checks.findings import ERROR, WARNING, Finding, Thresholds, finding
from data_prep.figures import beside, counted, some_counts
from data_prep.sources import Listing


def check_classes(
    listing: Listing, expected: set[str], thresholds: Thresholds
) -> Iterator[Finding]:
    """Compare the classes with the expected ones (empty: any) and with each other."""
    counts = Counter(image.label for image in listing.images)
    empty = sorted({label for _, label in listing.empty} - set(counts))
    if empty:
        yield finding(
            "empty_class",
            ERROR,
            f"class {', '.join(empty)} holds no image; add images or remove the folder",
            empty,
        )
    missing = sorted(expected - set(counts) - set(empty))
    if missing:
        yield finding(
            "missing_class",
            ERROR,
            f"class {', '.join(missing)} is expected but has no folder",
            missing,
        )
    unknown = sorted(set(counts) - expected) if expected else []
    if unknown:
        yield finding(
            "unknown_class",
            ERROR,
            f"class {', '.join(unknown)} is not among the expected ones; remove the "
            "folder or extend --expected-classes",
            unknown,
        )
    if len(counts) == 1:
        yield finding(
            "single_class",
            ERROR,
            f"there is one class only ({min(counts)}); nothing can be learned",
            sorted(counts),
        )
    clashes = _alike([*counts, *empty], str.casefold)
    if clashes:
        yield finding(
            "class_case",
            ERROR,
            f"classes {', '.join(clashes)} differ only in case; merge them",
            clashes,
        )
    clashes = _alike([*counts, *empty], appearance)
    if clashes:
        yield finding(
            "class_look",
            ERROR,
            f"classes {', '.join(map(ascii, clashes))} look the same, but are written "
            "with different characters; merge them",
            clashes,
        )
    hidden = sorted(x for x in (*counts, *empty) if x != _visible(x))
    if hidden:
        yield finding(
            "class_invisible",
            WARNING,
            f"class {', '.join(map(ascii, hidden))} has characters in its name that "
            "cannot be seen, such as a blank at its end; rename the folder",
            hidden,
        )
    few = sorted(label for label, n in counts.items() if n < thresholds.few)
    if few:
        yield finding(
            "few_images",
            WARNING,
            f"{len(few)} of {len(counts)} classes "
            f"{'has' if len(few) == 1 else 'have'} fewer than {thresholds.few} "
            f"images (such as {some_counts({label: counts[label] for label in few})}): "
            "a tenth of that is for the test; give 50 or more of each",
            few,
            images={label: counts[label] for label in few},
        )
    by_count = sorted(counts, key=lambda label: counts[label])
    most, least = by_count[-1], by_count[0]
    ratio = counts[most] / counts[least]
    if ratio > thresholds.imbalance:
        yield finding(
            "imbalance",
            WARNING,
            f"{most} has {counted(counts[most], 'image', 'images')}, {least} only "
            f"{counts[least]}: "
            f"{beside(ratio, thresholds.imbalance, 1)} times fewer",
            [most, least],
            ratio=round(ratio, 3),
        )


def _alike(labels: list[str], key: Callable[[str], str]) -> list[str]:
    """Those of the labels that are another one to ``key``."""
    same = defaultdict(set)
    for label in labels:
        same[key(label)].add(label)
    return sorted(x for group in same.values() if len(group) > 1 for x in group)


# letters of the Cyrillic and Greek alphabets that look like Latin ones
LOOKS = str.maketrans(
    "АВЕЅІЈКМНОРСТУХаеіјорсухѕΑΒΕΖΗΙΚΜΝΟΡΤΥΧο",
    "ABESIJKMHOPCTYXaeijopcyxsABEZHIKMNOPTYXo",
)


def appearance(label: str) -> str:
    """What a name looks like: the same for names that no eye can tell apart."""
    return unicodedata.normalize("NFC", _visible(label)).translate(LOOKS)


def _visible(label: str) -> str:
    """A name without what has no width, nor blanks around it."""
    seen = (x for x in label if unicodedata.category(x) != "Cf")
    return " ".join("".join(seen).split())


def check_names(listing: Listing) -> Iterator[Finding]:
    """Find files that are no images of a class, and names that differ in case only."""
    if listing.strays:
        yield finding(
            "stray_files",
            WARNING,
            counted(len(listing.strays), "file is", "files are")
            + " no image of a class and ignored, "
            f"such as {listing.strays[0]}",
            listing.strays,
        )
    spellings = defaultdict(list)
    for image in listing.images:
        spellings[image.path.casefold()].append(image.path)
    clashes = [path for same in spellings.values() if len(same) > 1 for path in same]
    if clashes:
        yield finding(
            "name_case",
            WARNING,
            f"{len(clashes)} names differ only in upper and lower case and would "
            f"overwrite each other on other systems, such as {clashes[0]}",
            clashes,
        )
