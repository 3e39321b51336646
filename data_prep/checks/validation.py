"""Check raw images before any time is spent on them, and write down what was found.

The report is ``validation.html`` for people and ``validation.json`` for programs.

``validation.json``::

    ok           no finding is an error
    images       number of images
    sources      {source: {class: images}}
    classes      {class: images}
    thresholds   see data_prep.checks.findings.Thresholds
    findings     [{kind, severity, message, count, examples, details}], by severity;
                 see data_prep.checks.findings.Finding
"""

import json
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Iterable, Iterator, Sequence

import numpy as np

from data_prep import report
from data_prep.checks.copies import check_copies, check_twins
from data_prep.checks.findings import ERROR, NOTE, WARNING, Finding, Thresholds
from data_prep.checks.images import check_borders, check_pixels, check_readable
from data_prep.checks.inspection import Inspected, inspect
from data_prep.checks.sets import check_classes, check_names
from data_prep.checks.validation_html import page
from data_prep.errors import InputError
from data_prep.figures import counted
from data_prep.image_file import BrokenImage
from data_prep.preprocessing import Preprocessing
from data_prep.sources import Listing, RawImage

SAMPLES = 10  # images of a class in the sample grid
PLAIN = Preprocessing(image_size=report.TILE, border_crop=0)


def validate(
    listing: Listing,
    folder: str | Path,
    workers: int,
    expected: Iterable[str] = (),
    thresholds: Thresholds = Thresholds(),
) -> dict:
    """Inspect all images and write the report into ``folder``.

    Returns:
        The content of validation.json.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    inspected = inspect(listing.images, workers)
    findings = find_all(listing, inspected, thresholds, expected)
    result = summarise(listing, findings, thresholds)
    whole = [i for i, seen in zip(listing.images, inspected) if not seen.broken]
    grid = sample_grid(whole)
    report.write_png(folder / "samples.png", grid)
    html = page(result, {image.path: image for image in listing.images}, grid)
    (folder / "validation.html").write_text(html, encoding="utf-8")
    text = json.dumps(result, indent=2, ensure_ascii=False) + "\n"
    (folder / "validation.json").write_text(text, encoding="utf-8")
    return result


def find_all(
    listing: Listing,
    inspected: Sequence[Inspected],
    thresholds: Thresholds = Thresholds(),
    expected: Iterable[str] = (),
) -> list[Finding]:
    """Ask every question; errors first, then warnings, in a fixed order.

    Args:
        inspected: One for each image of the listing.
        expected: The class names there should be; empty: any.
    """
    seen = list(zip(listing.images, inspected))
    whole = [pair for pair in seen if not pair[1].broken]
    found = [
        *check_readable(seen),
        *check_classes(listing, set(expected), thresholds),
        *check_copies(seen, thresholds),
        *check_pixels(whole, thresholds),
        *check_twins(whole, thresholds),
        *check_borders(whole),
        *check_names(listing),
    ]
    order = ERROR, WARNING, NOTE
    return sorted(found, key=lambda finding: order.index(finding.severity))


def summarise(
    listing: Listing, findings: Sequence[Finding], thresholds: Thresholds
) -> dict:
    """Everything that validation.json holds."""
    sources = defaultdict(Counter)
    for image in listing.images:
        sources[image.source][image.label] += 1
    for source, label in listing.empty:
        sources[source][label] += 0
    classes = Counter()
    for counts in sources.values():
        for label, count in counts.items():
            classes[label] += count
    return {
        "ok": all(finding.severity != ERROR for finding in findings),
        "images": len(listing.images),
        "sources": {name: dict(sorted(c.items())) for name, c in sources.items()},
        "classes": dict(sorted(classes.items())),
        "thresholds": asdict(thresholds),
        "findings": [asdict(finding) for finding in findings],
    }


def require_ok(result: dict) -> None:
    """Stop at errors.

    Raises:
        InputError: One line that names the first error and how many more there are.
    """
    errors = [f for f in result["findings"] if f["severity"] == ERROR]
    if errors:
        count = counted(len(errors) - 1, "more kind", "more kinds")
        more = f" (and {count} of errors)" if errors[1:] else ""
        raise InputError(errors[0]["message"] + more)


def example_rows(
    findings: Iterable[dict], images: Iterable[RawImage]
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield a row of pictures for each finding whose examples can be shown.

    Yields:
        The finding's place and kind, such as ``01 conflicting_labels``; uint8 RGB.
    """
    by_path = {image.path: image for image in images}
    for number, finding in enumerate(findings, 1):
        shown = []
        for path in finding["examples"]:
            if path in by_path:
                with suppress(BrokenImage):
                    shown.append(PLAIN.apply(by_path[path].read()))
        if shown:
            name = f"{number:02} {finding['kind']}"
            yield name, report.mosaic({finding["kind"]: shown})


def sample_grid(images: Sequence[RawImage]) -> np.ndarray:
    """A row of images of each class, evenly over its order: uint8 RGB."""
    by_label = defaultdict(list)
    for image in images:
        by_label[image.label].append(image)
    rows = {}
    for label in sorted(by_label):
        members = by_label[label]
        picks = np.linspace(0, len(members) - 1, min(SAMPLES, len(members)))
        rows[label] = [PLAIN.apply(members[int(i)].read()) for i in picks]
    return report.mosaic(rows)
