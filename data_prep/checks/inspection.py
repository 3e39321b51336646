"""Look at every raw image once: decode it, hash it, note what is unusual about it."""

import hashlib
import os
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Callable, Iterator, Sequence

import cv2
import numpy as np

from data_prep.errors import InputError
from data_prep.hashing import SIDE, perceptual_hashes, thumbnail
from data_prep.headers import damage, suffix_lies, traits
from data_prep.image_file import BrokenImage, TooLarge, container
from data_prep.parallel import run_chunks
from data_prep.preprocessing import decode
from data_prep.sources import RawImage

RING = 2  # pixels: how thick an edge line is looked for
DEPTH = 0.05  # share of the side: where the picture proper is taken to begin


@dataclass(frozen=True, slots=True)
class Inspected:
    """What validation knows about one image.

    Attributes:
        sha256: Of the file's bytes.
        broken: Why it cannot be decoded in full; "" if it can. Then nothing follows
            but `too_large`, if that is why.
        complaint: The damage that the decoder had to overlook; "" if there is none.
        kind: The container by its content: jpeg, png, webp, bmp.
        suffix_lies: The suffix says another kind.
        traits: See headers.traits.
        width, height: Pixels, upright.
        edges: BGR means along the four edges, then along lines a little further inside:
            8 x 3 uint8, see `edge_colours`.
        brightness, contrast: Mean and standard deviation of grey, 0 to 255.
        phash: Perceptual hash.
    """

    sha256: str
    broken: str
    complaint: str = ""
    kind: str = ""
    suffix_lies: bool = False
    traits: tuple[str, ...] = ()
    width: int = 0
    height: int = 0
    edges: bytes = b""
    brightness: float = 0.0
    contrast: float = 0.0
    phash: int = 0
    too_large: bool = False


Seen = Sequence[tuple[RawImage, Inspected]]


def inspect(images: Sequence[RawImage], workers: int) -> list[Inspected]:
    """Inspect all images, in their order."""
    found = []
    for chunk in run_chunks(inspect_chunk, images, workers, "validate"):
        found += chunk
    return found


def inspect_chunk(first: int, images: Sequence[RawImage]) -> list[Inspected]:
    thumbnails = np.zeros((len(images), SIDE, SIDE), np.uint8)
    with decoder_complaints() as complaints:
        found = [_look(*pair, complaints) for pair in zip(images, thumbnails)]
    hashes = perceptual_hashes(thumbnails).tolist()
    means = thumbnails.mean((1, 2)).tolist()
    deviations = thumbnails.std((1, 2)).tolist()
    return [
        (
            one
            if one.broken
            else replace(one, brightness=mean, contrast=deviation, phash=phash)
        )
        for one, mean, deviation, phash in zip(found, means, deviations, hashes)
    ]


def _look(image: RawImage, small: np.ndarray, complaints: Callable) -> Inspected:
    """Inspect one image and leave its thumbnail in ``small``."""
    try:
        data = image.read()
    except InputError as error:
        if image.member is not None:  # the archive: that concerns all in it
            raise
        # of its name, since its bytes are like no other's for all we know
        return Inspected(hashlib.sha256(image.path.encode()).hexdigest(), str(error))
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        bgr = decode(data)
    except BrokenImage as error:
        complaints()
        too_large = isinstance(error, TooLarge)
        return Inspected(sha256, str(error), too_large=too_large)
    complaint = complaints()
    if "premature end" in complaint:
        return Inspected(sha256, "its pixels end early: the rest would be grey")
    small[:] = thumbnail(bgr)
    height, width = bgr.shape[:2]
    return Inspected(
        sha256,
        "",
        complaint or damage(data),
        container(data),
        suffix_lies(image.path, data),
        traits(data),
        width,
        height,
        edge_colours(bgr),
    )


@contextmanager
def decoder_complaints() -> Iterator[Callable[[], str]]:
    """Listen to standard error: the one place where libjpeg tells of damaged data.

    Yields:
        A function that returns what was written since it was last called.
    """
    with tempfile.TemporaryFile() as file:

        def complaints() -> str:
            if not os.fstat(file.fileno()).st_size:
                return ""
            text = os.pread(file.fileno(), 4096, 0).decode(errors="replace").strip()
            os.ftruncate(file.fileno(), 0)
            os.lseek(file.fileno(), 0, os.SEEK_SET)
            return text

        sys.stderr.flush()
        usual = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield complaints
        finally:
            os.dup2(usual, 2)
            os.close(usual)


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
