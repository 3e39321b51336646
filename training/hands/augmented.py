"""Photographs varied before they are read.

The reader finds other points in another photograph of the same hand: in other light,
blurred, turned, smaller, or of the other hand. Random numbers added to points do not
imitate these errors; so some photographs are varied and read once more.
"""

import hashlib
from pathlib import Path

import cv2
import numpy as np

from training import augment
from training.augment import (
    OTHER_ROOMS,
    noise_pool,
    random_affine,
    recolour,
    roughen,
)
from training.hands.picked import PickedPhotographs


class AugmentedPhotographs(PickedPhotographs):
    """Some photographs, each varied in one way; made anew whenever they are asked for,
    since they would take much memory.

    Args:
        images: ``(N, S, S, 3)`` uint8 RGB.
        rows: ``(M,)`` int64, which of them.
        seed: Of the variation.
    """

    def __init__(self, images: np.ndarray, rows: np.ndarray, seed: int):
        super().__init__(images, rows)
        self.seed = seed
        self.noise = noise_pool(images.shape[1], seed)

    def __getitem__(self, part: slice) -> np.ndarray:
        """Return ``(m, S, S, 3)`` uint8 RGB."""
        picks = range(len(self))[part]
        made = np.empty((len(picks), *self.shape[1:]), np.uint8)
        for place, number in enumerate(picks):
            rng = np.random.default_rng([self.seed, 11, number])
            made[place] = augment_photograph(
                self.images[self.rows[number]], rng, self.noise
            )
        return made

    def digest(self) -> bytes:
        """As of the photographs, without making them: they follow from what they are
        made of and by."""
        made = hashlib.sha256(PickedPhotographs(self.images, self.rows).digest())
        made.update(f"{self.seed}".encode())
        for module in (__file__, augment.__file__):
            made.update(Path(module).read_bytes())
        return made.digest()


def augment_photograph(
    image: np.ndarray, rng: np.random.Generator, noise: np.ndarray
) -> np.ndarray:
    """Vary a whole photograph ``(S, S, 3)`` uint8 RGB; mirror it in half of the cases.

    Args:
        noise: From `noise_pool`, of the same size.
    """
    size = image.shape[0]
    where = random_affine(
        rng,
        size,
        rotation=25,
        scale=(0.7, 1.3),
        shift=0.08,
        shear=0.12,
        stretch=0.1,
        mirror=0.5,
    )
    varied = cv2.warpAffine(image, where, (size, size), borderMode=cv2.BORDER_REPLICATE)
    return roughen(recolour(varied, rng, OTHER_ROOMS), rng, noise)
