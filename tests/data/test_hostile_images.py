"""Images that are meant to do harm are refused or read as the still that they are."""

import io
import subprocess
import time
from functools import cache

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps
from raw_sets import encoded, picture

from benchmarks import hostile_images as hostile
from benchmarks.hostile_images import nasties
from data_prep import image_file
from data_prep.image_file import (
    BrokenImage,
    TooLarge,
    TooManyPixels,
    check_request,
    examine,
)
from data_prep.paths import ROOT
from data_prep.preprocessing import decode

made = cache(lambda: nasties(megabytes=1))


@pytest.mark.parametrize("name", nasties())
def test_hostile_files_give_pixels_or_one_sentence(name):
    try:
        pixels = decode(made()[name]())
    except BrokenImage as error:
        assert "\n" not in str(error) and len(str(error)) < 300
    else:
        assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3


@pytest.mark.parametrize("name", [name for name in nasties() if "APNG" in name])
def test_of_an_animated_png_the_decoder_sees_its_still_picture_alone(name):
    data = made()[name]()
    encoded = examine(data).encoded
    assert not any(part in encoded for part in (b"acTL", b"fcTL", b"fdAT"))
    if "filter 9" in name:
        with pytest.raises(BrokenImage, match="damaged"):
            decode(data)
    else:
        assert not decode(data)[..., :3].any() or "alpha" in name


def test_an_animated_webp_gives_its_first_picture():
    first, second = (Image.fromarray(picture(seed)) for seed in (1, 2))
    buffer = io.BytesIO()
    first.save(buffer, "WEBP", save_all=True, append_images=[second], lossless=True)
    assert examine(buffer.getvalue()).traits == {"animated"}
    np.testing.assert_array_equal(
        decode(buffer.getvalue())[:, :, ::-1], np.asarray(first)
    )


def test_a_jpeg_of_several_pictures_gives_its_first():
    first, second = picture(1), picture(2)
    buffer = io.BytesIO()
    Image.fromarray(first).save(
        buffer, "MPO", save_all=True, append_images=[Image.fromarray(second)]
    )
    whole = buffer.getvalue()
    assert whole.count(b"\xff\xd8\xff") == 2
    assert examine(whole).encoded.count(b"\xff\xd8") == 1
    expected = np.asarray(Image.open(io.BytesIO(whole)).convert("RGB")).astype(int)
    assert np.abs(decode(whole)[:, :, ::-1] - expected).max() <= 1


@pytest.mark.parametrize(
    "name, reason",
    [
        ("JPEG of empty segments", "parts"),
        ("JPEG of filling", "parts"),
        ("JPEG of stuffed zeros", "parts"),
        ("PNG of empty chunks", "parts"),
        ("PNG of empty pixel chunks", "parts"),
        ("WebP of empty chunks", "parts"),
        ("WebP, empty chunks in a picture", "no whole picture"),
        ("JPEG, 20,000 scans", "scans"),
        ("JPEG, 60 scans of 64 megapixels", "scans"),
    ],
)
def test_no_header_takes_long_however_many_parts_it_has(name, reason):
    data = nasties(megabytes=20)[name]()
    start = time.process_time()
    with pytest.raises(BrokenImage, match=reason):
        decode(data)
    # a loop over all parts took minutes
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    "name",
    ["JPEG, arithmetic coding", "JPEG, lossless coding", "JPEG, 12 bits"],
)
def test_codings_that_no_camera_writes_are_refused_before_decoding(name):
    with pytest.raises(BrokenImage, match="usual JPEG"):
        examine(made()[name]())


def test_what_is_not_needed_is_cut_away_and_the_pixels_stay():
    image = picture(5)
    plain = encoded(image)
    notes = [
        hostile.segment(code, b"anything" * 99)
        for code in (*range(0xE1, 0xF0), 0xFE)
        if code != 0xEE
    ]
    examined = examine(hostile.with_segments(plain, *notes) + b"a film")
    assert examined.encoded == plain
    chunks = [hostile.chunk(name, b"x" * 99) for name in (b"tEXt", b"eXIf", b"prVt")]
    png = encoded(image, ".png")
    assert examine(png[:33] + b"".join(chunks) + png[33:]).encoded == png


def turned(case: str, way: int) -> bytes:
    """A picture with an orientation, where readers have missed it."""
    block = b"Exif\0\0" + hostile.big_endian_exif(way, kind=4 if case == "long" else 3)
    exif = hostile.segment(0xE1, block)
    before = {
        "filling": b"\xff" * 77,
        "long": b"",
        "profile": b"".join(
            hostile.segment(0xE2, b"ICC_PROFILE\0%c\6" % number + bytes(60_000))
            for number in range(1, 7)
        ),
    }[case]
    plain = encoded(cv2.resize(picture(9), (60, 40)))
    return hostile.with_segments(plain, before + exif)


@pytest.mark.parametrize("way", range(1, 9))
@pytest.mark.parametrize("case", ["filling", "long", "profile"])
def test_an_orientation_is_found_wherever_another_library_finds_it(case, way):
    data = turned(case, way)
    image = Image.open(io.BytesIO(data))
    assert image.getexif()[0x0112] == way
    expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB")).astype(int)
    got = decode(data)[:, :, ::-1]
    assert got.shape == expected.shape and np.abs(got - expected).max() <= 1
    assert examine(data).orientation == way


def test_a_photograph_out_of_focus_is_small_and_is_read():
    blurred = cv2.resize(picture(4, 8), (4000, 3000), interpolation=cv2.INTER_CUBIC)
    data = cv2.imencode(".webp", blurred, [cv2.IMWRITE_WEBP_QUALITY, 20])[1].tobytes()
    assert len(data) < 100_000
    assert decode(data).shape == (3000, 4000, 3)


def test_a_large_jpeg_is_read_at_half_its_size(monkeypatch):
    image = cv2.resize(picture(6), (333, 251), interpolation=cv2.INTER_CUBIC)
    monkeypatch.setattr(image_file, "HALVED_ABOVE", 333 * 251 - 1)
    for options in ([], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]):
        half = decode(hostile.jpeg(image, *options))
        assert half.shape == (126, 167, 3)
        small = cv2.resize(image, (167, 126), interpolation=cv2.INTER_AREA)
        # colours are stored coarser than light
        assert np.abs(half.astype(int) - small).mean() < 6
    assert decode(encoded(image, ".png")).shape == (251, 333, 3)


@pytest.mark.slow
def test_the_server_reads_half_as_training_does(tmp_path, monkeypatch):
    python = ROOT / ".venv-serving" / "bin" / "python"
    if not python.exists():
        pytest.skip("there is no serving environment (.venv-serving)")
    image = cv2.resize(picture(6), (333, 251), interpolation=cv2.INTER_CUBIC)
    (tmp_path / "large.jpg").write_bytes(hostile.jpeg(image))
    program = """if True:
        import pathlib, sys
        sys.path.insert(0, sys.argv[1])
        import image_file, preprocessing
        image_file.HALVED_ABOVE = 1000
        data = pathlib.Path(sys.argv[2]).read_bytes()
        sys.stdout.buffer.write(preprocessing.decode(data).tobytes())"""
    done = subprocess.run(
        [python, "-c", program, ROOT / "data_prep", tmp_path / "large.jpg"],
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    monkeypatch.setattr(image_file, "HALVED_ABOVE", 1000)
    assert done.stdout == decode((tmp_path / "large.jpg").read_bytes()).tobytes()


def test_cameras_of_200_megapixels_are_within_the_limits_and_wider_claims_are_not():
    # a header alone: the rest would have to be as long as it is in such files
    photo = hostile.jpeg(picture(1)) + bytes(1 << 20)
    examine(hostile.claiming(photo, 16_320, 12_240))
    examine(hostile.claiming(photo, 12_000, 9000))
    with pytest.raises(TooLarge, match="claims 20000 x 20000 pixels.* scale it down"):
        examine(hostile.claiming(photo, 20_000, 20_000))


def test_the_images_of_one_request_are_bounded_together():
    black = made()["PNG, 33 megapixels of nothing"]()
    check_request([black] * 8)
    with pytest.raises(TooManyPixels, match="2123 megapixels together"):
        check_request([black] * 64)
    check_request([b"", b"no image"] * 99)


def test_a_file_larger_than_any_photograph_is_refused(monkeypatch):
    monkeypatch.setattr(image_file, "MAX_FILE", 1 << 20)
    with pytest.raises(TooLarge, match="more than 1 MiB"):
        decode(encoded(picture(1)) + bytes(1 << 20))


def test_the_same_seed_and_number_damage_a_file_in_the_same_way():
    files = hostile.originals([picture(1)])
    for file in files:
        decode(file)
    mutants = [hostile.mutated(files, 1, number) for number in range(50)]
    assert mutants == [hostile.mutated(files, 1, number) for number in range(50)]
    assert len(set(mutants)) > 45


def test_damaged_files_give_pixels_or_one_sentence():
    files = hostile.originals([picture(1)])
    for number in range(200):
        try:
            pixels = decode(hostile.mutated(files, 2, number))
        except BrokenImage as error:
            assert "\n" not in str(error)
        else:
            assert pixels.dtype == np.uint8 and pixels.shape[2:] == (3,)
