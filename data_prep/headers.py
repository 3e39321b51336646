"""What a file's header says about an image, without decoding it.

Only what validation reports: the container, and everything by which an image is not a
plain still of 8-bit RGB. Pixels come from data_prep.preprocessing alone.
"""

from data_prep.image_file import container, examine, parts

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

    Raises:
        BrokenImage: It is no image that would be decoded.
    """
    still = examine(data)
    rotated = {"rotated"} if still.orientation > 1 else set()
    return tuple(sorted(still.traits | rotated))


def damage(data: bytes) -> str:
    """Say what is wrong with a file's outer structure that a decoder overlooks.

    A WebP has no checksums: of its pixels only what is missing at the end shows.
    """
    if container(data) != "webp":
        return ""
    end = 8 + int.from_bytes(data[4:8], "little")
    if end + end % 2 < len(data):
        return f"{len(data) - end} bytes follow its end"
    *_, (_, _, last) = parts(data)
    if end - last - last % 2 not in (0, -1):
        return "its parts do not fill the length that its header says"
    # one colour alone compresses to zeros, but never to so many of them
    zeros = len(data) - len(data.rstrip(b"\0"))
    if zeros >= 64 and zeros >= len(data) / 10:
        return f"its last {zeros} bytes are zeros, as of an incomplete download"
    return ""
