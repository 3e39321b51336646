"""Pictures whose hand is known to the pixel: what the hand finder learns from.

Hands come from two sources: drawn ones, and photographs of hands on black, where the
hand is what is not black. Both are laid over backgrounds taken from the training
photographs themselves (the class ``nothing``, and corners of the others) or drawn.
"""

import cv2
import numpy as np

from data_prep.draw_scene import draw_image, draw_with_mask
from data_prep.hand_poses import CLASSES
from training.augment import OTHER_ROOMS, random_affine, recolour, roughen

# what hand and background have in common, after each had its own light
DIM = OTHER_ROOMS.times(0.3)
BLACK = 28  # of 255; JPEG noise on black stays below
NOTHING = "nothing"
DRAWN_HANDS = 1000
PHOTOGRAPHED_HANDS = 4000  # at most
BACKGROUNDS = 800  # at most, of each kind


def is_on_black(image: np.ndarray) -> bool:
    """Say whether a photograph ``(S, S, 3)`` shows something on plain black."""
    dark = image.max(2) < BLACK
    edge = np.concatenate([dark[0], dark[-1], dark[:, 0], dark[:, -1]])
    return bool(dark.mean() > 0.2 and edge.mean() > 0.6)


def cut_out(image: np.ndarray) -> np.ndarray:
    """Find the hand on black: a mask ``(S, S)`` uint8 with a soft edge, 255 inside."""
    green = image[..., 1].astype(np.int16) > image[..., 0].astype(np.int16) + 40
    solid = ((image.max(2) > BLACK) & ~green).astype(np.uint8)  # green: a keyed screen
    solid = cv2.morphologyEx(solid, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    outlines, tree = cv2.findContours(solid, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not outlines:
        return np.zeros(image.shape[:2], np.uint8)
    mask = np.zeros_like(solid)
    cv2.drawContours(mask, [max(outlines, key=cv2.contourArea)], -1, 1, cv2.FILLED)
    # Dark spots inside belong to the hand, but not the gap that an O leaves.
    gaps = cv2.morphologyEx(mask - (mask & solid), cv2.MORPH_OPEN, np.ones((5, 5)))
    mask = cv2.erode(mask - (mask & gaps), np.ones((3, 3), np.uint8))
    return cv2.GaussianBlur(mask * 255, (0, 0), 0.8)


def collect_backgrounds(
    images: np.ndarray, labels: np.ndarray, classes: list[str], size: int, seed: int
) -> np.ndarray:
    """Gather pictures without a hand, ``(M, size, size, 3)`` uint8.

    Args:
        images: Training photographs, ``(N, S, S, 3)`` uint8 RGB.
        labels: ``(N,)`` int64.
        classes: Names of the labels.
    """
    rng = np.random.default_rng([seed, 4])
    found = [draw_image(NOTHING, rng, size) for _ in range(BACKGROUNDS // 8)]
    empty = labels == (classes.index(NOTHING) if NOTHING in classes else -1)
    for i in rng.permutation(np.flatnonzero(empty))[:BACKGROUNDS]:
        found.append(cv2.resize(images[i], (size, size), interpolation=cv2.INTER_AREA))
    side = int(0.29 * images.shape[1])
    for i in rng.permutation(np.flatnonzero(~empty))[:BACKGROUNDS]:
        if not is_on_black(images[i]):
            x = 0 if rng.random() < 0.5 else images.shape[2] - side
            corner = np.ascontiguousarray(images[i, :side, x : x + side])
            found.append(cv2.resize(corner, (size, size)))
    return np.stack(found)


def collect_hands(images: np.ndarray, size: int, seed: int) -> tuple:
    """Gather hands with their masks.

    Returns:
        Pictures ``(M, size, size, 3)`` and masks ``(M, size, size)``, uint8; and how
        many of them, from the first, are cut out of photographs.
    """
    pictures, masks = [], []
    rng = np.random.default_rng([seed, 5])
    on_black = [i for i, image in enumerate(images) if is_on_black(image)]
    for i in rng.permutation(on_black)[:PHOTOGRAPHED_HANDS]:
        picture = cv2.resize(images[i], (size, size), interpolation=cv2.INTER_AREA)
        pictures.append(picture)
        masks.append(cut_out(picture))
    photographed = len(pictures)
    letters = [name for name in CLASSES if name != NOTHING]
    for number in range(DRAWN_HANDS):
        picture, mask = draw_with_mask(letters[number % len(letters)], rng, size)
        pictures.append(picture)
        masks.append((255 * np.clip(mask, 0, 1)).astype(np.uint8))
    return np.stack(pictures), np.stack(masks), photographed


class Scenes:
    """Endless batches of pictures with masks, made from hands and backgrounds.

    Args:
        hands: As `collect_hands` returns them.
        backgrounds: As `collect_backgrounds` returns them, of the same size.
        noise: From `augment.noise_pool`, of the same size.
        seed: Batch ``b`` depends on ``(seed, b)`` alone.
    """

    def __init__(self, hands: tuple, backgrounds, noise, seed: int):
        self.pictures, self.masks, self.photographed = hands
        self.backgrounds, self.noise, self.seed = backgrounds, noise, seed

    def batch(self, number: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return ``(count, S, S, 3)`` pictures and ``(count, S, S)`` masks, uint8."""
        rng = np.random.default_rng([self.seed, 6, number])
        scenes = [self._scene(rng) for _ in range(count)]
        pictures, masks = zip(*scenes)
        return np.stack(pictures), np.stack(masks)

    def _scene(self, rng):
        size = self.pictures.shape[1]
        choice = rng.random()
        background = self._background(rng)
        if choice < 0.08:  # none at all
            return roughen(background, rng, self.noise), np.zeros((size, size), "uint8")
        if self.photographed and choice < 0.78:
            hand, drawn_whole = rng.integers(self.photographed), False
        else:
            hand = rng.integers(self.photographed, len(self.pictures))
            drawn_whole = rng.random() < 0.4  # on its own background
        where = random_affine(rng, size, 30, (0.4, 1.3), 0.2, 0.15, 0.12, 0.5)
        border = cv2.BORDER_REFLECT if drawn_whole else cv2.BORDER_CONSTANT
        mask = cv2.warpAffine(self.masks[hand], where, (size, size), borderMode=border)
        border = cv2.BORDER_REFLECT if drawn_whole else cv2.BORDER_REPLICATE
        picture = cv2.warpAffine(
            self.pictures[hand], where, (size, size), borderMode=border
        )
        picture = recolour(picture, rng, OTHER_ROOMS)
        if not drawn_whole:
            picture = blend(picture, mask, background)
        return roughen(recolour(picture, rng, DIM), rng, self.noise), mask

    def _background(self, rng):
        return vary_background(
            self.backgrounds[rng.integers(len(self.backgrounds))], rng
        )


def vary_background(background: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Turn, enlarge, mirror, recolour and at times blur a background."""
    size = len(background)
    where = random_affine(rng, size, 40, (0.8, 2.5), 0.3, 0.2, 0.2, 0.5)
    varied = cv2.warpAffine(
        background, where, (size, size), borderMode=cv2.BORDER_REFLECT
    )
    varied = recolour(varied, rng, OTHER_ROOMS)
    if rng.random() < 0.3:
        varied = cv2.GaussianBlur(varied, (0, 0), 0.5 + 3 * rng.random())
    return varied


def blend(picture: np.ndarray, mask: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Lay the masked part of a picture over a background."""
    share = mask.astype(np.float32) * (1 / 255)
    return cv2.blendLinear(picture, background, share, 1 - share)
