"""Where the palm is: MediaPipe's palm detection, and the square around the hand."""

import math
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from training.hands.crops import cut, square, to_photograph, turn_between
from training.hands.tflite import TFLiteNetwork

STRIDES = ((8, 2), (16, 6))  # pixels to a place, and anchors at each place
WRIST, KNUCKLE = 0, 2  # of the seven points of a palm: of the middle finger
SCALE, SHIFT = 2.6, 0.5  # of the palm's box, to the square around the hand


class Look(NamedTuple):
    """A way to look at a photograph.

    Attributes:
        size: Pixels that the network sees; a multiple of 32. It was trained with 192;
            hands that fill much of a photograph are found with fewer, too.
        border: Added on each side before, as a share of the photograph's side, by
            repeating its last pixels: hands at the edge are found with it.
        turn: By which the head is turned to the right, degrees.
        tone: Of TONES: how the photograph is changed before.
    """

    size: int
    border: float = 0.0
    turn: float = 0.0
    tone: str = "plain"


def brighten(photographs: torch.Tensor) -> torch.Tensor:
    """Lighten what is dark, and blur what is coarse in it."""
    light = photographs.sqrt()
    return functional.avg_pool2d(light, 5, 1, 2, count_include_pad=False)


def decolour(photographs: torch.Tensor) -> torch.Tensor:
    """Keep brightness only (ITU-R BT.601), in three equal channels."""
    weights = torch.tensor([0.299, 0.587, 0.114], device=photographs.device)
    grey = (photographs * weights[:, None, None]).sum(1, keepdim=True)
    return grey.expand(-1, 3, -1, -1)


TONES = {"plain": lambda x: x, "bright": brighten, "grey": decolour}


def look_at(photographs: torch.Tensor, look: Look) -> tuple[torch.Tensor, ...]:
    """See photographs ``(N, 3, S, S)`` of 0..1 in one way.

    Returns:
        The photographs in the look's tone; what the palm network is shown of them,
        ``(N, 3, size, size)``; and where that lies in the photograph, squares
        ``(N, 4)`` (training/hands/crops.py).
    """
    toned = TONES[look.tone](photographs)
    side, turn = 1 + 2 * look.border, math.radians(look.turn)
    frame = torch.tensor([[0.5, 0.5, side, turn]], device=photographs.device)
    frame = frame.expand(photographs.shape[0], -1)
    if side == 1 and not turn:  # the same pixels as cut would give, sooner
        size = [look.size, look.size]
        return toned, functional.interpolate(toned, size, mode="bilinear"), frame
    return toned, cut(toned, frame, look.size), frame


class PalmDetector(nn.Module):
    """Squares around the likeliest hands, and their scores.

    Args:
        network: palm_detection_full or _lite.
        size: Pixels that the network sees.
    """

    def __init__(self, network: TFLiteNetwork, size: int):
        super().__init__()
        self.network, self.size = network, size
        anchors = []
        for stride, each in STRIDES:
            places = (torch.arange(size // stride) + 0.5) / (size // stride)
            grid = torch.stack(torch.meshgrid(places, places, indexing="xy"), 2)
            anchors.append(grid.reshape(-1, 1, 2).expand(-1, each, 2).reshape(-1, 2))
        self.register_buffer("anchors", torch.cat(anchors), persistent=False)

    def forward(
        self, seen: torch.Tensor, frame: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return squares ``(N, 4)`` in the photograph, and scores ``(N, 1)``.

        Args:
            seen: ``(N, 3, size, size)`` of 0..1.
            frame: Where that lies in the photograph, squares ``(N, 4)``.
        """
        rows, logits = self.network(seen)
        best = logits[..., 0].argmax(1)
        score = logits[..., 0].gather(1, best[:, None]).clamp(-100, 100).sigmoid()
        row = rows.gather(1, best[:, None, None].expand(-1, 1, rows.shape[2]))[:, 0]
        anchor = self.anchors[best]
        row = row / self.size
        points = row[:, 4:].unflatten(1, (7, 2)) + anchor[:, None]
        turned = turn_between(points[:, WRIST], points[:, KNUCKLE])
        up = torch.stack([torch.sin(turned), -torch.cos(turned)], 1)
        centre = row[:, :2] + anchor + SHIFT * row[:, 3:4] * up
        centre = to_photograph(frame, centre[:, None] - 0.5)[:, 0]
        longer = row[:, 2:4].amax(1)
        return square(centre, SCALE * frame[:, 2] * longer, turned + frame[:, 3]), score
