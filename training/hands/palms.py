"""Where the palm is: MediaPipe's palm detection, and the square around the hand."""

import torch
from torch import nn
from torch.nn import functional

from training.hands.crops import square, turn_between
from training.hands.tflite import TFLiteNetwork

STRIDES = ((8, 2), (16, 6))  # pixels to a place, and anchors at each place
WRIST, KNUCKLE = 0, 2  # of the seven points of a palm: of the middle finger
SCALE, SHIFT = 2.6, 0.5  # of the palm's box, to the square around the hand


class PalmDetector(nn.Module):
    """``(N, 3, S, S)`` of 0..1 -> squares around the likeliest hands, and their scores.

    Args:
        network: palm_detection_full or _lite.
        size: Pixels that the network sees; a multiple of 32. It was trained with 192;
            hands that fill much of a photograph are found with fewer, too.
        border: Added on each side before, as a share of the photograph's side, by
            repeating its last pixels: hands at the edge are found with it.
    """

    def __init__(self, network: TFLiteNetwork, size: int, border: float = 0.0):
        super().__init__()
        self.network, self.size, self.border = network, size, border
        anchors = []
        for stride, each in STRIDES:
            places = (torch.arange(size // stride) + 0.5) / (size // stride)
            grid = torch.stack(torch.meshgrid(places, places, indexing="xy"), 2)
            anchors.append(grid.reshape(-1, 1, 2).expand(-1, each, 2).reshape(-1, 2))
        self.register_buffer("anchors", torch.cat(anchors), persistent=False)

    def forward(self, photographs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return squares ``(N, 4)`` (training/hands/crops.py) and scores ``(N, 1)``."""
        side = photographs.shape[2]
        around = int(self.border * side)
        if around:
            photographs = functional.pad(photographs, [around] * 4, mode="replicate")
        seen = functional.interpolate(
            photographs, [self.size, self.size], mode="bilinear"
        )
        rows, logits = self.network(seen)
        best = logits[..., 0].argmax(1)
        score = logits[..., 0].gather(1, best[:, None]).clamp(-100, 100).sigmoid()
        row = rows.gather(1, best[:, None, None].expand(-1, 1, rows.shape[2]))[:, 0]
        anchor = self.anchors[best]
        row = row / self.size
        points = row[:, 4:].unflatten(1, (7, 2)) + anchor[:, None]
        turn = turn_between(points[:, WRIST], points[:, KNUCKLE])
        height = row[:, 3]
        up = torch.stack([torch.sin(turn), -torch.cos(turn)], 1)
        centre = row[:, :2] + anchor + SHIFT * height[:, None] * up
        factor = 1 + 2 * around / side
        return (
            square(
                centre * factor - around / side,
                SCALE * factor * row[:, 2:4].amax(1),
                turn,
            ),
            score,
        )
