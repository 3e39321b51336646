"""Checks of single images of a raw set, and of faults that all its images share."""

from collections import Counter, defaultdict
from typing import Iterator

import numpy as np

from data_prep.checks.findings import (
    ERROR,
    NOTE,
    WARNING,
    Finding,
    Thresholds,
    finding,
)
from data_prep.checks.inspection import Seen
from data_prep.figures import counted

TRAITS = {
    "animated": "with several pictures: only the first one is used",
    "grey": "in grey: expanded to three equal channels",
    "palette": "with a colour palette: expanded to RGB",
    "alpha": "with transparency: laid on white",
    "cmyk": "in CMYK: converted to RGB, colours may differ",
    "16bit": "with more than 8 bits a channel: reduced to 8",
    "rotated": "with a rotation in the EXIF block: rotated so",
}


def check_readable(seen: Seen) -> Iterator[Finding]:
    """Find files that cannot be decoded, or are too large to be."""
    large = [(i.path, s.broken) for i, s in seen if s.too_large]
    if large:
        path, why = large[0]
        yield finding(
            "too_large",
            ERROR,
            counted(len(large), "image is", "images are")
            + " over a limit that training and the server have, "
            f"such as {path}: {why}",
            [path for path, _ in large],
        )
    broken = [(i.path, s.broken) for i, s in seen if s.broken and not s.too_large]
    if broken:
        path, why = broken[0]
        yield finding(
            "unreadable",
            ERROR,
            counted(len(broken), "file", "files")
            + f" cannot be decoded, such as {path}: {why}; remove or replace them",
            [path for path, _ in broken],
            reasons=dict(Counter(why for _, why in broken)),
        )


def check_pixels(whole: Seen, thresholds: Thresholds) -> Iterator[Finding]:
    """Find images that are no plain RGB, of odd size, damaged, or show nothing."""
    lies = [i.path for i, s in whole if s.suffix_lies]
    if lies:
        kinds = {i.path: s.kind for i, s in whole if s.suffix_lies}
        yield finding(
            "wrong_suffix",
            WARNING,
            counted(len(lies), "file is", "files are")
            + " of another kind than the suffix says, such as "
            f"{lies[0]}, which is {kinds[lies[0]]}",
            lies,
            kinds=dict(Counter(kinds.values())),
        )
    damaged = [(i.path, s.complaint) for i, s in whole if s.complaint]
    if damaged:
        yield finding(
            "damaged",
            WARNING,
            counted(len(damaged), "file has", "files have")
            + f" small damages, such as {damaged[0][0]}: "
            f"{damaged[0][1].splitlines()[0]}; look at them",
            [path for path, _ in damaged],
        )
    for trait, meaning in TRAITS.items():
        paths = [i.path for i, s in whole if trait in s.traits]
        if paths:
            message = f"{counted(len(paths), 'image', 'images')} {meaning}"
            yield finding(trait, NOTE, message, paths)
    if not whole:
        return
    sides = np.array([(s.width * s.height) ** 0.5 for _, s in whole])
    middle = float(np.median(sides))
    odd = np.maximum(sides / middle, middle / sides) > thresholds.size_ratio
    if odd.any():
        yield finding(
            "size_outlier",
            WARNING,
            counted(odd.sum(), "image is", "images are")
            + f" more than {thresholds.size_ratio:g} times larger "
            f"or smaller than the usual {middle:.0f} pixels a side",
            [i.path for (i, _), is_odd in zip(whole, odd) if is_odd],
        )
    flat = [i.path for i, s in whole if s.contrast < thresholds.flat]
    if flat:
        yield finding(
            "flat",
            WARNING,
            counted(len(flat), "image shows", "images show")
            + " nothing: grey varies by less than "
            f"{thresholds.flat:g} of 255",
            flat,
        )
    dark = [
        i.path
        for i, s in whole
        if s.brightness < thresholds.dark and s.contrast >= thresholds.flat
    ]
    if dark:
        yield finding(
            "dark",
            WARNING,
            counted(len(dark), "image is", "images are")
            + " nearly black: mean grey below "
            f"{thresholds.dark:g} of 255",
            dark,
        )


def check_borders(whole: Seen) -> Iterator[Finding]:
    """Find lines of one colour that nearly all images of a set have at an edge."""
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
                NOTE,
                f"{source}: nearly all images have a line of one colour (RGB "
                f"{red_green_blue}) on the {', '.join(names)} edge, which a network "
                "would learn; prepare cuts it off (--border-crop)",
                len(edges),
                details={
                    "source": source,
                    "edges": names.tolist(),
                    "rgb": red_green_blue,
                },
            )
