"""Figures in words for people: beside a limit, and of how many."""

import math
from collections.abc import Mapping

MOST_DIGITS = 17  # tell any two floats apart
NORMAL_95 = 1.96  # quantile of the standard normal distribution, for 95 %
FEW = 100  # images, of which an accuracy says little


def beside(value: float, limit: float, digits: int = 2, kind: str = "f") -> str:
    """Write a value with as many digits as show on which side of a limit it is.

    0.4971 is 0.50 with two digits; beside a limit of 0.5 it is 0.497.

    Args:
        digits: At least so many, as ``kind`` counts them.
        kind: Of Python's formats: "f", "g" or "e".
    """
    text = f"{value:.{digits}{kind}}"
    while _side(float(text), limit) != _side(value, limit) and digits < MOST_DIGITS:
        digits += 1
        text = f"{value:.{digits}{kind}}"
    return text


def _side(value: float, limit: float) -> int:
    return (value > limit) - (value < limit)


def interval(right: int, count: int) -> tuple[float, float]:
    """Where the accuracy on very many images lies, with a probability of 95 %.

    The interval of Wilson (1927), which holds for few images and near 0 and 1 as well.

    Returns:
        Its two ends, 0 to 1.
    """
    share, z2 = right / count, NORMAL_95**2
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    spread = math.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    half = NORMAL_95 * spread / (1 + z2 / count)
    return max(0.0, middle - half), min(1.0, middle + half)


def counted(count: int, one: str, many: str) -> str:
    """Say how many: "1 image lies" or "2 images lie"."""
    return f"{count} {one if count == 1 else many}"


def right_of(right: int, count: int, what: str) -> str:
    """Say how many were right: "94.3 % of 174 test images right".

    Of few, it says how little that means: "7 of 8 test images right (of very many,
    53 to 98 %)".
    """
    if count >= FEW:
        return f"{100 * right / count:.1f} % of {count} {what} right"
    return f"{right} of {count} {what} right ({of_very_many(right, count)})"


def some_counts(counts: Mapping[str, int], most: int = 3) -> str:
    """Name the smallest: "A 1, B 1, C 2"."""
    least = sorted(counts, key=lambda name: counts[name])[:most]
    return ", ".join(f"{name} {counts[name]}" for name in least)


def of_very_many(right: int, count: int) -> str:
    """Say what an accuracy would be on very many images."""
    low, high = interval(right, count)
    return f"of very many, {100 * low:.0f} to {100 * high:.0f} %"
