"""Vary hands as other people and cameras would: new ones in each step of a training."""

import torch

from training.hands.geometry import turned
from training.hands.hand import Hand

# Of the variation, standard deviations:
TURN, TILT = 0.18, 0.15  # radians
STRETCH, NOISE = 0.06, 0.02  # share of an axis; of the hand's size
BENT_STRENGTH = 1.6  # the factor on these for hands that were bent, not read


def augment_hands(
    hand: Hand, strength: float = 1.0, generator: torch.Generator | None = None
) -> Hand:
    """Vary hands.

    Each is turned a little in the picture and in space, its proportions change, and all
    its points move; of points alone, which no network has read, BENT_STRENGTH times as
    much.

    Args:
        hand: Of N photographs; left unchanged.
        strength: Factor on the variation.
        generator: Of all that is random; PyTorch's own if None.
    """
    count, device = len(hand.turn), hand.turn.device
    each = strength * torch.where(hand.pixels > 0, 1.0, BENT_STRENGTH)

    def normal(*shape):
        drawn = torch.randn(count, *shape, generator=generator, device=device)
        return drawn * each.reshape(count, *[1] * len(shape))

    angle = TURN * normal()
    points = turned(hand.points - hand.points[:, :1], angle)
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
