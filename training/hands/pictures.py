"""Pictures of hands for the network that sees pixels: cut, and varied for training."""

import cv2
import numpy as np
import torch
from torch import nn

from training.augment import OTHER_ROOMS, random_affine, recolour, roughen
from training.hands.reader import MARGIN, PICTURE_SIZE

FAINT = 10  # of 255: so little contrast may be noise


class EvenLight(nn.Module):
    """Give each picture ``(N, C, H, W)`` a mean of 0 and a spread of 1: dark ones and
    bright ones look alike."""

    def forward(self, x):
        mean = x.mean((1, 2, 3), keepdim=True)
        spread = (x - mean).square().mean((1, 2, 3), keepdim=True).sqrt()
        return (x - mean) / (spread + FAINT / 64)


def augment_picture(
    picture: np.ndarray,
    rng: np.random.Generator,
    noise: np.ndarray,
    strength: float = 1.0,
    flip: bool = False,
) -> np.ndarray:
    """Vary a picture with its margin; arguments as those of `augment.augment`.

    It stands for what the reader may do otherwise with another photograph of that hand
    (turn, move, scale), and for other rooms' light.

    Args:
        picture: ``(P, P, 3)`` uint8 RGB with MARGIN on each side.

    Returns:
        ``(PICTURE_SIZE, PICTURE_SIZE, 3)`` uint8 RGB.
    """
    where = random_affine(
        rng,
        len(picture),
        rotation=15 * strength,
        scale=(0.85**strength, 1.2**strength),
        shift=0.06 * strength,
        shear=0.1 * strength,
        stretch=0.08 * strength,
        mirror=flip / 2,
    )
    where[:, 2] -= MARGIN
    size = (PICTURE_SIZE, PICTURE_SIZE)
    varied = cv2.warpAffine(picture, where, size, borderMode=cv2.BORDER_REPLICATE)
    varied = recolour(varied, rng, OTHER_ROOMS.times(strength))
    return roughen(varied, rng, noise[:, MARGIN:-MARGIN, MARGIN:-MARGIN], strength)


def inner(pictures):
    """Cut the margin off pictures ``(..., P, P, 3)``, arrays or tensors."""
    return pictures[..., MARGIN:-MARGIN, MARGIN:-MARGIN, :]


def to_batch(pictures: torch.Tensor) -> torch.Tensor:
    """Pictures as the reader makes them, ``(N, 3, P, P)``, as a classifier takes them:
    ``(N, PICTURE_SIZE, PICTURE_SIZE, 3)``, without their margin."""
    return inner(pictures.permute(0, 2, 3, 1))
