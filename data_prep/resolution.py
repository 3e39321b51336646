"""Choose the size of the prepared images if no option gives it.

Photographs of hand signs keep their proportions, and enough pixels for the networks
that look for a hand in them. Other pictures are squashed to what plain networks take.
"""

from collections.abc import Iterable, Sequence
from statistics import median

import numpy as np

from data_prep.drawing.hand_poses import CLASSES
from data_prep.image_file import BrokenImage
from data_prep.preprocessing import RESIZE_MODES, Preprocessing, decode
from data_prep.sources import RawImage

AUTO = "auto"
CHOICES = (AUTO, *RESIZE_MODES)
HAND_SIZE = 256  # pixels
SMALLEST_HANDS = 64  # pixels: fingers cannot be told apart in smaller photographs
SAMPLE = 25  # images: a phone's photograph takes up to a tenth of a second to decode


def choose(
    classes: Iterable[str],
    shorter_side: float,
    image_size: int = 0,
    resize_mode: str = AUTO,
) -> tuple[int, str, str]:
    """Choose image size and resize mode; a given one is not changed.

    Args:
        classes: Names of all classes.
        shorter_side: Of a typical photograph, pixels.
        image_size: Pixels; 0: choose.
        resize_mode: "squash", "letterbox", or "auto": choose.

    Returns:
        The size, the mode, and a line that says why.
    """
    others = sorted(set(classes) - set(CLASSES))
    hands = not others and shorter_side >= SMALLEST_HANDS
    mode = resize_mode
    if mode == AUTO:
        mode = "letterbox" if hands else "squash"
    letterboxed_hands = hands and mode == "letterbox"
    size = image_size or (
        HAND_SIZE if letterboxed_hands else Preprocessing().image_size
    )
    if image_size and resize_mode != AUTO:
        why = "both were given"
    elif others:
        why = f"{others[0]} is no hand sign"
    elif hands:
        why = f"photographs of hand signs, typically {shorter_side:g} px"
    else:
        why = (
            f"photographs of typically {shorter_side:g} px, and hands need "
            f"{SMALLEST_HANDS}"
        )
    return size, mode, f"{mode} to {size} px: {why}"


def typical_shorter_side(images: Sequence[RawImage]) -> float:
    """Measure a few images, evenly spread over all of them.

    Returns:
        The median of their shorter sides, pixels; 0 if none can be decoded.
    """
    picks = np.linspace(0, len(images) - 1, min(SAMPLE, len(images))).astype(int)
    sides = []
    for index in picks:
        try:
            sides.append(min(decode(images[index].read()).shape[:2]))
        except BrokenImage:  # preparing it will say so
            continue
    return median(sides) if sides else 0.0
