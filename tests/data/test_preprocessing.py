"""The pixels a model sees: as documented, and the same everywhere."""

import functools
import hashlib
import io
import itertools
import json
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from raw_sets import encoded, picture

from data_prep.image_file import BrokenImage
from data_prep.paths import ROOT
from data_prep.preprocessing import RESIZE_MODES, Preprocessing, decode

SIZES = [(48, 48), (200, 200), (123, 77), (90, 300)]
RECORDS = [
    Preprocessing(image_size=size, border_crop=0.03, resize_mode=mode)
    for size, mode in itertools.product((32, 101), RESIZE_MODES)
]


def saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def oblong(seed=3):
    """A picture that no rotation or mirroring maps on itself, PIL RGB, 60 x 40."""
    return Image.fromarray(cv2.resize(picture(seed), (60, 40)))


def exif(orientation):
    block = Image.Exif()
    block[0x0112] = orientation
    return block


@functools.cache
def every_kind():
    """Encoded images of all formats and pixel layouts, by name."""
    rgb = oblong()
    translucent = rgb.copy()
    translucent.putalpha(Image.linear_gradient("L").resize(rgb.size))
    kinds = {
        "jpeg": saved(rgb, "JPEG"),
        "progressive": saved(rgb, "JPEG", progressive=True),
        "subsampled": saved(rgb, "JPEG", subsampling=2, quality=50),
        "grey jpeg": saved(rgb.convert("L"), "JPEG"),
        "cmyk": saved(rgb.convert("CMYK"), "JPEG"),
        "png": saved(rgb, "PNG"),
        "grey png": saved(rgb.convert("L"), "PNG"),
        "palette": saved(rgb.quantize(32), "PNG"),
        "palette with alpha": saved(rgb.quantize(32), "PNG", transparency=3),
        "one bit": saved(rgb.convert("1"), "PNG"),
        "alpha png": saved(translucent, "PNG"),
        "grey with a transparent value": saved(
            rgb.convert("L"), "PNG", transparency=90
        ),
        "a transparent colour": saved(rgb, "PNG", transparency=rgb.getpixel((9, 9))),
        "grey alpha": saved(translucent.convert("LA"), "PNG"),
        "webp": saved(rgb, "WEBP"),
        "lossless webp": saved(rgb, "WEBP", lossless=True),
        "alpha webp": saved(translucent, "WEBP", lossless=True),
        "bmp": saved(rgb, "BMP"),
        "palette bmp": saved(rgb.quantize(32), "BMP"),
        "16 bit": encoded(picture(5).astype(np.uint16) * 257, ".png"),
    }
    for way in range(2, 9):
        for kind in ("JPEG", "PNG", "WEBP"):
            kinds[f"{kind} turned {way}"] = saved(rgb, kind, exif=exif(way))
    kinds["alpha turned"] = saved(translucent, "PNG", exif=exif(6))
    for w, h in SIZES:
        kinds[f"{w} x {h}"] = encoded(cv2.resize(picture(7, 64), (w, h)))
    return kinds


def digests(kinds):
    """What all of them become, as one short text each."""
    found = {}
    for name, data in kinds.items():
        for i, record in enumerate(RECORDS):
            pixels = record.apply(data).tobytes()
            found[f"{name} {i}"] = hashlib.sha256(pixels).hexdigest()
    return found


@pytest.mark.parametrize("name", every_kind())
def test_every_kind_decodes_to_what_another_library_makes_of_it(name):
    data = every_kind()[name]
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    if image.mode != "CMYK":
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    expected = np.asarray(image.convert("RGB")).astype(int)
    got = decode(data)[:, :, ::-1]
    assert got.dtype == np.uint8 and got.shape == expected.shape
    assert np.abs(got - expected).max() <= 1  # CMYK: rounding


def test_the_crop_and_the_mean_of_areas_are_as_documented():
    image = picture(1, 96)
    record = Preprocessing(image_size=32, border_crop=0.1667)
    inner = image[16:80, 16:80, ::-1].reshape(32, 2, 32, 2, 3).astype(int)
    expected = (inner.sum((1, 3)) + 2) // 4
    np.testing.assert_array_equal(record.apply(encoded(image, ".png")), expected)


def test_without_crop_and_at_its_own_size_an_image_keeps_its_pixels():
    image = picture(1, 48)
    got = Preprocessing(image_size=48, border_crop=0).apply(encoded(image, ".png"))
    np.testing.assert_array_equal(got, image[:, :, ::-1])


def letterbox(size, border_crop=0.0):
    return Preprocessing(size, border_crop, resize_mode="letterbox")


def extent(pixels):
    """Of what is dark in an RGB picture: height and width."""
    dark = pixels[:, :, 0] < 128
    return [int(np.ptp(np.flatnonzero(dark.any(axis)))) + 1 for axis in (1, 0)]


@pytest.mark.parametrize(
    "height, width", [(400, 300), (300, 400), (601, 257), (90, 200)]
)
def test_a_letterboxed_circle_stays_a_circle_and_is_centred(height, width):
    image = np.full((height, width, 3), 255, np.uint8)
    radius = min(height, width) * 0.4
    across, down = np.meshgrid(np.arange(width), np.arange(height))
    image[np.hypot(across - (width - 1) / 2, down - (height - 1) / 2) < radius] = 0
    pixels = letterbox(256).crop_and_resize(image)
    tall, wide = extent(pixels)
    assert abs(tall - 2 * radius * 256 / max(height, width)) <= 1.5
    assert abs(tall - wide) <= 1
    middle = [np.flatnonzero(pixels[:, :, 0].min(axis) < 128).mean() for axis in (1, 0)]
    assert np.abs(np.subtract(middle, 127.5)).max() <= 0.5
    squashed = extent(Preprocessing(256, 0).crop_and_resize(image))
    assert abs(squashed[0] / squashed[1] - width / height) < 0.1 * width / height


@pytest.mark.parametrize("side", [10, 11, 17, 31, 32])
@pytest.mark.parametrize("lying", [False, True])
def test_a_letterbox_repeats_the_last_pixels_on_both_sides(side, lying):
    image = picture(4, 32)[:, :side]
    expected = np.pad(  # at its own size: nothing is resized
        image, ((0, 0), ((32 - side) // 2, (33 - side) // 2), (0, 0)), "edge"
    )
    if lying:
        image, expected = (np.swapaxes(each, 0, 1) for each in (image, expected))
    got = letterbox(32).crop_and_resize(np.ascontiguousarray(image))
    np.testing.assert_array_equal(got, expected[:, :, ::-1])


@pytest.mark.parametrize("height", [1, 2, 7, 40, 333])
@pytest.mark.parametrize("width", [1, 3, 16, 1000])
@pytest.mark.parametrize("crop", [0, 0.03, 0.49])
def test_a_letterbox_takes_any_shape_and_keeps_its_colour(height, width, crop):
    image = np.full((height, width, 3), (10, 120, 230), np.uint8)
    for size in (8, 33):
        pixels = letterbox(size, crop).crop_and_resize(image)
        assert pixels.shape == (size, size, 3)
        assert (pixels == (230, 120, 10)).all()


@pytest.mark.parametrize("mode", RESIZE_MODES)
@pytest.mark.parametrize("height, width", [(480, 640), (640, 480), (300, 300)])
def test_a_point_of_the_result_is_found_in_the_photograph(height, width, mode):
    x, y, radius = 0.7 * width, 0.3 * height, 24
    photograph = np.zeros((height, width, 3), np.uint8)
    cv2.circle(photograph, (round(x), round(y)), radius, (255, 255, 255), -1)
    record = Preprocessing(image_size=256, border_crop=0.03, resize_mode=mode)
    rows, columns = np.nonzero(record.crop_and_resize(photograph)[..., 0] > 127)
    seen = (np.array([columns.mean(), rows.mean()]) + 0.5) / 256

    across = (np.ptp(columns) + 1) / 256
    found = record.in_photograph(np.array([*seen, across]), height, width)

    assert found[:2] == pytest.approx([0.7, 0.3], abs=0.005)
    assert found[2] == pytest.approx(2 * radius / width, rel=0.06)
    assert (record.in_photograph(seen, height, width) == found[:2]).all()


def test_of_a_square_photograph_both_modes_make_the_same():
    data = encoded(picture(6, 77))
    for size in (32, 77, 100):
        squashed = Preprocessing(size).apply(data)
        np.testing.assert_array_equal(letterbox(size, 0.03).apply(data), squashed)


def test_a_record_keeps_its_resize_mode_on_disk(tmp_path):
    for record in RECORDS:
        record.save(tmp_path / "preprocessing.json")
        assert Preprocessing.load(tmp_path / "preprocessing.json") == record


def test_an_older_record_squashes_as_it_always_did():
    older = """{"image_size": 40, "border_crop": 0.05, "interpolation": "area",
        "channel_order": "RGB", "dtype": "uint8",
        "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}"""
    record = Preprocessing.from_json(older)
    assert record.resize_mode == "squash"
    image = cv2.resize(picture(8, 64), (120, 80))
    inner = cv2.resize(image[4:76, 6:114], (40, 40), interpolation=cv2.INTER_AREA)
    got = record.apply(encoded(image, ".png"))
    np.testing.assert_array_equal(got, inner[:, :, ::-1])


def test_an_unknown_resize_mode_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="'crop'; choose squash or letterbox"):
        Preprocessing.from_json('{"resize_mode": "crop"}')


def test_other_processes_threads_and_repetitions_make_the_same_pixels():
    kinds = every_kind()
    expected = digests(kinds)
    assert digests(kinds) == expected
    threads = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        assert digests(kinds) == expected
    finally:
        cv2.setNumThreads(threads)
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        assert pool.submit(digests, kinds).result() == expected


@pytest.mark.parametrize("crop", [0.25, 0.4, 0.49])
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 1), (2, 50)])
def test_the_crop_always_leaves_a_pixel(crop, size):
    data = encoded(np.full((*size, 3), 77, np.uint8), ".png")
    assert (Preprocessing(16, border_crop=crop).apply(data) == 77).all()


@pytest.mark.slow
def test_the_servers_environment_makes_the_same_pixels(tmp_path):
    python = ROOT / ".venv-serving" / "bin" / "python"
    if not python.exists():
        pytest.skip("there is no serving environment (.venv-serving)")
    kinds = every_kind() | {
        f"shape {w} x {h}": encoded(cv2.resize(picture(w + h, 64), (w, h)), ".png")
        for w, h in itertools.product((1, 2, 17, 64, 99, 200, 333), repeat=2)
    }
    for name, data in kinds.items():
        (tmp_path / name).write_bytes(data)
    program = """if True:
        import hashlib, json, pathlib, sys
        sys.path.insert(0, sys.argv[1])
        from preprocessing import Preprocessing
        records = [Preprocessing.from_json(text) for text in sys.argv[3:]]
        found = {}
        for path in pathlib.Path(sys.argv[2]).iterdir():
            for i, record in enumerate(records):
                pixels = record.apply(path.read_bytes()).tobytes()
                found[f"{path.name} {i}"] = hashlib.sha256(pixels).hexdigest()
        print(json.dumps(found))"""
    records = [record.to_json() for record in RECORDS]
    done = subprocess.run(
        [python, "-c", program, ROOT / "data_prep", tmp_path, *records],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == digests(kinds)


def test_preprocessing_needs_nothing_of_ours():
    program = "import sys; sys.path[0] = sys.argv[1]; import preprocessing"
    subprocess.run(
        [sys.executable, "-c", program, ROOT / "data_prep"], check=True, cwd="/"
    )


@pytest.mark.parametrize("name", ["jpeg", "png", "webp", "bmp", "progressive"])
@pytest.mark.parametrize("share", [0.3, 0.9, 0.99])
def test_a_file_that_ends_early_is_refused(name, share):
    data = every_kind()[name]
    with pytest.raises(BrokenImage):
        decode(data[: int(share * len(data))])


def png(width, height, bits, colour, pixels, *more):
    """A PNG by its parts; ``more`` are chunks of (name, body)."""

    def chunk(name, body):
        check = struct.pack(">I", zlib.crc32(name + body))
        return struct.pack(">I", len(body)) + name + body + check

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    chunks = (b"IHDR", header), *more, (b"IDAT", zlib.compress(pixels)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*parts) for parts in chunks)


@pytest.mark.parametrize("seed", range(6))
def test_a_film_that_a_phone_appends_is_no_damage(seed):
    whole = encoded(picture(3))
    film = np.random.default_rng(seed).integers(0, 256, 1 << 20, np.uint8).tobytes()
    assert b"\xff\xda" in film
    np.testing.assert_array_equal(decode(whole + film), decode(whole))


def test_transparency_is_seen_behind_a_long_text():
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([10, 20, 30] * 256)
    buffer = io.BytesIO()
    palette.save(buffer, "PNG", transparency=0)
    data = buffer.getvalue()
    words = b"tEXt" + b"Comment\0" + b"x" * 9000
    chunk = struct.pack(">I", len(words) - 4) + words
    chunk += struct.pack(">I", zlib.crc32(words))
    assert (decode(data) == 255).all()
    assert (decode(data[:33] + chunk + data[33:]) == 255).all()


def test_a_small_file_that_claims_gigapixels_is_refused():
    with pytest.raises(BrokenImage, match="pixels"):
        decode(png(60_000, 60_000, 8, 2, bytes(1000)))


@pytest.mark.parametrize(
    "bits, value, row, expected",
    [
        (1, 0, b"\xa0", [255, 255, 255, 255]),
        (2, 1, b"\x1b", [0, 255, 170, 255]),
        (4, 2, b"\x12\x34", [17, 255, 51, 68]),
        (8, 30, bytes([10, 20, 30, 31]), [10, 20, 255, 31]),
        (16, 0x1234, b"\x12\x34\x12\x35\x11\x34\0\0", [255, 0x12, 0x11, 0]),
        (8, 1000, bytes([10, 232, 30, 31]), [10, 232, 30, 31]),
    ],
)
def test_the_transparent_value_of_a_grey_png_becomes_white(bits, value, row, expected):
    transparent = b"tRNS", struct.pack(">H", value)
    got = decode(png(4, 1, bits, 0, b"\0" + row, transparent))
    assert got[0].tolist() == [[grey] * 3 for grey in expected]


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
@example(b"RIFF\x04\x00\x00\x00WEBPVP8X")
@example(b"RIFF\x04\x00\x00\x00WEBPVP8L")
@example(b"\x89PNG\r\n\x1a\nIEND")
@example(b"\xff\xd8\xff\xe1\x00\x00Exif\0\0II\xff\xda\xff\xd9")
@example(b"BM\0\0\0\0")
def test_no_bytes_fail_in_any_other_way_than_broken_image(data):
    with pytest.raises(BrokenImage):
        decode(data)


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(sorted(every_kind())),
    st.lists(
        st.tuples(st.integers(0, 120), st.integers(0, 255)), min_size=1, max_size=6
    ),
)
def test_a_damaged_header_gives_pixels_or_broken_image(name, changes):
    data = bytearray(every_kind()[name])
    for position, value in changes:
        data[position] = value
    try:
        pixels = Preprocessing(image_size=16).apply(bytes(data))
    except BrokenImage as error:
        assert "\n" not in str(error)
    else:
        assert pixels.shape == (16, 16, 3) and pixels.dtype == np.uint8
