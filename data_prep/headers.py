"""What a file's header says about an image, without decoding it.

Only what validation reports: the container, and everything by which an image is not a
plain still of 8-bit RGB. Pixels come from data_prep.preprocessing alone.
"""

from data_prep.preprocessing import container, has_alpha, orientation

SUFFIXES = {
    "jpeg": (".jpg", ".jpeg"),
    "png": (".png",),
    "webp": (".webp",),
    "bmp": (".bmp",),
}


def suffix_lies(path: str, data: bytes) -> bool:
    """Say whether a readable image is of another kind than its name claims."""
    return not path.lower().endswith(SUFFIXES.get(container(data), ""))


def traits(data: bytes) -> tuple[str, ...]:
    """List what is unusual: 16bit, alpha, animated, cmyk, grey, palette, rotated.

    Never fails: of a damaged header it tells what it could read.
    """
    read = {"jpeg": _jpeg, "png": _png, "webp": _webp, "bmp": _bmp}
    kind = container(data)
    found = read[kind](data) if kind else set()
    if has_alpha(data):
        found.add("alpha")
    if orientation(data) != 1:
        found.add("rotated")
    return tuple(sorted(found))


def damage(data: bytes) -> str:
    """Say what is wrong with a file's outer structure that a decoder overlooks.

    A WebP has no checksums: of its pixels only what is missing at the end shows.
    """
    if container(data) != "webp":
        return ""
    end = 8 + int.from_bytes(data[4:8], "little")
    if end + end % 2 < len(data):
        return f"{len(data) - end} bytes follow its end"
    at = 12
    while at + 8 <= end:
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + size + size % 2
    if at not in (end, end + 1):
        return "its parts do not fill the length that its header says"
    # one colour alone compresses to zeros, but never to so many of them
    zeros = len(data) - len(data.rstrip(b"\0"))
    if zeros >= 64 and zeros >= len(data) / 10:
        return f"its last {zeros} bytes are zeros, as of an incomplete download"
    return ""


def _jpeg(data: bytes) -> set[str]:
    at = 2
    while data[at : at + 1] == b"\xff" and data[at + 1 : at + 2] != b"\xda":
        marker = data[at + 1 : at + 2]
        # start of frame, any coding; C4, C8 and CC are tables and reserved
        if b"\xc0" <= marker <= b"\xcf" and marker not in (b"\xc4", b"\xc8", b"\xcc"):
            depth, channels = data[at + 4 : at + 5], data[at + 9 : at + 10]
            found = {b"\x01": {"grey"}, b"\x04": {"cmyk"}}.get(channels, set())
            return found | {"16bit"} if depth > b"\x08" else found
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return set()


def _png(data: bytes) -> set[str]:
    found = set()
    if data[24:25] == b"\x10":
        found.add("16bit")
    if data[25:26] in (b"\x00", b"\x04"):
        found.add("grey")
    if data[25:26] == b"\x03":
        found.add("palette")
    pixels = data.find(b"IDAT")
    if data.find(b"acTL", 0, pixels) > 0:
        found.add("animated")
    return found


def _webp(data: bytes) -> set[str]:
    extended = data[12:16] == b"VP8X" and len(data) > 20
    return {"animated"} if extended and data[20] & 0x02 else set()


def _bmp(data: bytes) -> set[str]:
    bits = int.from_bytes(data[28:30], "little")
    if bits == 32:
        return {"alpha"}
    start = 14 + int.from_bytes(data[14:18], "little")
    palette = data[start : int.from_bytes(data[10:14], "little")]
    blue, green, red = (palette[i::4] for i in range(3))
    return {"grey" if blue == green == red else "palette"} if bits <= 8 else set()
