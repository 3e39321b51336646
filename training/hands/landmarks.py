"""The 21 points of a hand: MediaPipe's hand landmarks, and the square around them.

Points are in MediaPipe's order: 0 is the wrist, then four a finger from the thumb (1 to
4) to the little finger (17 to 20), from the knuckle to the tip.
"""

import torch
from torch import nn
from torch.nn import functional

from training.hands.crops import square, turn_between
from training.hands.tflite import TFLiteNetwork

WRIST = 0
KNUCKLES = (5, 9, 13, 17)
PALM = (0, 1, 2, 3, 5, 6, 9, 10, 13, 14, 17, 18)  # what hardly moves
SCALE, SHIFT = 2.0, 0.1  # of the box around these, to the square around the hand
# In hand_landmark_full: (N, CHANNELS, 14, 14), the last ones of this size. Those before
# and after tell letters apart less well (training/EXPERIMENTS.md).
ACTIVATIONS = 142


class HandLandmarks(nn.Module):
    """``(N, 3, 224, 224)`` crops of 0..1 -> what is known of the hand in each.

    Args:
        network: hand_landmark_full or _lite; with activations or without.
    """

    def __init__(self, network: TFLiteNetwork):
        super().__init__()
        self.network, self.size = network, network.input_size

    def forward(self, crops: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return points ``(N, 21, 3)``, of which x and y are -0.5 to 0.5 from edge to
        edge of the crop and z is in the same unit; presence and handedness ``(N, 1)``
        (above 0.5: a right hand); the points in metres ``(N, 21, 3)``; and, of a
        network with activations, these at the points ``(N, 21, channels)``."""
        points, presence, handedness, metres, *activations = self.network(crops)
        points = points.unflatten(1, (21, 3)) / self.size
        points = points - torch.tensor([0.5, 0.5, 0.0], device=points.device)
        seen = [_at_points(values, points) for values in activations]
        metres = metres.unflatten(1, (21, 3))
        return points, presence, handedness, metres, *seen


def _at_points(activations, points):
    places = 2 * points[:, None, :, :2]  # -1 to 1 from edge to edge
    seen = functional.grid_sample(
        activations, places, "bilinear", "border", align_corners=False
    )
    return seen[:, :, 0].transpose(1, 2)


def square_around(points: torch.Tensor) -> torch.Tensor:
    """The square around a hand whose points ``(N, 21, 2)`` are known, as MediaPipe's
    tracking places it; in the unit of the points."""
    turn = turn_between(points[:, WRIST], points[:, list(KNUCKLES)].mean(1))
    cos, sin = torch.cos(turn)[:, None], torch.sin(turn)[:, None]
    palm = points[:, list(PALM)]
    x, y = palm[..., 0], palm[..., 1]
    turned = torch.stack([x * cos + y * sin, y * cos - x * sin], 2)  # upright
    low, high = turned.amin(1), turned.amax(1)
    size, middle = high - low, (high + low) / 2
    middle = middle - SHIFT * torch.stack([torch.zeros_like(size[:, 1]), size[:, 1]], 1)
    x, y = middle[:, :1], middle[:, 1:]
    centre = torch.cat([x * cos - y * sin, x * sin + y * cos], 1)
    return square(centre, SCALE * size.amax(1), turn)
