"""From a photograph to its hand: where it is, its points, and a picture of it upright.

The networks are MediaPipe's and stay as they are; nothing here is trained.
"""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from training.hands.crops import cut, square, to_photograph
from training.hands.files import LANDMARKS, PALMS
from training.hands.geometry import Hand
from training.hands.landmarks import HandLandmarks, square_around
from training.hands.palms import PalmDetector
from training.hands.tflite import TFLiteNetwork

PALM_SIZE = 128  # pixels that the palm network sees
CROP_SIZE = 96  # pixels of the picture that the letter network sees
FOUND = 0.5  # presence from which on the hand counts as found


class Reading(NamedTuple):
    """What is read from N photographs; all float32.

    Attributes:
        hand: A right hand; left ones are mirrored.
        picture: ``(N, 3, C, C)`` of 0 to 1, the hand upright and mirrored likewise; the
            whole photograph where no hand was found.
        landmarks: ``(N, 21, 3)``, in the photograph: x and y in shares of its width and
            height, z in the same unit, smaller towards the camera.
        presence: ``(N, 1)``, how surely there is a hand, 0 to 1.
        handedness: ``(N, 1)``, how surely it is a right one, 0 to 1.
    """

    hand: Hand
    picture: torch.Tensor
    landmarks: torch.Tensor
    presence: torch.Tensor
    handedness: torch.Tensor


class HandReader(nn.Module):
    """Finds one hand in each photograph and reads its points.

    Args:
        palms, landmarks: The networks.
    """

    def __init__(self, palms: PalmDetector, landmarks: HandLandmarks):
        super().__init__()
        self.palms, self.landmarks = palms, landmarks
        self.requires_grad_(False).eval()

    @classmethod
    def load(cls, folder: Path) -> "HandReader":
        """Load the networks from a folder that `find_hand_networks` returns."""
        palms = PalmDetector(TFLiteNetwork(folder / PALMS), PALM_SIZE)
        return cls(palms, HandLandmarks(TFLiteNetwork(folder / LANDMARKS)))

    def forward(
        self, photographs: torch.Tensor, size: int = CROP_SIZE, scale: float = 1.0
    ) -> Reading:
        """Read ``(N, S, S, 3)`` uint8 RGB.

        Args:
            photographs: To read.
            size: Side of the pictures of hands, pixels.
            scale: Of their squares; above 1 there is a margin around the hand.
        """
        pixels = photographs.permute(0, 3, 1, 2).float() / 255
        place, score = self.palms(pixels)
        crops = cut(pixels, place, self.landmarks.size)
        points, presence, handedness, metres = self.landmarks(crops)
        inside = to_photograph(place, points[..., :2])
        depth = points[..., 2:] * place[:, None, 2:3]
        landmarks = torch.cat([inside, depth], 2)

        around = square_around(inside)
        whole = square(
            torch.full_like(around[:, :2], 0.5),
            torch.ones_like(around[:, 2]),
            torch.zeros_like(around[:, 3]),
        )
        found = presence > FOUND
        around = torch.where(found, around, whole)
        factor = torch.tensor([1.0, 1.0, scale, 1.0], device=around.device)
        picture = cut(pixels, around * factor, size)

        left = found & (handedness < 0.5)
        mirror = torch.where(left, -1.0, 1.0)
        picture = torch.where(left[..., None, None], picture.flip(3), picture)
        hand = Hand(
            points=_mirrored(inside, mirror),
            metres=_mirrored(metres, mirror),
            turn=around[:, 3:] * mirror,
            sure=torch.cat([score, presence], 1),
            pixels=torch.ones_like(score),
        )
        return Reading(hand, picture, landmarks, presence, handedness)


def _mirrored(points, mirror):
    return torch.cat([points[..., :1] * mirror[..., None], points[..., 1:]], 2)
