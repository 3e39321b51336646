"""Images that are meant to do harm: by hand, and by chance from good ones.

`nasties` are made by hand, each for a fault that some decoder or reader has had.
`mutated` damages a good file; the same seed and number give the same bytes anywhere.
"""

import io
import struct
import zlib
from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image

PNG = b"\x89PNG\r\n\x1a\n"
NUMBERS = (0, 1, 2, 4, 8, 9, 127, 128, 255)  # bytes that headers have opinions about


def chunk(name: bytes, body: bytes = b"") -> bytes:
    """A chunk of a PNG."""
    check = struct.pack(">I", zlib.crc32(name + body))
    return struct.pack(">I", len(body)) + name + body + check


def png(
    width: int,
    height: int,
    *extra: bytes,
    pixels: bytes | None = None,
    depth: int = 8,
    colour: int = 2,
) -> bytes:
    """A PNG, black unless its ``pixels`` are given; ``extra`` chunks before them."""
    row = 1 + width * depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour] // 8
    body = zlib.compress(bytes(row * height) if pixels is None else pixels, 9)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    head = PNG + chunk(b"IHDR", header) + b"".join(extra)
    return head + chunk(b"IDAT", body) + chunk(b"IEND")


def frame_control(number: int, width: int, height: int, x: int = 0, y: int = 0):
    """An fcTL chunk: a picture of an animated PNG."""
    head = struct.pack(">IIIIIHHBB", number, width, height, x, y, 1, 10, 0, 0)
    return chunk(b"fcTL", head)


def animation_control(frames: int) -> bytes:
    return chunk(b"acTL", struct.pack(">II", frames, 0))


def animated_png(depth: int = 8, colour: int = 2, side: int = 8) -> bytes:
    """A valid animation of two black pictures."""
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    rows = zlib.compress(bytes((1 + side * channels * depth // 8) * side))
    more = frame_control(1, side, side) + chunk(b"fdAT", struct.pack(">I", 2) + rows)
    first = animation_control(2), frame_control(0, side, side)
    data = png(side, side, *first, depth=depth, colour=colour)
    return data[:-12] + more + data[-12:]


def jpeg(image: np.ndarray, *options: int) -> bytes:
    return cv2.imencode(".jpg", image, options)[1].tobytes()


def saved(image: np.ndarray, kind: str, **options) -> bytes:
    """Encode an array by Pillow, which knows what OpenCV cannot write."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **options)
    return buffer.getvalue()


def claiming(data: bytes, width: int, height: int, frame: int = 0xC0) -> bytes:
    """A JPEG that claims another size than it has."""
    at = data.index(bytes([0xFF, frame])) + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def scan_bomb(scans: int) -> bytes:
    """A progressive JPEG that goes over its pixels again and again."""
    data = jpeg(np.full((64, 64, 3), 90, np.uint8), cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * scans + b"\xff\xd9"


def big_endian_exif(way: int, kind: int = 3) -> bytes:
    """An EXIF block with an orientation of the type SHORT (3), BYTE (1) or LONG (4)."""
    value = {1: struct.pack(">B3x", way), 3: struct.pack(">H2x", way)}.get(
        kind, struct.pack(">I", way)
    )
    entry = struct.pack(">HHI", 0x0112, kind, 1) + value
    return b"MM\0*" + struct.pack(">IH", 8, 1) + entry + bytes(4)


def segment(code: int, body: bytes) -> bytes:
    """A segment of a JPEG."""
    return bytes([0xFF, code]) + struct.pack(">H", len(body) + 2) + body


def with_segments(data: bytes, *segments: bytes) -> bytes:
    """Put segments at the start of a JPEG."""
    return data[:2] + b"".join(segments) + data[2:]


def riff(*chunks: bytes) -> bytes:
    """A WebP of chunks."""
    return riff_chunk(b"RIFF", b"WEBP" + b"".join(chunks))


def riff_chunk(name: bytes, body: bytes = b"") -> bytes:
    return name + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)


def nasties(megabytes: int = 4) -> dict[str, Callable[[], bytes]]:
    """Makers of hostile files, by what they are.

    Args:
        megabytes: Size of those that are of use only when large.
    """
    size = megabytes << 20
    grey = np.full((64, 64, 3), 120, np.uint8)
    photo = jpeg(grey)
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    webp = saved(noise, "WEBP")
    exif = chunk(b"eXIf", big_endian_exif(6))
    frame = photo.index(b"\xff\xc0")
    twice = photo[:frame] + photo[frame : frame + 19] + photo[frame:]
    palette = chunk(b"PLTE", bytes(768))
    film = np.random.default_rng(1).bytes(1 << 20)
    return {
        # animations and other optional features
        "APNG, first frame wider than the canvas": lambda: png(
            1, 1, animation_control(1), frame_control(0, 9999, 9999)
        ),
        "APNG, first frame beside the canvas": lambda: png(
            8, 8, animation_control(1), frame_control(0, 8, 8, 1 << 30, 1 << 30)
        ),
        "APNG, filter 9 in the first frame": lambda: png(
            1,
            1,
            animation_control(1),
            frame_control(0, 1, 1),
            pixels=b"\x09\0\0\0",
        ),
        "APNG, grey and valid": lambda: animated_png(colour=0),
        "APNG, grey with alpha": lambda: animated_png(colour=4),
        "APNG, 16 bits": lambda: animated_png(depth=16),
        "APNG, 16 bits with alpha": lambda: animated_png(depth=16, colour=6),
        "APNG, no frame control": lambda: png(8, 8, animation_control(1)),
        "APNG, a million frames": lambda: png(
            8, 8, animation_control(1 << 20), frame_control(0, 8, 8)
        ),
        "APNG, 60,000 empty frames": lambda: png(
            8, 8, animation_control(60_000), frame_control(0, 8, 8) * 60_000
        ),
        "WebP, animated": lambda: saved(
            noise, "WEBP", save_all=True, append_images=[Image.fromarray(grey)]
        ),
        "WebP, an animation without pictures": lambda: riff(
            riff_chunk(b"VP8X", b"\x02" + bytes(9)), riff_chunk(b"ANIM", bytes(6))
        ),
        "WebP, a picture beside the canvas": lambda: riff(
            riff_chunk(b"VP8X", b"\x02" + bytes(9)),
            riff_chunk(b"ANMF", b"\xff" * 16 + webp[12:]),
        ),
        "WebP, a canvas of gigapixels": lambda: riff(
            riff_chunk(b"VP8X", b"\x10\0\0\0" + b"\xff" * 6), webp[12:]
        ),
        "JPEG, two pictures": lambda: saved(
            noise, "MPO", save_all=True, append_images=[Image.fromarray(grey)]
        ),
        "JPEG, arithmetic coding": lambda: photo.replace(b"\xff\xc0", b"\xff\xc9"),
        "JPEG, lossless coding": lambda: photo.replace(b"\xff\xc0", b"\xff\xc3"),
        "JPEG, 12 bits": lambda: photo[: frame + 4] + b"\x0c" + photo[frame + 5 :],
        "JPEG, a film behind it": lambda: photo + film,
        "JPEG, two frame headers": lambda: twice,
        "PNG, an unknown feature": lambda: png(8, 8, chunk(b"CgBI", bytes(4))),
        "PNG, two headers": lambda: png(8, 8, png(400, 400)[8:33]),
        "PNG, a text that unpacks to 64 MB": lambda: png(
            8, 8, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 26), 1))
        ),
        "PNG, a profile that unpacks to 64 MB": lambda: png(
            8, 8, chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(1 << 26), 1))
        ),
        "PNG, ten thousand palettes": lambda: png(8, 8, palette * 10_000, colour=3),
        # header loops
        "JPEG of empty segments": lambda: b"\xff\xd8" + b"\xff\xe0\0\2" * (size // 4),
        "JPEG of filling": lambda: b"\xff\xd8" + b"\xff" * size,
        "JPEG of stuffed zeros": lambda: b"\xff\xd8\xff\xe0\0\2"
        + b"\xff\0" * (size // 2),
        "JPEG of garbage": lambda: b"\xff\xd8\xff\xe0\0\2" + b"a" * size + photo[2:],
        "JPEG, filling among its pixels": lambda: photo[:-2] + b"\xff" * size,
        "JPEG, stuffed zeros as pixels": lambda: photo[:-2] + b"\xff\0" * (size // 2),
        "JPEG, filling before the EXIF block": lambda: with_segments(
            photo, b"\xff" * 99 + segment(0xE1, b"Exif\0\0" + big_endian_exif(6))
        ),
        "JPEG, filling at its end": lambda: b"\xff\xd8\xff\xe1\0\x10Exif\0\0MM\xff\xff",
        "PNG of empty chunks": lambda: png(8, 8, chunk(b"teXt") * (size // 12), exif),
        "PNG of empty pixel chunks": lambda: png(8, 8, chunk(b"IDAT") * (size // 12)),
        "WebP of empty chunks": lambda: riff(riff_chunk(b"XMP ") * (size // 8)),
        "WebP, empty chunks in a picture": lambda: riff(
            riff_chunk(b"VP8X", b"\x02" + bytes(9)),
            riff_chunk(b"ANMF", bytes(16) + riff_chunk(b"XMP ") * (size // 8)),
        ),
        "JPEG, 20,000 scans": lambda: scan_bomb(20_000),
        "JPEG, 60 scans of 64 megapixels": lambda: claiming(
            scan_bomb(50), 8000, 8000, frame=0xC2
        )
        + film,
        # sizes
        "PNG, 33 megapixels of nothing": lambda: png(5760, 5760, colour=0),
        "PNG, claims 10 gigapixels": lambda: png(100_000, 100_000, pixels=bytes(99)),
        "PNG, a million wide": lambda: png(1_000_000, 1),
        "PNG, a million high": lambda: png(1, 1_000_000),
        "PNG, no width": lambda: png(0, 8),
        "JPEG, claims 4 gigapixels": lambda: claiming(photo, 65_500, 65_500),
        "JPEG, claims 81 megapixels": lambda: claiming(photo, 9000, 9000),
        "JPEG, no height": lambda: claiming(photo, 64, 0),
        "WebP, claims 268 megapixels": lambda: webp[:26] + b"\xff\x3f" * 2 + webp[30:],
        "BMP, claims 4 gigapixels": lambda: _bmp(grey, 65_536, -65_536),
        "BMP, a negative width": lambda: _bmp(grey, -64, 64),
        "BMP, the lowest height": lambda: _bmp(grey, 64, -(1 << 31)),
        "BMP, 50 megapixels in runs": lambda: _bmp_runs(7000, 7000),
        # no images
        "empty": lambda: b"",
        "a letter": lambda: b"\xff",
        "text": lambda: b"this is not a photograph",
        "a script": lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "a GIF": lambda: saved(grey, "GIF"),
        "a TIFF": lambda: saved(grey, "TIFF"),
    }


def _bmp(image: np.ndarray, width: int, height: int) -> bytes:
    data = bytearray(cv2.imencode(".bmp", image)[1].tobytes())
    data[18:26] = struct.pack("<ii", width, height)
    return bytes(data)


def _bmp_runs(width: int, height: int) -> bytes:
    """A BMP with the compression RLE8 and no pixels but its end mark."""
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, 2, 0, 0, 256, 0)
    start = 14 + len(head) + 1024
    file = b"BM" + struct.pack("<IHHI", start + 2, 0, 0, start)
    return file + head + bytes(1024) + b"\0\1"


def originals(images: list[np.ndarray]) -> list[bytes]:
    """Good files of every container and pixel layout, of ``(h, w, 3)`` BGR images."""
    files = []
    for image in images:
        rgb = np.ascontiguousarray(image[:, :, ::-1])
        small = cv2.resize(rgb, (60, 44), interpolation=cv2.INTER_AREA)
        clear = np.dstack([small, small[:, :, 0]])
        palette = np.asarray(Image.fromarray(small).quantize(16).convert("RGB"))
        exif = Image.Exif()
        exif[0x0112] = 6
        frames = {"save_all": True, "append_images": [Image.fromarray(255 - small)]}
        files += [
            jpeg(image),
            jpeg(image, cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
            jpeg(image, cv2.IMWRITE_JPEG_RST_INTERVAL, 3),
            saved(rgb, "JPEG", exif=exif, subsampling=0),
            saved(small[:, :, 0], "JPEG"),
            saved(small, "PNG", exif=exif),
            saved(clear, "PNG"),
            saved(palette[:, :, 0], "PNG", transparency=9),
            saved(small, "PNG", **frames),
            cv2.imencode(".png", small.astype(np.uint16) * 257)[1].tobytes(),
            saved(rgb, "WEBP"),
            saved(small, "WEBP", lossless=True, exif=exif),
            saved(clear, "WEBP", quality=70),
            saved(small, "WEBP", **frames),
            saved(small, "BMP"),
            saved(small[:, :, 0], "BMP"),
            saved(clear, "BMP"),
        ]
    return files


def mutated(files: list[bytes], seed: int, number: int) -> bytes:
    """Damage one of the files in one to four ways.

    A PNG gets right checksums again three times out of four: its reader would stop at
    the first wrong one, and what lies behind would never be tried.
    """
    random = np.random.default_rng((seed, number))
    data = bytearray(files[random.integers(len(files))])
    for _ in range(random.integers(1, 5)):
        change = CHANGES[random.integers(len(CHANGES))]
        change(random, data, files)
    if data.startswith(PNG) and random.integers(4):
        _check_again(data)
    return bytes(data)


def _place(random, data: bytearray) -> int:
    """Any place, but rather one in the header."""
    end = len(data) if random.integers(2) else min(len(data), 256)
    return int(random.integers(end)) if end else 0


def _piece(random, data: bytearray) -> slice:
    start = _place(random, data)
    return slice(start, start + int(2 ** random.uniform(0, 12)))


def _flip(random, data, files):
    if data:
        data[_place(random, data)] ^= 1 << int(random.integers(8))


def _set(random, data, files):
    if data:
        data[_place(random, data)] = NUMBERS[random.integers(len(NUMBERS))]


def _number(random, data, files):
    """Put a number of two or four bytes there, in either order."""
    size = int(random.choice([2, 4]))
    value = int(random.choice([0, 1, 2, 127, 128, 255, 256, 32767, 65535]))
    if size == 4:
        value = int(random.choice([value, 1 << 20, (1 << 31) - 1, 1 << 31, 2**32 - 1]))
    at = _place(random, data)
    data[at : at + size] = value.to_bytes(size, random.choice(["big", "little"]))


def _fill(random, data, files):
    piece = _piece(random, data)
    length = len(data[piece])
    data[piece] = bytes([int(random.choice([0, 255]))]) * length


def _noise(random, data, files):
    piece = _piece(random, data)
    data[piece] = random.bytes(len(data[piece]))


def _remove(random, data, files):
    del data[_piece(random, data)]


def _repeat(random, data, files):
    piece = _piece(random, data)
    data[piece.start : piece.start] = data[piece] * int(random.integers(1, 20))


def _transplant(random, data, files):
    other = bytearray(files[random.integers(len(files))])
    data[_piece(random, data)] = other[_piece(random, other)]


def _cut(random, data, files):
    """Cut the end off; the end mark may stay."""
    end = bytes(data[-12:]) if random.integers(2) else b""
    del data[int(random.integers(1 + len(data))) :]
    data += end


CHANGES = (
    *(_flip, _set, _number) * 2,  # the small ones go furthest
    _fill,
    _noise,
    _remove,
    _repeat,
    _transplant,
    _cut,
)


def _check_again(data: bytearray) -> None:
    """Give the chunks of a PNG right checksums, as far as there are chunks."""
    at = len(PNG)
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if end + 4 > len(data):
            break
        data[end : end + 4] = struct.pack(">I", zlib.crc32(data[at + 4 : end]))
        at = end + 4
