"""From the bytes of a photograph to the pixels a model sees: the only such code here.

Preparation, training, export, the Triton server and the client rely on this one file.
Deployment copies it beside the server's decode model, so it imports nothing of ours
and runs under both OpenCV 4.11 (server) and 5.0 (training), with identical pixels.

The pixels, step by step (`Preprocessing.apply`):

1. decode a JPEG, PNG, WebP or BMP to 8 bits a channel: grey expanded to three
   channels, transparency composited on white, 16 bits reduced to 8 by dropping the
   lower 8, of an animation the first picture; then turned upright as its EXIF
   orientation says;
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

# Read by OpenCV when it decodes its first image. A 100 kB PNG can claim gigapixels;
# no camera makes more than this.
MAX_PIXELS = 1 << 27
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MAX_PIXELS))

import cv2  # noqa: E402
import numpy as np  # noqa: E402

FILE_NAME = "preprocessing.json"
RESIZE_MODES = ("squash", "letterbox")


class BrokenImage(ValueError):
    """These bytes are not a complete image that can be decoded; the text says why."""


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
        return self.fit(decode(data))

    def fit(self, bgr: np.ndarray) -> np.ndarray:
        """Crop and resize a decoded ``(h, w, 3)`` uint8 BGR image (steps 2 to 4)."""
        height, width = bgr.shape[:2]
        y, x = (
            min(round(self.border_crop * side), (side - 1) // 2)
            for side in (height, width)
        )
        bgr = bgr[y : height - y, x : width - x]
        size = self.image_size
        height, width = bgr.shape[:2]
        tall = wide = size
        if self.resize_mode == "letterbox":
            longer = max(height, width)
            tall, wide = (
                max(1, (2 * side * size + longer) // (2 * longer))  # rounded
                for side in (height, width)
            )
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


def decode(data: bytes) -> np.ndarray:
    """Decode a JPEG, PNG, WebP or BMP to upright ``(h, w, 3)`` uint8 BGR.

    Raises:
        BrokenImage: The bytes are empty, truncated, no such image, or too large.
    """
    if not data:
        raise BrokenImage("the file is empty (0 bytes)")
    if not container(data):
        raise BrokenImage("it is no JPEG, PNG, WebP or BMP image")
    check_complete(data)
    # OpenCV versions differ in the formats whose orientation they apply: we do it.
    flag = (
        cv2.IMREAD_UNCHANGED
        if has_alpha(data)
        else cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    )
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    except cv2.error as error:
        if "CV_IO_MAX_IMAGE_PIXELS" in str(error):
            raise BrokenImage(f"it has more than {MAX_PIXELS} pixels") from None
        raise BrokenImage("it cannot be decoded") from None
    if image is None or image.size == 0:
        raise BrokenImage("it is damaged and cannot be decoded")
    if flag == cv2.IMREAD_UNCHANGED:
        if image.ndim == 2:  # OpenCV takes a grey PNG with transparency as opaque
            white = np.iinfo(image.dtype).max
            image[image == _transparent_grey(data)] = white
        image = _composite_on_white(image)
    return _upright(image, orientation(data))


def container(data: bytes) -> str:
    """Name the kind of image by its first bytes: jpeg, png, webp, bmp; "" if none."""
    if data[:3] == b"\xff\xd8\xff":
        return "jpeg"
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "png"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[:2] == b"BM":
        return "bmp"
    return ""


def check_complete(data: bytes) -> None:
    """Refuse files that end early: OpenCV fills their missing part with grey.

    Raises:
        BrokenImage: The format's own end mark or length says that bytes are missing.
    """
    kind = container(data)
    if kind == "jpeg":  # a scan must be followed by end-of-image
        # (phones append a film, with any bytes in it)
        if data.find(b"\xff\xd9", _first_scan(data)) < 0:
            raise BrokenImage("the JPEG is truncated (no end mark)")
    elif kind == "png":
        if data.rfind(b"IEND") < 0:
            raise BrokenImage("the PNG is truncated (no IEND chunk)")
    elif kind == "webp":
        if int.from_bytes(data[4:8], "little") + 8 > len(data):
            raise BrokenImage("the WebP is truncated (shorter than its header says)")
    elif kind == "bmp":
        if int.from_bytes(data[2:6], "little") > len(data):
            raise BrokenImage("the BMP is truncated (shorter than its header says)")


def _first_scan(data: bytes) -> int:
    """Where the pixels of a JPEG begin, behind a thumbnail with marks of its own."""
    at = 2
    while data[at : at + 1] == b"\xff" and data[at + 1 : at + 2] != b"\xda":
        if data[at + 1 : at + 2] == b"\xff":  # filling
            at += 1
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return at


def has_alpha(data: bytes) -> bool:
    """Say from the header alone whether a PNG or WebP carries transparency."""
    kind = container(data)
    if kind == "png":
        return (
            data[25:26] in (b"\x04", b"\x06") or b"tRNS" in data[: data.find(b"IDAT")]
        )
    at = {b"VP8X": 20, b"VP8L": 24}.get(data[12:16])
    return kind == "webp" and at is not None and _bit(data, at, 0x10)


def _transparent_grey(data: bytes) -> int:
    """The one transparent value of a grey PNG, on the scale of its decoded pixels."""
    at = data.find(b"tRNS") + 4
    value, bits = int.from_bytes(data[at : at + 2], "big"), data[24]
    return value if bits >= 8 else value * 255 // (2**bits - 1)


def orientation(data: bytes) -> int:
    """The EXIF orientation of a JPEG, PNG or WebP: 1 (upright, or none given) to 8."""
    exif = _exif(data)
    order = {b"II": "little", b"MM": "big"}.get(exif[:2])
    if order is None:
        return 1
    start = int.from_bytes(exif[4:8], order)
    count = int.from_bytes(exif[start : start + 2], order)
    for at in range(start + 2, min(start + 2 + 12 * count, len(exif)), 12):
        if int.from_bytes(exif[at : at + 2], order) == 0x0112:
            value = int.from_bytes(exif[at + 8 : at + 10], order)
            return value if 1 <= value <= 8 else 1
    return 1


def _exif(data: bytes) -> bytes:
    """The EXIF block (a small TIFF structure) of an image, b"" if it has none."""
    kind = container(data)
    if kind == "jpeg" and b"Exif\0\0" in data[: 1 << 18]:  # few have one: look first
        at = 2
        while data[at : at + 1] == b"\xff" and data[at + 1 : at + 2] != b"\xda":
            end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
            if data[at + 1] == 0xE1 and data[at + 4 : at + 10] == b"Exif\0\0":
                return data[at + 10 : end]
            at = end
    elif kind == "png" and b"eXIf" in data:
        at = 8
        while 8 <= at < len(data):
            end = at + 12 + int.from_bytes(data[at : at + 4], "big")
            if data[at + 4 : at + 8] == b"eXIf":
                return data[at + 8 : end - 4]
            at = end
    elif kind == "webp" and data[12:16] == b"VP8X" and _bit(data, 20, 0x08):
        at = 12
        while at + 8 <= len(data):
            size = int.from_bytes(data[at + 4 : at + 8], "little")
            if data[at : at + 4] == b"EXIF":
                block = data[at + 8 : at + 8 + size]
                return block[6:] if block[:6] == b"Exif\0\0" else block
            at += 8 + size + size % 2
    return b""


def _bit(data: bytes, at: int, mask: int) -> bool:
    return len(data) > at and bool(data[at] & mask)


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
    if image.shape[2] == 4:
        # 255 - (255 - c) * a / 255, rounded, in integers: the same everywhere
        alpha = image[:, :, 3:].astype(np.uint16)
        inverse = (255 - image[:, :, :3]).astype(np.uint16)
        return (255 - (inverse * alpha + 127) // 255).astype(np.uint8)
    return image
