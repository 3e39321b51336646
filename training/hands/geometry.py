"""Describe the shape of a hand by numbers that do not depend on where the hand is, how
large it is, or how it is lit."""

import torch

from training.hands.hand import POINTS, Hand

# Fingertips, the joints before them, and knuckles: their distances tell letters apart.
JOINTS = (0, 4, 8, 12, 16, 20, 3, 7, 11, 15, 19, 5, 9, 13, 17)
_FROM, _TO = torch.tensor(JOINTS)[torch.triu_indices(len(JOINTS), len(JOINTS), 1)]


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
            turned(points, -turn).flatten(1),
            metres.flatten(1),
            turned(metres, turn).flatten(1),
            _distances(points),
            _distances(metres),
            torch.sin(hand.turn),
            torch.cos(hand.turn),
            hand.sure,
        ],
        1,
    )


FEATURES = 2 * 2 * POINTS + 2 * 3 * POINTS + 2 * len(_FROM) + 2 + 2


def _from_wrist(points):
    points = points - points[:, :1]
    return points / (points.norm(dim=2).amax(1)[:, None, None] + 1e-6)


def turned(points: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
    """Turn x and y of points ``(N, P, 2 or 3)`` by ``(N,)`` radians, clockwise as the
    picture shows them; z stays."""
    cos, sin = torch.cos(angle)[:, None], torch.sin(angle)[:, None]
    x, y = points[..., 0], points[..., 1]
    turned = torch.stack([x * cos - y * sin, x * sin + y * cos], 2)
    return torch.cat([turned, points[..., 2:]], 2)


def _distances(points):
    first, second = (points.index_select(1, x.to(points.device)) for x in (_FROM, _TO))
    return (first - second).norm(dim=2)
