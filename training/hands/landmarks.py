"""The 21 points of a hand: MediaPipe's hand landmarks, and the square around them.

Points are in MediaPipe's order: 0 is the wrist, then four a finger from the thumb (1 to
4) to the little finger (17 to 20), from the knuckle to the tip.
"""

import torch
from torch import nn

from training.hands.crops import square, turn_between
from training.hands.tflite import TFLiteNetwork

WRIST = 0
KNUCKLES = (5, 9, 13, 17)
PALM = (0, 1, 2, 3, 5, 6, 9, 10, 13, 14, 17, 18)  # what hardly moves
SCALE, SHIFT = 2.0, 0.1  # of the box around these, to the square around the hand


class HandLandmarks(nn.Module):
    """``(N, 3, 224, 224)`` crops of 0..1 -> what is known of the hand in each.

    Args:
        network: hand_landmark_full or _lite.
    """

    def __init__(self, network: TFLiteNetwork):
        super().__init__()
        self.network, self.size = network, network.input_size

    def forward(self, crops: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return points ``(N, 21, 3)``, of which x and y are -0.5 to 0.5 from edge to
        edge of the crop and z is in the same unit; presence and handedness ``(N, 1)``
        (above 0.5: a right hand); and the points in metres ``(N, 21, 3)``."""
        points, presence, handedness, metres = self.network(crops)
        points = points.unflatten(1, (21, 3)) / self.size
        middle = torch.tensor([0.5, 0.5, 0.0], device=points.device)
        return points - middle, presence, handedness, metres.unflatten(1, (21, 3))


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
