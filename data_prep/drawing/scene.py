"""One drawn photograph: a background, a posed hand under a light, a camera's faults."""

import math
from functools import lru_cache

import cv2
import numpy as np

from data_prep.drawing.hand_model import Relief, pose_hand, render
from data_prep.drawing.hand_poses import NOTHING, POSES

# Skin from very light to very dark, RGB; drawings mix two neighbours.
_SKIN = np.array(
    [
        [247, 214, 190],
        [236, 190, 160],
        [222, 168, 132],
        [196, 138, 101],
        [160, 106, 74],
        [120, 76, 52],
        [82, 52, 38],
    ],
    np.float32,
)


def draw_image(letter: str, rng: np.random.Generator, size: int) -> np.ndarray:
    """Draw one of the 29 classes: ``(size, size, 3)`` uint8 RGB.

    Proportions, view, skin, light, background and noise come from `rng`.
    """
    picture = _background(rng, size)
    if letter != NOTHING:
        hand = pose_hand(POSES[letter], rng)
        left, bottom, right, top = hand.bounds()
        extent = max(right - left, top - bottom)
        # Mostly a true scale, so that a fist is smaller than a stretched hand.
        scale = size * rng.uniform(0.55, 0.78) / (0.45 * 190 + 0.55 * extent)
        drift = 0.09 * size
        x = size / 2 - scale * (left + right) / 2 + rng.uniform(-drift, drift)
        y = size / 2 + scale * (bottom + top) / 2 + rng.uniform(-drift, drift)
        _lit(picture, render(hand, size, scale, (x, y)), rng, scale)
    return _camera(picture, rng)


def _background(rng, size):
    """A wall with a gradient, texture and soft shapes: float32 ``(3, size, size)``."""
    half = (size + 1) // 2
    base = rng.uniform(40, 235) + rng.normal(0, 14, 3)
    corners = base + rng.normal(0, 22, (2, 2, 1)) + rng.normal(0, 6, (2, 2, 3))
    wall = cv2.resize(corners.astype(np.float32), (half, half))
    cells = int(rng.integers(3, 9))
    blots = rng.normal(0, 1, (cells, cells, 1)) + rng.normal(0, 0.3, (cells, cells, 3))
    blots = (blots * rng.uniform(2, 14)).astype(np.float32)
    wall += cv2.resize(blots, (half, half), interpolation=cv2.INTER_CUBIC)
    for _ in range(int(rng.integers(1, 8))):
        _shape(wall, rng, half)
    wall = cv2.GaussianBlur(wall, (0, 0), rng.uniform(0.8, 2.2))
    if rng.random() < 0.4:  # weave, planks or plaster
        grain = rng.standard_normal((half, half), np.float32)
        reach = [(1, 1), (9, 1), (1, 9), (3, 3)][int(rng.integers(4))]
        strength = rng.uniform(2, 9) * math.sqrt(reach[0] * reach[1])
        grain = cv2.blur(grain, reach) * strength
        wall += cv2.merge([grain, grain, grain])
    planes = np.empty((3, size, size), np.float32)
    for plane, half_plane in zip(planes, cv2.split(wall)):
        cv2.resize(half_plane, (size, size), dst=plane)
    return planes


def _shape(wall, rng, side):
    """Put one piece of furniture, window or clutter on the wall."""
    colour = (rng.uniform(20, 245) + rng.normal(0, 18, 3)).tolist()
    x, y = (int(v) for v in rng.uniform(0, side, 2))
    a, b = (int(v) for v in rng.uniform(0.06, 0.6, 2) * side)
    kind = rng.integers(4)
    if kind == 0:
        box = cv2.boxPoints(((x, y), (a, b), rng.normal(0, 12)))
        cv2.fillConvexPoly(wall, box.astype(np.int32), colour)
    elif kind == 1:
        cv2.ellipse(
            wall, (x, y), (a // 2, b // 2), rng.uniform(0, 180), 0, 360, colour, -1
        )
    elif kind == 2:
        angle = rng.uniform(0, np.pi)
        dx, dy = 2 * side * np.cos(angle), 2 * side * np.sin(angle)
        ends = (int(x - dx), int(y - dy)), (int(x + dx), int(y + dy))
        cv2.line(wall, *ends, colour, int(rng.integers(1, 8)))
    elif rng.random() < 0.5:
        wall[y:] = 0.4 * wall[y:] + 0.6 * np.float32(colour)
    else:
        wall[:, x:] = 0.4 * wall[:, x:] + 0.6 * np.float32(colour)


def _lit(picture, relief: Relief, rng, scale):
    """Shade the hand and lay it over the picture, ``(3, size, size)``, in place."""
    if rng.random() < 0.5:  # the hand's shadow on the wall
        picture *= 1 - _shadow(relief.mask, rng)
    solid = relief.mask.astype(np.uint8)
    left, top, width, height = cv2.boundingRect(solid)
    box = np.s_[top : top + height, left : left + width]
    picture, mask, depth = picture[:, *box], relief.mask[box], relief.depth[box]

    lowest = cv2.minMaxLoc(depth, solid[box])[0]
    depth = np.maximum(depth, lowest - 25 * scale)  # the wall, behind all of the hand
    gx = cv2.Sobel(depth, cv2.CV_32F, 1, 0, ksize=3, scale=0.125)
    gy = cv2.Sobel(depth, cv2.CV_32F, 0, 1, ksize=3, scale=0.125)
    angle, slant = rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 0.9)
    lx, ly = slant * math.cos(angle), slant * math.sin(angle)
    norm = 1 / np.sqrt(1 + gx * gx + gy * gy)
    facing = np.maximum((math.sqrt(1 - slant * slant) - gx * lx - gy * ly) * norm, 0)

    # Where the surroundings stand nearer to the viewer, less light comes in: this
    # draws the furrows between fingers and around a thumb.
    furrow = np.zeros_like(depth)
    for reach in (5 * scale, 13 * scale):
        side = 2 * round(reach) + 1
        nearer = (cv2.blur(depth, (side, side)) - depth) * (1 / reach)
        furrow += np.minimum(np.maximum(nearer, 0), 1)
    depth_of_furrows, soft = rng.uniform(0.2, 0.6), rng.uniform(0.4, 0.85)
    shade = 1 - depth_of_furrows * np.minimum(furrow, 1)
    shade *= soft + (1 - soft) * np.sqrt(norm)
    shade *= relief.albedo[box]

    darkness = rng.uniform(0, len(_SKIN) - 1.001)
    step, share = int(darkness), darkness % 1
    skin = (1 - share) * _SKIN[step] + share * _SKIN[step + 1]
    skin *= 1 + rng.normal(0, 0.02, 3)
    ambient = skin * (rng.uniform(0.3, 0.6) * (1 + rng.normal(0, 0.03, 3)))
    lamp = skin * (rng.uniform(0.35, 0.9) * (1 + rng.normal(0, 0.03, 3)))
    surface = shade * facing * _planes(lamp) + shade * _planes(ambient)
    cover = cv2.GaussianBlur(mask, (3, 3), 0.7)
    picture += cover * (surface - picture)


def _shadow(mask, rng):
    """Share of the light that the hand takes from the wall: ``(size, size)``."""
    size = mask.shape[0]
    move = np.float32([[1, 0, rng.normal(0, 0.06)], [0, 1, rng.uniform(0, 0.09)]])
    move[:, 2] *= size
    side = 2 * round(size * rng.uniform(0.015, 0.05)) + 1
    shadow = cv2.blur(cv2.warpAffine(mask, move, (size, size)), (side, side))
    return shadow * rng.uniform(0.1, 0.45)


def _planes(colour):
    """Shape three numbers to multiply ``(size, size)`` into three planes."""
    return np.asarray(colour, np.float32).reshape(3, 1, 1)


def _camera(planes, rng):
    """Exposure, blur and sensor noise: uint8 ``(size, size, 3)``."""
    size = planes.shape[1]
    planes *= _planes(rng.uniform(0.8, 1.15) * (1 + rng.normal(0, 0.02, 3)))
    planes = np.minimum(np.maximum(planes, 0, out=planes), 255, out=planes)
    picture = cv2.merge(list(planes.astype(np.uint8)))
    picture = cv2.GaussianBlur(picture, (5, 5), rng.uniform(0.3, 1.1))
    tile = _noise_tile(size)
    x, y = rng.integers(0, size // 2, 2)
    noise = tile[y : y + size, x : x + size] * np.float32(rng.uniform(1, 6))
    return cv2.add(picture, noise, dtype=cv2.CV_8U)


@lru_cache(maxsize=1)
def _noise_tile(size):
    """Noise to cut pieces from: making it anew for each image would take longest."""
    rng = np.random.default_rng(0)
    side = size + size // 2
    noise = rng.standard_normal((side, side, 3), np.float32)
    return 2 * cv2.GaussianBlur(noise, (0, 0), 0.6)
