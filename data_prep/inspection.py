"""Look at every raw image once: decode it, hash it, note what is unusual about it."""

import hashlib
import os
from dataclasses import dataclass
from typing import Sequence

import cv2
import numpy as np

from data_prep import headers
from data_prep.hashing import SIDE, perceptual_hashes, thumbnail
from data_prep.parallel import run_chunks
from data_prep.preprocessing import BrokenImage, decode
from data_prep.sources import RawImage

RING = 2  # pixels: how thick an edge line is looked for
DEPTH = 0.05  # share of the side: where the picture proper is taken to begin


@dataclass(frozen=True, slots=True)
class Inspected:
    """What validation knows about one image.

    Attributes:
        sha256: Of the file's bytes.
        broken: Why it cannot be decoded; "" if it can. Then the rest is not known.
        kind: The container by its content (headers.sniff).
        suffix_lies: The content is of another kind than the suffix says.
        traits: See headers.traits.
        width, height: Pixels, after EXIF rotation.
        brightness, contrast: Mean and standard deviation of grey, 0 to 255.
        phash: Perceptual hash.
        edges: BGR means just inside the four edges (left, right, top, bottom), then at
            5 % depth: 8 x 3 numbers, 0 to 255.
    """

    sha256: str
    broken: str
    kind: str
    suffix_lies: bool
    traits: tuple[str, ...]
    width: int = 0
    height: int = 0
    brightness: float = 0.0
    contrast: float = 0.0
    phash: int = 0
    edges: bytes = b""


def inspect(images: Sequence[RawImage], workers: int) -> list[Inspected]:
    """Inspect all images, in their order."""
    found = []
    for chunk in run_chunks(inspect_chunk, images, workers, "validate"):
        found += chunk
    return found


def inspect_chunk(first: int, images: Sequence[RawImage]) -> list[Inspected]:
    thumbnails = np.zeros((len(images), SIDE, SIDE), np.uint8)
    results = []
    for image, small in zip(images, thumbnails):
        data = image.read()
        kind = headers.sniff(data)
        suffix = os.path.splitext(image.path)[1].lower()
        common = (
            hashlib.sha256(data).hexdigest(),
            "",
            kind,
            bool(kind) and suffix not in headers.SUFFIXES.get(kind, ()),
            headers.traits(data),
        )
        try:
            bgr = decode(data)
        except BrokenImage as error:
            results.append((common[0], str(error), *common[2:]))
            continue
        small[:] = thumbnail(bgr)
        height, width = bgr.shape[:2]
        results.append((*common, width, height, edge_colours(bgr)))
    hashes = perceptual_hashes(thumbnails).tolist()
    means = thumbnails.mean((1, 2)).tolist()
    stds = thumbnails.std((1, 2)).tolist()
    return [
        (
            Inspected(*result)
            if result[1]
            else Inspected(*result[:7], mean, std, phash, result[7])
        )
        for result, mean, std, phash in zip(results, means, stds, hashes)
    ]


def edge_colours(bgr: np.ndarray) -> bytes:
    """Mean colours along the four edges, and along four lines a little further inside.

    Returns:
        24 uint8: BGR of left, right, top, bottom edge, then of the inner lines.
    """
    height, width = bgr.shape[:2]
    colours = []
    for y, x in ((0, 0), (round(DEPTH * height) + RING, round(DEPTH * width) + RING)):
        # the corners belong to two edges: leave them out
        rows = slice(height // 10, max(height // 10 + 1, height - height // 10))
        columns = slice(width // 10, max(width // 10 + 1, width - width // 10))
        for strip in (
            bgr[rows, x : x + RING],
            bgr[rows, max(0, width - x - RING) : width - x],
            bgr[y : y + RING, columns],
            bgr[max(0, height - y - RING) : height - y, columns],
        ):
            colours += cv2.mean(strip)[:3] if strip.size else (0, 0, 0)
    return np.round(colours).astype(np.uint8).tobytes()
