"""Describe the shape of a hand by numbers that do not depend on where the hand is, how
large it is, or how it is lit.

A hand is described by `Hand`. All are right hands: a left one is mirrored, so that the
letter network sees one kind of hand only.
"""

from typing import NamedTuple

import numpy as np
import torch

POINTS = 21
# Fingertips, the joints before them, and knuckles: their distances tell letters apart.
JOINTS = (0, 4, 8, 12, 16, 20, 3, 7, 11, 15, 19, 5, 9, 13, 17)
_FIRST, _SECOND = (part.tolist() for part in np.triu_indices(len(JOINTS), 1))
# Of the variation, standard deviations:
TURN, TILT = 0.18, 0.15  # radians
STRETCH, NOISE = 0.06, 0.02  # share of an axis; of the hand's size
BENT_STRENGTH = 1.6  # the factor on these for hands that were bent, not read


class Hand(NamedTuple):
    """Hands as the networks see them, for N photographs; all float32.

    Attributes:
        points: ``(N, 21, 2)``, in the photograph, in shares of its side.
        metres: ``(N, 21, 3)``, in space, with the hand turned upright.
        turn: ``(N, 1)``, how the hand is turned in the photograph, radians.
        sure: ``(N, 2)``, score of the palm and presence of the hand, 0 to 1.
        pixels: ``(N, 1)``, 1 where there is a picture of it, 0 for points alone.
    """

    points: torch.Tensor
    metres: torch.Tensor
    turn: torch.Tensor
    sure: torch.Tensor
    pixels: torch.Tensor


_SHAPES = ((POINTS, 2), (POINTS, 3), (1,), (2,), (1,))
_SIZES = [int(np.prod(shape)) for shape in _SHAPES]
NUMBERS = sum(_SIZES)


def pack(hand: Hand) -> torch.Tensor:
    """One row ``(N, NUMBERS)`` a hand, as it is kept in files."""
    return torch.cat([part.flatten(1) for part in hand], 1)


def unpack(rows: torch.Tensor) -> Hand:
    """The inverse of `pack`."""
    parts = torch.split(rows, _SIZES, 1)
    return Hand(*(p.unflatten(1, shape) for p, shape in zip(parts, _SHAPES)))


def describe(hand: Hand) -> torch.Tensor:
    """Numbers ``(N, FEATURES)`` float32 for the letter network.

    The points from the wrist on, in units of the farthest one: in the picture's frame
    (some letters differ by how the hand is held only), and turned upright; of the
    picture, and in space; distances between joints; the turn itself; and how sure the
    networks are of the hand.
    """
    points, metres = _from_wrist(hand.points), _from_wrist(hand.metres)
    turn = hand.turn[:, 0]
    return torch.cat(
        [
            points.flatten(1),
            _turned(points, -turn).flatten(1),
            metres.flatten(1),
            _turned(metres, turn).flatten(1),
            _distances(points),
            _distances(metres),
            torch.sin(hand.turn),
            torch.cos(hand.turn),
            hand.sure,
        ],
        1,
    )


FEATURES = 2 * 2 * POINTS + 2 * 3 * POINTS + 2 * len(_FIRST) + 2 + 2


def _from_wrist(points):
    points = points - points[:, :1]
    return points / (points.norm(dim=2).amax(1)[:, None, None] + 1e-6)


def _turned(points, angle):
    """Turn x and y clockwise, as the picture shows them; z stays."""
    cos, sin = torch.cos(angle)[:, None], torch.sin(angle)[:, None]
    x, y = points[..., 0], points[..., 1]
    turned = torch.stack([x * cos - y * sin, x * sin + y * cos], 2)
    return torch.cat([turned, points[..., 2:]], 2)


def _distances(points):
    joints = points[:, list(JOINTS)]
    return (joints[:, _FIRST] - joints[:, _SECOND]).norm(dim=2)


def augment_hands(hand: Hand, strength: float = 1.0) -> Hand:
    """Vary hands as other people and cameras would.

    Each is turned a little in the picture and in space, its proportions change, and all
    its points move; of points alone, which no network has read, BENT_STRENGTH times as
    much. PyTorch's global generator decides.
    """
    count, device = len(hand.turn), hand.turn.device
    each = strength * torch.where(hand.pixels > 0, 1.0, BENT_STRENGTH)

    def normal(*shape):
        drawn = torch.randn(count, *shape, device=device)
        return drawn * each.reshape(count, *[1] * len(shape))

    angle = TURN * normal()
    points = _turned(hand.points - hand.points[:, :1], angle)
    points = points * (1 + STRETCH * normal(1, 2))
    metres = (hand.metres - hand.metres[:, :1]) * (1 + STRETCH * normal(1, 3))
    for first, second in ((1, 2), (0, 2)):  # tilted about x, then about y
        metres = _tilted(metres, TILT * normal(), first, second)
    points = points + NOISE * _size(points) * normal(*points.shape[1:])
    metres = metres + NOISE * _size(metres) * normal(*metres.shape[1:])
    return hand._replace(points=points, metres=metres, turn=hand.turn + angle[:, None])


def _tilted(points, angle, first, second):
    cos, sin = torch.cos(angle)[:, None], torch.sin(angle)[:, None]
    a, b = points[..., first], points[..., second]
    axes = list(points.unbind(2))
    axes[first], axes[second] = a * cos - b * sin, a * sin + b * cos
    return torch.stack(axes, 2)


def _size(points):
    return points.norm(dim=2).amax(1)[:, None, None]
