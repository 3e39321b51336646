"""The form of a finding about a raw set, and the thresholds for reporting one.

An error would spoil a model or break its training, so it stops the pipeline. A warning
is something that a person should look at once. A note says what is done by itself. What
is looked for is in sets (names and classes), images (files and pixels) and copies.
"""

import math
from dataclasses import dataclass, field
from typing import Sequence

from data_prep.errors import InputError

ERROR, WARNING, NOTE = "error", "warning", "note"
EXAMPLES = 12  # images named in a finding


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

    def __post_init__(self):
        for name, low, high in (
            ("dark", 0, 255),
            ("flat", 0, 255),
            ("size_ratio", 1, math.inf),
            ("imbalance", 1, math.inf),
            ("few", 0, math.inf),
            ("copy", 0, 1),
            ("leak", 0, 1),
        ):
            if not low <= (value := getattr(self, name)) <= high:
                upper = "" if high == math.inf else f" and at most {high}"
                raise InputError(
                    f"--{name.replace('_', '-')} is {value:g}; it must be at least "
                    f"{low}{upper}"
                )


@dataclass(frozen=True)
class Finding:
    """One kind of thing that was found.

    Attributes:
        kind: A fixed name, such as ``unreadable``.
        severity: ``error``, ``warning`` or ``note``.
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


def finding(kind, severity, message, paths: Sequence[str], **details) -> Finding:
    """Count and name what a finding concerns."""
    return Finding(kind, severity, message, len(paths), list(paths[:EXAMPLES]), details)
