"""What a file's header says about an image, without decoding it.

Only what validation reports: the container, and everything by which an image is not a
plain still of 8-bit RGB. Pixels come from data_prep.preprocessing alone.
"""

SUFFIXES = {
    "jpeg": (".jpg", ".jpeg"),
    "png": (".png",),
    "webp": (".webp",),
    "bmp": (".bmp",),
}


def sniff(data: bytes) -> str:
    """Name the kind of file by its first bytes: jpeg, png, ... or "" if unknown."""
    if data[:3] == b"\xff\xd8\xff":
        return "jpeg"
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "png"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[:2] == b"BM":
        return "bmp"
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return "gif"
    if data[:4] in (b"II*\x00", b"MM\x00*"):
        return "tiff"
    if data[4:12] in (b"ftypavif", b"ftypheic", b"ftypheix", b"ftypmif1"):
        return "heif"
    return ""


def traits(data: bytes) -> tuple[str, ...]:
    """List what is unusual: animated, grey, palette, alpha, cmyk, 16bit, rotated.

    Never fails: of a damaged header it tells what it could read.
    """
    read = {"jpeg": _jpeg, "png": _png, "webp": _webp, "bmp": _bmp, "gif": _gif}
    kind = sniff(data)
    return tuple(sorted(read[kind](data))) if kind in read else ()


def _jpeg(data: bytes) -> set[str]:
    found = set()
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        body = data[position + 4 : position + 2 + length]
        # start of frame, any coding; C4, C8 and CC are tables and reserved
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if body[:1] > b"\x08":
                found.add("16bit")
            if body[5:6] == b"\x01":
                found.add("grey")
            if body[5:6] == b"\x04":
                found.add("cmyk")
        if marker == 0xE1 and body[:6] == b"Exif\x00\x00" and _rotated(body[6:]):
            found.add("rotated")
        if marker == 0xDA:  # the pixels follow
            break
        position += 2 + length
    return found


def _png(data: bytes) -> set[str]:
    found = set()
    depth, colour = data[24:25], data[25:26]
    if depth == b"\x10":
        found.add("16bit")
    if colour in (b"\x00", b"\x04"):
        found.add("grey")
    if colour == b"\x03":
        found.add("palette")
    if colour in (b"\x04", b"\x06"):
        found.add("alpha")
    position = 8
    while position + 8 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        name = data[position + 4 : position + 8]
        if name == b"IDAT":
            break
        if name == b"tRNS":
            found.add("alpha")
        if name == b"acTL":
            found.add("animated")
        if name == b"eXIf" and _rotated(data[position + 8 : position + 8 + length]):
            found.add("rotated")
        position += 12 + length
    return found


def _webp(data: bytes) -> set[str]:
    found = set()
    if data[12:16] == b"VP8L" and data[24:25] and data[24] & 0x10:
        found.add("alpha")
    if data[12:16] == b"VP8X" and data[20:21]:
        if data[20] & 0x02:
            found.add("animated")
        if data[20] & 0x10:
            found.add("alpha")
        exif = data.find(b"EXIF", 30) if data[20] & 0x08 else -1
        if exif > 0 and _rotated(data[exif + 8 :].removeprefix(b"Exif\x00\x00")):
            found.add("rotated")
    return found


def _bmp(data: bytes) -> set[str]:
    bits = int.from_bytes(data[28:30], "little")
    if bits <= 8:
        return {"palette"}
    return {"alpha"} if bits == 32 else set()


def _gif(data: bytes) -> set[str]:
    # A graphic control extension precedes each picture of an animation.
    animated = data.count(b"\x21\xf9\x04") > 1
    return {"palette", "animated"} if animated else {"palette"}


def _rotated(exif: bytes) -> bool:
    """Say whether an EXIF block asks for turning or mirroring (orientation not 1)."""
    order = {b"II": "little", b"MM": "big"}.get(exif[:2])
    if order is None:
        return False
    start = int.from_bytes(exif[4:8], order)
    count = int.from_bytes(exif[start : start + 2], order)
    for i in range(min(count, 1000)):
        entry = exif[start + 2 + 12 * i : start + 14 + 12 * i]
        if int.from_bytes(entry[:2], order) == 0x0112:
            return int.from_bytes(entry[8:10], order) not in (0, 1)
    return False
