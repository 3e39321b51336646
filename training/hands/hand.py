"""A hand as the networks see it, and as it is kept in files.

All are right hands: a left one is mirrored, so that the letter network sees one kind of
hand only.
"""

from typing import NamedTuple

import numpy as np
import torch

POINTS = 21
CHANNELS = 112  # of what the landmark network sees at a point


class Hand(NamedTuple):
    """Hands as the networks see them, for N photographs; all float32.

    Attributes:
        points: ``(N, 21, 2)``, in the photograph, in shares of its side.
        metres: ``(N, 21, 3)``, in space, with the hand turned upright.
        turn: ``(N, 1)``, how the hand is turned in the photograph, radians.
        sure: ``(N, 2)``, score of the palm and presence of the hand, 0 to 1.
        appearance: ``(N, 21, CHANNELS)``, what the landmark network sees at each point:
            its activations there. Points do not tell which finger lies before which.
        pixels: ``(N, 1)``, 1 where there is a picture of it, 0 for points alone, whose
            appearance is unknown.
    """

    points: torch.Tensor
    metres: torch.Tensor
    turn: torch.Tensor
    sure: torch.Tensor
    appearance: torch.Tensor
    pixels: torch.Tensor


_SHAPES = ((POINTS, 2), (POINTS, 3), (1,), (2,), (POINTS, CHANNELS), (1,))
_SIZES = [int(np.prod(shape)) for shape in _SHAPES]
NUMBERS = sum(_SIZES)


def pack(hand: Hand) -> torch.Tensor:
    """One row ``(N, NUMBERS)`` a hand, as it is kept in files."""
    return torch.cat([part.flatten(1) for part in hand], 1)


def unpack(rows: torch.Tensor) -> Hand:
    """The inverse of `pack`."""
    parts = torch.split(rows, _SIZES, 1)
    return Hand._make(p.unflatten(1, shape) for p, shape in zip(parts, _SHAPES))
