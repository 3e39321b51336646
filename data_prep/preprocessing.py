"""From the bytes of a photograph to the pixels a model sees: the only such code here.

Preparation, training, export, the Triton server and the client rely on this one file.
Deployment copies it and image_file.py beside the server's decode model, so it imports
nothing else of ours and runs under both OpenCV 4.11 (server) and 5.0 (training), with
identical pixels.

The pixels, step by step (`Preprocessing.apply`):

1. decode a JPEG, PNG, WebP or BMP to 8 bits a channel: grey expanded to three
   channels, transparency composited on white, 16 bits reduced to 8 by dropping the
   lower 8; of an animated PNG its still picture, of an animated WebP the first one; a
   JPEG of more than 67 megapixels at half its width and height; then turned upright as
   its EXIF orientation says;
2. cut ``round(border_crop * side)`` pixels from each of the four sides (less where
   nothing would be left);
3. resize to ``image_size`` x ``image_size``, by pixel area where the image shrinks in
   both directions and bilinearly elsewhere. `resize_mode` says how a photograph that
   is not square gets there: "squash" changes its proportions; "letterbox" keeps them
   and repeats the last pixels along the shorter side;
4. channel order RGB.

Scaling to floats and normalisation (by `mean` and `std`, or by the light on the hand
itself) are part of the ONNX graph.
"""

import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path

if __package__:
    from data_prep.image_file import MAX_PIXELS, BrokenImage, examine
else:  # beside a model of the server
    from image_file import (  # type: ignore[no-redef]
        MAX_PIXELS,
        BrokenImage,
        examine,
    )

# Read by OpenCV when it decodes its first image.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MAX_PIXELS))

import cv2  # noqa: E402
import numpy as np  # noqa: E402

FILE_NAME = "preprocessing.json"
RESIZE_MODES = ("squash", "letterbox")


@dataclass(frozen=True)
class Preprocessing:
    """The record that travels with dataset, model and server as ``preprocessing.json``.

    Attributes:
        image_size: Side of the square result, pixels.
        border_crop: Share of each side cut off before resizing, 0 to below 0.5. The
            Kaggle ASL photographs have a blue line there that a network would learn.
        interpolation: "area": by area when shrinking, bilinear when enlarging.
        resize_mode: "squash" or "letterbox", see above. Records without it are older:
            they mean "squash".
        channel_order: Order of the last axis of the result.
        dtype: Of the result, and of the ONNX graph's input.
        mean: Per channel, of pixels scaled to 0..1; subtracted inside the graph.
        std: Per channel, of pixels scaled to 0..1; divided by inside the graph.
    """

    image_size: int = 128
    border_crop: float = 0.03
    interpolation: str = "area"
    resize_mode: str = "squash"
    channel_order: str = "RGB"
    dtype: str = "uint8"
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.25, 0.25, 0.25)

    def __post_init__(self):
        if not 8 <= self.image_size <= 1024:
            raise ValueError(
                f"image_size is {self.image_size}; it must lie in 8 to 1024 pixels"
            )
        if not 0 <= self.border_crop < 0.5:
            raise ValueError(
                f"border_crop is {self.border_crop}; it must be 0 to below 0.5"
            )
        for name, only in (
            ("interpolation", "area"),
            ("channel_order", "RGB"),
            ("dtype", "uint8"),
        ):
            if getattr(self, name) != only:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}; this version knows only "
                    f"{only!r}"
                )
        if self.resize_mode not in RESIZE_MODES:
            raise ValueError(
                f"resize_mode is {self.resize_mode!r}; choose "
                f"{' or '.join(RESIZE_MODES)}"
            )
        # JSON has lists only; equality and hashing want tuples.
        for name in ("mean", "std"):
            values = tuple(float(value) for value in getattr(self, name))
            if len(values) != 3:
                raise ValueError(f"{name} has {len(values)} values; it needs 3")
            object.__setattr__(self, name, values)

    @classmethod
    def from_json(cls, text: str) -> "Preprocessing":
        """Read a record; keys of newer versions are ignored, missing ones default."""
        known = {field.name for field in fields(cls)}
        return cls(**{k: v for k, v in json.loads(text).items() if k in known})

    @classmethod
    def load(cls, path: str | Path) -> "Preprocessing":
        return cls.from_json(Path(path).read_text(encoding="utf-8"))

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"

    def save(self, path: str | Path) -> None:
        Path(path).write_text(self.to_json(), encoding="utf-8")

    def apply(self, data: bytes) -> np.ndarray:
        """Turn one encoded image into ``(image_size, image_size, 3)`` uint8 RGB.

        Raises:
            BrokenImage: The bytes are empty, truncated, no image, or too large.
        """
        return self.crop_and_resize(decode(data))

    def crop_and_resize(self, bgr: np.ndarray) -> np.ndarray:
        """Crop and resize a decoded ``(h, w, 3)`` uint8 BGR image (steps 2 to 4)."""
        height, width = bgr.shape[:2]
        y, x, tall, wide = self._layout(height, width)
        bgr = bgr[y : height - y, x : width - x]
        size = self.image_size
        height, width = bgr.shape[:2]
        shrinks = height >= tall and width >= wide
        bgr = cv2.resize(
            bgr,
            (wide, tall),
            interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR,
        )
        top, left = (size - tall) // 2, (size - wide) // 2
        if (tall, wide) != (size, size):
            bgr = cv2.copyMakeBorder(
                bgr,
                top=top,
                bottom=size - tall - top,
                left=left,
                right=size - wide - left,
                borderType=cv2.BORDER_REPLICATE,
            )
        return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)

    def in_photograph(self, points: np.ndarray, height: int, width: int) -> np.ndarray:
        """Say where points of the result lie in the upright photograph it was made of.

        Args:
            points: ``(..., 2)`` or ``(..., 3)``: x, y and, if given, depth, in shares
                of the result's side.
            height, width: Of the photograph, pixels.

        Returns:
            Of the same shape, float64: x in shares of the photograph's width, y of its
            height, depth of its width.
        """
        y, x, tall, wide = self._layout(height, width)
        size = self.image_size
        left, top = (size - wide) // 2, (size - tall) // 2
        points = np.asarray(points, np.float64)
        share = (points[..., :2] * size - (left, top)) / (wide, tall)
        pixels = share * (width - 2 * x, height - 2 * y) + (x, y)
        depth = points[..., 2:] * size / wide * (width - 2 * x) / width
        return np.concatenate([pixels / (width, height), depth], -1)

    def _layout(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Rows and columns cut from each side; rows and columns of what is left, once
        resized."""
        y, x = (
            min(round(self.border_crop * side), (side - 1) // 2)
            for side in (height, width)
        )
        size = self.image_size
        if self.resize_mode == "squash":
            return y, x, size, size
        height, width = height - 2 * y, width - 2 * x
        longer = max(height, width)
        tall, wide = (
            max(1, (2 * side * size + longer) // (2 * longer))  # rounded
            for side in (height, width)
        )
        return y, x, tall, wide


def decode(data: bytes) -> np.ndarray:
    """Decode a JPEG, PNG, WebP or BMP to upright ``(h, w, 3)`` uint8 BGR.

    Raises:
        BrokenImage: The bytes are empty, truncated, no such image, or too large.
    """
    still = examine(data)
    # OpenCV versions differ in the formats whose orientation they apply: we do it.
    flag = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    if still.transparent:
        flag = cv2.IMREAD_UNCHANGED
    elif still.halved:
        flag = cv2.IMREAD_REDUCED_COLOR_2 | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(still.encoded, np.uint8), flag)
    except cv2.error:
        raise BrokenImage("it cannot be decoded") from None
    if image is None or image.size == 0:
        raise BrokenImage("it is damaged and cannot be decoded")
    if still.transparent:
        if image.ndim == 2:  # OpenCV takes a grey PNG with transparency as opaque
            image[image == still.transparent_grey] = np.iinfo(image.dtype).max
        image = _composite_on_white(image)
    height, width = still.height, still.width
    if still.halved:
        height, width = (height + 1) // 2, (width + 1) // 2
    if image.dtype != np.uint8 or image.shape != (height, width, 3):
        raise BrokenImage("its pixels are not those that its header claims")
    return _upright(image, still.orientation)


def _upright(image: np.ndarray, turned: int) -> np.ndarray:
    """Undo an EXIF orientation."""
    if turned in (5, 6, 7, 8):  # rows are columns
        image = cv2.transpose(image)
    if turned in (2, 3, 6, 7):  # mirrored left to right (after the transposition)
        image = cv2.flip(image, 1)
    if turned in (3, 4, 7, 8):  # upside down
        image = cv2.flip(image, 0)
    return image


def _composite_on_white(image: np.ndarray) -> np.ndarray:
    """Blend a decoded image of 1, 2, 3 or 4 channels, 8 or 16 bits, over white."""
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    if image.ndim == 2:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    if image.shape[2] < 4:
        return image
    opaque = np.empty((*image.shape[:2], 3), np.uint8)
    step = max(1, (1 << 20) // image.shape[1])  # rows; sums take five times the memory
    for top in range(0, len(image), step):
        band = image[top : top + step]
        # 255 - (255 - c) * a / 255, rounded, in integers: the same everywhere
        alpha = band[:, :, 3:].astype(np.uint16)
        inverse = (255 - band[:, :, :3]).astype(np.uint16)
        opaque[top : top + step] = 255 - (inverse * alpha + 127) // 255
    return opaque
