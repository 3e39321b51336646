"""Pictures whose hand is known to the pixel: what the hand finder learns from.

Hands come from two sources: drawn ones, and photographs of hands on black, where the
hand is what is not black; they end at the wrist, where an arm is added, since the
finder shall tell hands from arms. Both are laid over backgrounds taken from the
training photographs themselves (the class ``nothing``, and corners of the others) or
drawn, with further pieces of these in front.
"""

import functools

import cv2
import numpy as np
import torch

from data_prep.drawing.hand_poses import CLASSES, NOTHING
from data_prep.drawing.scene import draw_image, draw_with_masks
from training.augment import OTHER_ROOMS, random_affine, recolour, roughen

# what hand and background have in common, after each had its own light
DIM = OTHER_ROOMS.times(0.3)
BLACK = 28  # of 255; JPEG noise on black stays below
DRAWN_HANDS = 1000
ARM = 80  # pixels of forearm below a wrist, and margin around such a hand
FOREARMS, SLEEVES = 0.75, 0.3  # share of the wrists with an arm, of arms in sleeves
PHOTOGRAPHED_HANDS = 4000  # at most
BACKGROUNDS = 800  # at most, of each kind
CORNER = 0.29  # of a photograph's side, where a hand is rarely


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
    found += [draw_pattern(rng, size) for _ in range(BACKGROUNDS // 4)]
    empty = labels == (classes.index(NOTHING) if NOTHING in classes else -1)
    for i in rng.permutation(np.flatnonzero(empty))[:BACKGROUNDS]:
        found.append(cv2.resize(images[i], (size, size), interpolation=cv2.INTER_AREA))
    side = int(CORNER * images.shape[1])
    for i in rng.permutation(np.flatnonzero(~empty))[:BACKGROUNDS]:
        if not is_on_black(images[i]):
            x = 0 if rng.random() < 0.5 else images.shape[2] - side
            corner = np.ascontiguousarray(images[i, :side, x : x + side])
            if rng.random() < 0.5:  # as fine as it is, mirrored again and again
                small = int(CORNER * size)
                corner = cv2.resize(
                    corner, (small, small), interpolation=cv2.INTER_AREA
                )
                around = [(size - small + 1) // 2] * 4
                corner = cv2.copyMakeBorder(corner, *around, cv2.BORDER_REFLECT_101)
                corner = corner[:size, :size]
            found.append(cv2.resize(corner, (size, size)))
    return np.stack(found)


def draw_pattern(rng: np.random.Generator, size: int) -> np.ndarray:
    """Draw blinds, boards, keys, a checked shirt: ``(size, size, 3)`` uint8."""
    colours = rng.uniform(10, 245, (2, 1)) + rng.normal(0, 25, (2, 3))
    along = np.arange(2 * size)
    width, height = rng.uniform(3, 24, 2)
    stripes = along % width < width * rng.uniform(0.15, 0.85)
    which = np.repeat(stripes[None], 2 * size, 0)
    if rng.random() < 0.5:
        which = which ^ (along[:, None] % height < height * rng.uniform(0.15, 0.85))
    pattern = colours[which.astype(int)] + rng.normal(0, 10, (*which.shape, 1))
    pattern = pattern.clip(0, 255).astype(np.uint8)
    turn = cv2.getRotationMatrix2D((size, size), rng.uniform(0, 180), 1)
    pattern = cv2.warpAffine(pattern, turn, which.shape, borderMode=cv2.BORDER_REFLECT)
    start = size // 2
    pattern = pattern[start : start + size, start : start + size]
    return cv2.GaussianBlur(pattern, (0, 0), rng.uniform(0.4, 1.2))


def collect_hands(images: np.ndarray, size: int, seed: int) -> tuple:
    """Gather hands with their masks.

    Returns:
        Pictures ``(M, size, size, 3)``; what of them is laid over backgrounds, and the
        hand in it without its forearm, ``(M, size, size)``, all uint8; and the wrists
        (`find_wrist`) of those cut out of photographs, the first ones.
    """
    pictures, covers, hands, wrists = [], [], [], []
    rng = np.random.default_rng([seed, 5])
    on_black = [i for i, image in enumerate(images) if is_on_black(image)]
    for i in rng.permutation(on_black)[:PHOTOGRAPHED_HANDS]:
        picture = cv2.resize(images[i], (size, size), interpolation=cv2.INTER_AREA)
        mask = cut_out(picture)
        pictures.append(picture)
        covers.append(mask)
        hands.append(mask)
        wrists.append(find_wrist(mask))
    letters = [name for name in CLASSES if name != NOTHING]
    for number in range(DRAWN_HANDS):
        drawn = draw_with_masks(letters[number % len(letters)], rng, size)
        pictures.append(drawn[0])
        for masks, mask in zip((covers, hands), drawn[1:]):
            masks.append((255 * mask).astype(np.uint8))
    return np.stack(pictures), np.stack(covers), np.stack(hands), wrists


def find_wrist(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    """Find where a hand was cut off: below, or else on the right or on the left.

    Args:
        mask: ``(S, S)`` uint8.

    Returns:
        How many quarter turns (``np.rot90``) bring the wrist to the lower edge; then
        its row, and its first and last column, in the picture so turned. None where
        nothing as wide as a wrist lies near one of these edges.
    """
    size = len(mask)
    for turns in (0, 3, 1):
        turned = np.rot90(mask, turns)
        for row in range(size - 1, int(0.9 * size), -1):
            inside = np.flatnonzero(turned[row] > 127)
            runs = np.split(inside, np.flatnonzero(np.diff(inside) > 1) + 1)
            run = max(runs, key=len)
            if len(run) > 0.2 * size:
                return turns, row, int(run[0]), int(run[-1])
    return None


def add_forearm(
    picture: np.ndarray,
    mask: np.ndarray,
    wrist: tuple[int, int, int, int],
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Prolong a hand that was cut off at the wrist, so that there is an arm to leave
    out: as wide as the wrist there, of its colours, or in a sleeve.

    Args:
        picture: ``(S, S, 3)`` uint8.
        mask: ``(S, S)`` uint8.
        wrist: From `find_wrist`.

    Returns:
        Picture and mask with a margin of ARM pixels on all sides.
    """
    turns, row, left, right = wrist
    margin = ((ARM, ARM), (ARM, ARM))
    picture = np.pad(np.rot90(picture, turns), (*margin, (0, 0)))
    mask = np.pad(np.rot90(mask, turns), margin)
    # the first row of the arm, and its ends
    low, left, right = row + 1 + ARM, left + ARM, right + ARM
    # the wrist's last rows, mixed, for as long as the arm is
    skin = picture[low - 4 : low, left : right + 1].mean(0, keepdims=True)
    arm = np.repeat(skin, ARM, 0)
    blots = rng.normal(1, 0.12, (6, 3)).astype(np.float32)
    arm *= cv2.resize(blots, arm.shape[1::-1], interpolation=cv2.INTER_CUBIC)[..., None]
    if rng.random() < SLEEVES:
        start = int(ARM * rng.uniform(0.05, 0.6))
        arm[start:] = 0.3 * arm[start:] + 0.7 * rng.uniform(10, 245, 3)
    lean = ARM * np.tan(np.radians(rng.normal(0, 12)))
    wider = (right - left) * rng.uniform(-0.05, 0.2)
    ends = np.float32(
        [
            [left, low - 1],
            [right, low - 1],
            [right + lean + wider, low + ARM],
            [left + lean - wider, low + ARM],
        ]
    )
    height, width = arm.shape[:2]
    corners = np.float32(
        [[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]]
    )
    where = cv2.getPerspectiveTransform(corners, ends)
    size = mask.shape[::-1]
    drawn = cv2.warpPerspective(arm.clip(0, 255).astype(np.uint8), where, size)
    inside = cv2.warpPerspective(np.full((height, width), 255, "uint8"), where, size)
    picture[low:], mask[low:] = drawn[low:], inside[low:]
    upright = picture, mask
    return tuple(np.ascontiguousarray(np.rot90(part, -turns)) for part in upright)


class Scenes:
    """Endless batches of pictures with masks, made from hands and backgrounds.

    Args:
        hands: As `collect_hands` returns them.
        backgrounds: As `collect_backgrounds` returns them, of the same size.
        noise: From `augment.noise_pool`, of the same size.
        seed: Batch ``b`` depends on ``(seed, b)`` alone.
    """

    def __init__(self, hands: tuple, backgrounds, noise, seed: int):
        self.pictures, self.covers, self.hands, self.wrists = hands
        self.backgrounds, self.noise, self.seed = backgrounds, noise, seed

    def batch(self, number: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ``(count, S, S, 3)`` pictures and ``(count, S, S)`` masks, uint8."""
        rng = np.random.default_rng([self.seed, 6, number])
        scenes = [self._scene(rng) for _ in range(count)]
        pictures, masks = zip(*scenes)
        return torch.from_numpy(np.stack(pictures)), torch.from_numpy(np.stack(masks))

    def _scene(self, rng):
        size = self.pictures.shape[1]
        choice = rng.random()
        background = empty_room(self.backgrounds, rng)
        if choice < 0.08:  # none at all
            return roughen(background, rng, self.noise), np.zeros((size, size), "uint8")
        photographed, wrist = len(self.wrists), None
        if photographed and choice < 0.78:
            number, drawn_whole = rng.integers(photographed), False
            if rng.random() < FOREARMS:
                wrist = self.wrists[number]
        else:
            number = rng.integers(photographed, len(self.pictures))
            drawn_whole = rng.random() < 0.4  # on its own background
        where = random_affine(rng, size, 30, (0.4, 1.3), 0.2, 0.15, 0.12, 0.5)
        warp = functools.partial(cv2.warpAffine, M=where, dsize=(size, size))
        around = cv2.BORDER_REFLECT if drawn_whole else cv2.BORDER_CONSTANT
        mask = warp(self.hands[number], borderMode=around)
        picture, cover = self.pictures[number], self.covers[number]
        if wrist is not None:
            picture, cover = add_forearm(picture, cover, wrist, rng)
            where[:, 2] -= where[:, :2].sum(1) * ARM
        around = cv2.BORDER_REFLECT if drawn_whole else cv2.BORDER_REPLICATE
        picture = recolour(warp(picture, borderMode=around), rng, OTHER_ROOMS)
        if not drawn_whole:
            picture = blend(picture, warp(cover), background)
        return roughen(recolour(picture, rng, DIM), rng, self.noise), mask


def empty_room(backgrounds: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Make a picture without a hand: a wall, and up to three things in front of it.

    Args:
        backgrounds: As `collect_backgrounds` returns them.
    """
    scene = vary_background(_any(backgrounds, rng), rng)
    size = len(scene)
    for _ in range(rng.integers(4)):
        shape = np.zeros((size, size), np.uint8)
        box = rng.uniform(0, size, 2), rng.uniform(0.1, 0.8, 2) * size
        box = (*box, rng.uniform(0, 180))
        if rng.random() < 0.3:
            cv2.ellipse(shape, box, 255, cv2.FILLED)
        else:
            corners = cv2.boxPoints(box).astype(np.int32)
            cv2.fillConvexPoly(shape, corners, 255)
        cv2.copyTo(recolour(_any(backgrounds, rng), rng, OTHER_ROOMS), shape, scene)
    return scene


def _any(pictures, rng):
    return pictures[rng.integers(len(pictures))]


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
