"""Photographs of hands for tests: drawn, the same bytes whenever they are asked for."""

import functools

import cv2
import numpy as np

from data_prep.draw import image_rng
from data_prep.drawing.hand_model import landmarks, pose_hand, render
from data_prep.drawing.hand_poses import POSES
from data_prep.drawing.scene import draw_image

SIZE = 256  # pixels
LETTERS = ["B", "L", "V", "Y"]  # which nobody mixes up


@functools.cache
def photograph(letter: str, index: int) -> np.ndarray:
    """A right hand: ``(SIZE, SIZE, 3)`` uint8 RGB."""
    return draw_image(letter, image_rng(1, letter, index), SIZE)


def photographs(letters, index: int = 1) -> np.ndarray:
    """One hand a letter: ``(N, SIZE, SIZE, 3)`` uint8 RGB."""
    return np.stack([photograph(letter, index) for letter in letters])


def moved(image: np.ndarray, scale: float, across: float, down: float) -> np.ndarray:
    """The same photograph from farther away: scaled about its middle, then moved by
    shares of its side; its last pixels are repeated."""
    size = len(image)
    matrix = cv2.getRotationMatrix2D(((size - 1) / 2,) * 2, 0, scale)
    matrix[:, 2] += across * size, down * size
    return cv2.warpAffine(image, matrix, (size, size), borderMode=cv2.BORDER_REPLICATE)


def plaster_cast(letter: str, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A bent hand lit from the front, before a grey wall.

    Returns:
        The picture, ``(SIZE, SIZE, 3)`` uint8 RGB; its 21 points as `bend_hands` knows
        them, ``(21, 3)`` millimetres; and where they are, ``(21, 2)``, in shares of the
        picture's side.
    """
    hand = pose_hand(POSES[letter], np.random.default_rng(seed))
    left, bottom, right, top = hand.bounds()
    scale = 0.6 * SIZE / max(right - left, top - bottom)
    centre = (
        SIZE / 2 - scale * (left + right) / 2,
        SIZE / 2 + scale * (bottom + top) / 2,
    )
    relief = render(hand, SIZE, scale, centre)
    depth = np.where(relief.mask > 0, relief.depth, relief.depth[relief.mask > 0].min())
    slope = np.hypot(*np.gradient(depth))
    nearer = (cv2.blur(depth, (25, 25)) - depth) / (13 * scale)  # furrows are darker
    shade = (0.4 + 0.6 / np.sqrt(1 + slope**2)) * (1 - 0.5 * np.clip(nearer, 0, 1))
    skin = np.array([222, 168, 132]) * (shade * relief.albedo)[..., None]
    picture = np.where(relief.mask[..., None] > 0, skin, 90).clip(0, 255)
    points = landmarks(hand)
    where = (points[:, :2] * (1, -1) * scale + centre) / SIZE
    return cv2.GaussianBlur(picture.astype(np.uint8), (3, 3), 0.8), points, where
