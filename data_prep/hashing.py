"""A perceptual hash: images that look alike differ in few of its 64 bits.

The 8 x 8 lowest frequencies (a DCT) of the image as 32 x 32 grey values, each compared
with their median. All arithmetic is on integers held in float64, so the bits are the
same on every machine.
"""

import math

import cv2
import numpy as np

SIDE = 32
BAND = 8
# Rows: the lowest cosines, as integers. 255 * 32 * 2^12 squared stays far below 2^53.
_BASIS = np.array(
    [
        [
            round(4096 * math.cos(math.pi * k * (2 * n + 1) / (2 * SIDE)))
            for n in range(SIDE)
        ]
        for k in range(BAND)
    ],
    np.float64,
)


def thumbnail(bgr: np.ndarray) -> np.ndarray:
    """Reduce a decoded ``(h, w, 3)`` uint8 image to ``(32, 32)`` uint8 grey.

    First by a whole factor, cutting off what does not divide: OpenCV does that several
    times faster than any other ratio, and of the 64 bits one in a hundred images
    changes more than two.
    """
    grey = cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)
    height, width = grey.shape
    factor = min(height, width) // (3 * SIDE)
    if factor > 1:
        h, w = height // factor, width // factor
        grey = grey[: h * factor, : w * factor]
        grey = cv2.resize(grey, (w, h), interpolation=cv2.INTER_AREA)
    return cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def perceptual_hashes(thumbnails: np.ndarray) -> np.ndarray:
    """Hash ``(N, 32, 32)`` uint8 thumbnails to ``(N,)`` uint64."""
    grey = np.asarray(thumbnails, np.float64)
    band = (_BASIS @ grey @ _BASIS.T).reshape(-1, BAND * BAND)
    bits = band > np.median(band, axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(">u8").astype(np.uint64).reshape(-1)


def miniatures(thumbnails: np.ndarray) -> np.ndarray:
    """Reduce ``(N, 32, 32)`` uint8 thumbnails to ``(N, 8, 8)`` uint8."""
    column = thumbnails.reshape(-1, SIDE)  # one tall image: a single call for all
    size = 8, len(column) * 8 // SIDE
    return cv2.resize(column, size, interpolation=cv2.INTER_AREA).reshape(-1, 8, 8)


def to_hex(phash: int) -> str:
    return f"{int(phash):016x}"
