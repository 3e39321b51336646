"""What the header of an encoded image claims, held against limits before decoding.

A file of a few hundred bytes can claim gigabytes of pixels. Whoever sends such files
shall not have the server's memory, nor seconds of its time.
"""

from preprocessing import BrokenImage, container

MAX_DECODED = 1 << 28  # bytes; 89 megapixels of a JPEG
# No photograph is compressed as much as this, decoded bytes a byte of the file. Small
# images cost little, whatever they claim.
MAX_RATIO = 400
SMALL = 1 << 25  # decoded bytes

PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}  # by colour type; palettes are expanded


def check(data):
    """Refuse an image whose header claims more than a photograph needs.

    A header that cannot be read is left to the decoder, which refuses it.

    Raises:
        BrokenImage: It is too large, or its file far too small for its pixels.
    """
    width, height, pixel_bytes = claimed(data)
    decoded = width * height * pixel_bytes
    if decoded > MAX_DECODED:
        raise BrokenImage(
            f"it claims {width} x {height} pixels, {decoded >> 20} MiB decoded; at "
            f"most {MAX_DECODED >> 20} MiB are accepted"
        )
    if decoded > max(SMALL, MAX_RATIO * len(data)):
        raise BrokenImage(
            f"it claims {width} x {height} pixels in {len(data)} bytes; no photograph "
            "is that small"
        )


def claimed(data):
    """Read width, height and bytes a decoded pixel; zeros where there is no header."""
    kind = container(data)
    if kind == "png" and len(data) >= 26:
        depth, colour = data[24], data[25]
        pixel_bytes = PNG_CHANNELS.get(colour, 4) * (2 if depth == 16 else 1)
        return number(data[16:20]), number(data[20:24]), pixel_bytes
    if kind == "jpeg":
        return jpeg_size(data)
    if kind == "webp":
        return webp_size(data)
    if kind == "bmp" and len(data) >= 26:
        width, height = (
            int.from_bytes(data[at : at + 4], "little", signed=True) for at in (18, 22)
        )
        return abs(width), abs(height), 3  # a negative height: rows from the top
    return 0, 0, 0


def jpeg_size(data):
    """Find the frame header among the segments, as lenient as decoders are."""
    at = data.find(b"\xff", 2)
    while 0 <= at <= len(data) - 9:
        mark = data[at + 1]
        # start of frame, of any coding; these three of the range are something else
        if 0xC0 <= mark <= 0xCF and mark not in (0xC4, 0xC8, 0xCC):
            return number(data[at + 7 : at + 9]), number(data[at + 5 : at + 7]), 3
        if mark == 0xDA:  # the picture itself
            break
        if mark == 0xFF:  # a filling byte
            at += 1
        elif mark in (0x00, 0x01) or 0xD0 <= mark <= 0xD8:  # nothing follows these
            at += 2
        else:
            at += 2 + number(data[at + 2 : at + 4])
        at = data.find(b"\xff", at)
    return 0, 0, 0


def webp_size(data):
    """Read the header of a lossy, a lossless or an extended WebP."""
    kind = data[12:16]
    if kind == b"VP8 ":
        width, height = (number(data[at : at + 2], "little") for at in (26, 28))
        return width & 0x3FFF, height & 0x3FFF, 3  # above them: scaling
    if kind == b"VP8L":
        bits = number(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, 4
    if kind == b"VP8X":
        width, height = (number(data[at : at + 3], "little") for at in (24, 27))
        return width + 1, height + 1, 4
    return 0, 0, 0


def number(data, order="big"):
    return int.from_bytes(data, order)
