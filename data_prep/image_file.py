"""What is in an image file: checked by its header, before anything is decoded.

A JPEG, PNG, WebP or BMP is walked through part by part. What comes of it is the one
picture of the file that is used, without what a decoder need not see, within limits
that are the same wherever photographs are read.

Deployment copies this file beside the server's decode model, so it imports nothing of
ours.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

# The limits, the same wherever photographs are read. They are held against what a
# file's header claims, before anything is decoded: a few bytes can claim gigabytes.
MAX_FILE = 1 << 29  # bytes
MAX_PIXELS = 1 << 28  # of an image, and of a request's images together; cameras: 200 M
MAX_DECODED = 1 << 28  # bytes that a decoder fills: 89 megapixels of RGB
HALVED_ABOVE = 1 << 26  # pixels; a larger JPEG is decoded at half its width and height
MAX_PARTS = 1 << 16  # segments or chunks of a file; those of a PNG often have 8 kB
MAX_SCANS = 100  # passes over the pixels of a progressive JPEG; usual are 10
MAX_SCANNED = 1 << 30  # pixels of all these passes together


class BrokenImage(ValueError):
    """These bytes are not a complete image that can be decoded; the text says why."""


class TooLarge(BrokenImage):
    """An image is over one of the limits."""


class TooManyPixels(ValueError):
    """The images of one request are over the limit together."""


@dataclass(frozen=True, slots=True)
class Still:
    """The one picture of a file that is used, as its header describes it.

    Attributes:
        encoded: The file without what a decoder need not see: metadata, previews,
            further pictures, and optional features that could surprise it.
        width, height: Pixels as stored, before the picture is turned upright.
        decoded: Bytes that its decoder fills.
        least: Bytes that a file with so many pixels has at least, whatever they show.
        exif: Its EXIF block, b"" for none.
        traits: What is unusual: 16bit, alpha, animated, cmyk, grey, palette.
        transparent: Has it transparency that is to be laid on white?
        transparent_grey: The one transparent value of a grey PNG, on the scale of its
            decoded pixels.
        halved: Is it decoded at half its width and height?
    """

    encoded: bytes
    width: int
    height: int
    decoded: int
    least: int = 0
    exif: bytes = b""
    traits: frozenset[str] = frozenset()
    transparent: bool = False
    transparent_grey: int = -1
    halved: bool = False

    @property
    def orientation(self) -> int:
        """As in EXIF, 1 (upright, or none given) to 8."""
        return _orientation(self.exif)


def examine(data: bytes) -> Still:
    """Find the one picture of a file, within the limits; nothing is decoded.

    Raises:
        BrokenImage: The bytes are empty, truncated, no such image, or use a feature
            that no photograph needs.
        TooLarge: A limit is exceeded.
    """
    if not data:
        raise BrokenImage("the file is empty (0 bytes)")
    if len(data) > MAX_FILE:
        raise TooLarge(f"the file has more than {MAX_FILE >> 20} MiB")
    kind = container(data)
    if not kind:
        raise BrokenImage("it is no JPEG, PNG, WebP or BMP image")
    still = {"jpeg": _jpeg, "png": _png, "webp": _webp, "bmp": _bmp}[kind](data)
    pixels = still.width * still.height
    claim = f"it claims {still.width} x {still.height} pixels"
    if pixels > MAX_PIXELS or still.decoded > MAX_DECODED:
        raise TooLarge(
            f"{claim}, {still.decoded >> 20} MiB decoded; at most "
            f"{MAX_PIXELS / 1e6:.0f} megapixels and {MAX_DECODED >> 20} MiB are "
            "accepted, scale it down"
        )
    if pixels == 0 or still.least > len(data):
        raise BrokenImage(f"{claim} in {len(data)} bytes; no photograph is that small")
    return still


def check_request(images: Iterable[bytes]) -> None:
    """Bound the work that the images of one request make together.

    What cannot be read counts nothing: it is refused when its turn comes.

    Raises:
        TooManyPixels: They have more than MAX_PIXELS together.
    """
    pixels = sum(map(claimed_pixels, images))
    if pixels > MAX_PIXELS:
        raise TooManyPixels(
            f"the images of this request have {pixels / 1e6:.0f} megapixels together; "
            f"at most {MAX_PIXELS / 1e6:.0f} are accepted, send fewer at a time"
        )


def claimed_pixels(data: bytes) -> int:
    """Pixels that an image's header claims; 0 if it would be refused."""
    try:
        still = examine(data)
    except BrokenImage:
        return 0
    return still.width * still.height


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


# Its name, an int of JPEGs and else bytes; where its body starts and ends.
Part = tuple[Any, int, int]


def parts(data: bytes) -> Iterator[Part]:
    """Walk through the segments of a JPEG or the chunks of a PNG or WebP, in order.

    A JPEG's are named by their code, such as 0xE1; the last one is the header of its
    first scan. The last one of a PNG is its end.

    Raises:
        BrokenImage: The file ends within a part.
        TooLarge: There are more than MAX_PARTS.
    """
    walks = {"jpeg": _segments, "png": _chunks, "webp": _riff_chunks}
    walk = walks[container(data)](data)
    yield from islice(walk, MAX_PARTS)
    if next(walk, None):
        raise TooLarge(f"it has more than {MAX_PARTS} parts; no photograph has so many")


def _segments(data: bytes) -> Iterator[Part]:
    """As libjpeg walks, which passes over anything up to the next marker. Filling and
    markers that have no body are parts, too: all of them count."""
    at, last = 2, len(data) - 4
    while 0 <= (at := data.find(b"\xff", at)) <= last:
        code = data[at + 1]
        if code in _NO_BODY:
            yield code, at, at
            at += 1 if code == 0xFF else 2
            continue
        start, end = at + 4, at + 2 + (data[at + 2] << 8 | data[at + 3])
        if not start <= end <= len(data):
            break
        yield code, start, end
        if code == 0xDA:
            return
        at = end
    raise BrokenImage("the JPEG is truncated, or its header damaged")


# a stuffed zero, filling, and the markers that restart, begin or end something
_NO_BODY = frozenset((0, 1, *range(0xD0, 0xDA), 0xFF))


def _chunks(data: bytes) -> Iterator[Part]:
    at, name = 8, b""
    while name != b"IEND":
        start = at + 8
        name, end = data[at + 4 : start], start + _number(data, at, 4, "big")
        if end + 4 > len(data):
            raise BrokenImage("the PNG is truncated (no IEND chunk)")
        yield name, start, end
        at = end + 4  # behind the checksum


def _riff_chunks(data: bytes) -> Iterator[Part]:
    stop = 8 + _number(data, 4, 4)
    if stop > len(data):
        raise BrokenImage("the WebP is truncated (shorter than its header says)")
    return _inner_chunks(data, 12, stop)


def _inner_chunks(data: bytes, at: int, stop: int) -> Iterator[Part]:
    while at + 8 <= stop:
        start = at + 8
        end = start + _number(data, at + 4, 4)
        if end > stop:
            return
        yield data[at : at + 4], start, end
        at = end + end % 2


def _number(data: bytes, at: int, size: int, order="little") -> int:
    return int.from_bytes(data[at : at + size], order)


# What libjpeg needs: frame, tables, restart interval and scan header.
_JPEG_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive
_JPEG_NEEDS = frozenset((*_JPEG_FRAMES, 0xC4, 0xDA, 0xDB, 0xDD))
# lossless, hierarchical or arithmetic coding: young or unused code of decoders
_JPEG_STRANGE = frozenset(range(0xC3, 0xD0)) - {0xC4, 0xC8}
_JPEG_END = re.compile(b"\xff\xd9")  # to search is three times faster than to find
_JPEG_COLOURS = {0xE0: b"JFIF\0", 0xEE: b"Adobe"}  # what the numbers mean


def _jpeg(data: bytes) -> Still:
    kept, exif, frame, progressive = [b"\xff\xd8"], b"", b"", False
    for code, start, end in parts(data):
        if code in _JPEG_NEEDS:
            kept.append(data[start - 4 : end])
            if code in _JPEG_FRAMES:
                frame, progressive = frame or data[start:end], code == 0xC2
        elif code in _JPEG_COLOURS and data.startswith(_JPEG_COLOURS[code], start):
            kept.append(data[start - 4 : end])
        elif code == 0xE1 and not exif and data.startswith(b"Exif\0\0", start):
            exif = data[start:end]
        elif code in _JPEG_STRANGE:
            raise BrokenImage("its coding is not a camera's; save it as a usual JPEG")
        elif code == 0xD9:
            raise BrokenImage("the JPEG ends before its pixels")
    if len(frame) < 9 or not 0 < 3 * frame[5] <= len(frame) - 6:
        raise BrokenImage("the JPEG is damaged: it has no whole frame header")
    if frame[0] != 8:
        raise BrokenImage(f"it has {frame[0]} bits a channel; save it as a usual JPEG")
    mark = _JPEG_END.search(data, end)  # a film may follow it
    if not mark:  # OpenCV would fill what is missing with grey
        raise BrokenImage("the JPEG is truncated (no end mark)")
    stop = mark.end()
    kept.append(data[end:stop])
    height, width = _number(frame, 1, 2, "big"), _number(frame, 3, 2, "big")
    halved = width * height > HALVED_ABOVE
    decoded = width * height * 3 // (4 if halved else 1)
    if progressive or data[start] < frame[5]:  # then all coefficients are kept
        scans = 1 + data.count(b"\xff\xda", end, stop)
        if scans > min(MAX_SCANS, MAX_SCANNED / max(1, width * height)):
            raise TooLarge(
                f"it has {scans} scans of {width} x {height} pixels; photographs have "
                "about 10"
            )
        factors = [(x >> 4, x & 15) for x in frame[7 : 6 + 3 * frame[5] : 3]]
        whole = max(x for x, _ in factors) * max(y for _, y in factors) or 1
        decoded += 2 * width * height * sum(x * y for x, y in factors) // whole
    traits = {1: {"grey"}, 4: {"cmyk"}}.get(frame[5], ())
    return Still(
        b"".join(kept),
        width,
        height,
        decoded,
        width * height // (64 * 8),  # a block of 64 pixels takes a bit
        exif,
        frozenset(traits),
        halved=halved,
    )


_PNG_KNOWN = frozenset((b"IHDR", b"PLTE", b"IDAT", b"IEND"))
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type; 3 is a palette


def _png(data: bytes) -> Still:
    kept, traits, exif, header, clear = [data[:8]], set(), b"", b"", b""
    pixels = 0  # compressed, bytes
    for name, start, end in parts(data):
        if (name == b"IHDR") != (not header):
            raise BrokenImage("the PNG is damaged: it does not start with one header")
        if name == b"IHDR":
            header = data[start:end]
        elif name == b"IDAT":
            pixels += end - start
        elif name == b"tRNS" and not pixels:
            clear = data[start:end]
        elif name == b"eXIf":
            exif = exif or data[start:end]
        elif name == b"acTL":
            traits.add("animated")
        elif name not in _PNG_KNOWN and not name[0] & 0x20:  # a capital: needed
            raise BrokenImage(f"it needs a feature that is unknown ({ascii(name)[1:]})")
        if name in _PNG_KNOWN or name == b"tRNS":
            kept.append(data[start - 8 : end + 4])
    if len(header) != 13 or header[9] not in _PNG_CHANNELS:
        raise BrokenImage("the header of the PNG is damaged")
    width, height = _number(header, 0, 4, "big"), _number(header, 4, 4, "big")
    depth, colour = header[8], header[9]
    row = width * depth * _PNG_CHANNELS[colour] // 8  # bytes
    transparent = colour in (4, 6) or bool(clear)
    traits |= {0: {"grey"}, 3: {"palette"}, 4: {"grey"}}.get(colour, set())
    traits |= {"alpha"} if transparent else set()
    traits |= {"16bit"} if depth == 16 else set()
    grey = -1
    if colour == 0 and clear:
        grey = _number(clear, 0, 2, "big")
        grey = grey if depth >= 8 else grey * 255 // (2 ** max(depth, 1) - 1)
    return Still(
        b"".join(kept),
        width,
        height,
        width * height * (4 if transparent else 3) * (2 if depth == 16 else 1),
        row * height // 1040,  # deflate shortens to 1/1032 at most
        exif,
        frozenset(traits),
        transparent,
        grey,
    )


def _webp(data: bytes) -> Still:
    chunks, traits, exif = list(parts(data)), set(), b""
    extended = data[12:16] == b"VP8X" and len(data) >= 30
    if extended and data[20] & 0x08 and (found := _first(chunks, b"EXIF")):
        exif = data[slice(*found[1:])]
    if extended and (found := _first(chunks, b"ANMF")):
        traits.add("animated")
        _, start, end = found
        # its place on the canvas, and its size
        if data[start : start + 12] != bytes(6) + data[24:30]:
            raise BrokenImage(
                "it is an animation whose first picture is smaller than the others; "
                "save it as a still picture"
            )
        inner = _inner_chunks(data, start + 16, end)
        chunks = list(islice(inner, MAX_PARTS))
    if not (found := _first(chunks, b"VP8 ", b"VP8L")):
        raise BrokenImage("the WebP has no whole picture in it")
    name, start, end = found
    kept = [_riff_chunk(name, data[start:end])]
    if name == b"VP8L":
        bits = _number(data, start + 1, 4)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        transparent = bool(bits >> 28 & 1)
    else:
        width, height = (_number(data, start + at, 2) & 0x3FFF for at in (6, 8))
        alpha = _first(chunks, b"ALPH")
        transparent = alpha is not None
        if alpha:
            canvas = ((side - 1).to_bytes(3, "little") for side in (width, height))
            head = _riff_chunk(b"VP8X", b"\x10\0\0\0" + b"".join(canvas))
            kept[:0] = head, _riff_chunk(b"ALPH", data[slice(*alpha[1:])])
    traits |= {"alpha"} if transparent else set()
    return Still(
        _riff_chunk(b"RIFF", b"WEBP" + b"".join(kept)),
        width,
        height,
        width * height * (3 if name == b"VP8 " and not transparent else 4),
        0,  # one colour takes no bytes
        exif,
        frozenset(traits),
        transparent,
    )


def _first(chunks: list[Part], *names: bytes) -> Part | None:
    return next((chunk for chunk in chunks if chunk[0] in names), None)


def _riff_chunk(name: bytes, body: bytes) -> bytes:
    return name + len(body).to_bytes(4, "little") + body + bytes(len(body) % 2)


def _bmp(data: bytes) -> Still:
    if _number(data, 2, 4) > len(data):
        raise BrokenImage("the BMP is truncated (shorter than its header says)")
    first, header = _number(data, 10, 4), _number(data, 14, 4)
    if header == 12:  # of OS/2
        width, height, bits, coding = *(_number(data, at, 2) for at in (18, 20, 24)), 0
    else:
        width, bits, coding = (_number(data, *at) for at in ((18, 4), (28, 2), (30, 4)))
        # negative: rows from the top
        height = abs(int.from_bytes(data[22:26], "little", signed=True))
    row, least = (width * bits + 31) // 32 * 4, 0
    if coding in (0, 3):  # not compressed
        least = first + row * (height - 1) + width * bits // 8
    traits = {"alpha"} if bits == 32 else set()
    if bits <= 8:
        palette = data[14 + header : first]
        blue, green, red = (palette[i :: 3 if header == 12 else 4] for i in range(3))
        traits.add("grey" if blue == green == red else "palette")
    decoded = width * height * 3
    return Still(data, width, height, decoded, least, traits=frozenset(traits))


def _orientation(exif: bytes) -> int:
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "little", b"MM": "big"}.get(exif[:2])
    if order is None:
        return 1
    start = _number(exif, 4, 4, order)
    count = _number(exif, start, 2, order)
    for at in range(start + 2, min(start + 2 + 12 * count, len(exif)), 12):
        if _number(exif, at, 2, order) == 0x0112:
            # a SHORT, as it should be, or a BYTE or LONG
            size = {1: 1, 3: 2, 4: 4}.get(_number(exif, at + 2, 2, order), 0)
            value = _number(exif, at + 8, size, order)
            return value if 1 <= value <= 8 else 1
    return 1
