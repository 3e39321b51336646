"""What size and proportions are chosen for which photographs."""

import cv2
import pytest
from raw_sets import encoded, picture, write

from data_prep.drawing.hand_poses import CLASSES
from data_prep.prepare import arguments, check, choose_pixels
from data_prep.resolution import choose, typical_shorter_side
from data_prep.sources import find_images

FLOWERS = ("daisy", "rose")


@pytest.mark.parametrize(
    "classes, side, given, expected",
    [
        (CLASSES, 200, {}, (256, "letterbox")),
        (("A", "B", "nothing"), 64, {}, (256, "letterbox")),
        (CLASSES, 63, {}, (128, "squash")),
        (("A", "B", "rose"), 200, {}, (128, "squash")),
        (FLOWERS, 2000, {}, (128, "squash")),
        (("A",), 200, {"image_size": 96}, (96, "letterbox")),
        (("A",), 28, {"image_size": 96}, (96, "squash")),
        (FLOWERS, 200, {"image_size": 96}, (96, "squash")),
        (("A",), 200, {"resize_mode": "squash"}, (128, "squash")),
        (("A",), 200, {"resize_mode": "letterbox"}, (256, "letterbox")),
        (FLOWERS, 200, {"resize_mode": "letterbox"}, (128, "letterbox")),
        (("A",), 200, {"image_size": 64, "resize_mode": "squash"}, (64, "squash")),
        (
            FLOWERS,
            9,
            {"image_size": 300, "resize_mode": "letterbox"},
            (300, "letterbox"),
        ),
    ],
)
def test_hands_keep_their_proportions_and_what_is_given_wins(
    classes, side, given, expected
):
    assert choose(classes, side, **given)[:2] == expected


@pytest.mark.parametrize(
    "classes, side, given, reason",
    [
        (CLASSES, 200, {}, "letterbox to 256 px: photographs of hand signs, typi"),
        (("A", "rose"), 200, {}, "squash to 128 px: rose is no hand sign"),
        (("A",), 28, {}, "squash to 128 px: photographs of typically 28 px, and"),
        (
            ("A",),
            28,
            {"image_size": 40, "resize_mode": "squash"},
            "squash to 40 px: both were given",
        ),
    ],
)
def test_the_choice_says_why(classes, side, given, reason):
    assert choose(classes, side, **given)[2].startswith(reason)


def write_photographs(folder, shapes, classes=("A", "B")):
    for label in classes:
        for i, (height, width) in enumerate(shapes):
            image = cv2.resize(picture(i), (width, height))
            write(folder / label / f"{i}.png", encoded(image, ".png"))
    return find_images([folder]).images


def test_the_typical_size_is_the_median_of_the_shorter_sides(tmp_path):
    shapes = [(50, 90), (80, 70), (400, 300)]
    assert typical_shorter_side(write_photographs(tmp_path, shapes)) == 70


def test_broken_photographs_do_not_count_and_are_left_to_preparation(tmp_path):
    images = write_photographs(tmp_path, [(50, 90)])
    write(tmp_path / "A" / "0.png", b"no image")
    assert typical_shorter_side(images) == 50
    write(tmp_path / "B" / "0.png", b"")
    assert typical_shorter_side(images) == 0


def chosen(options, images):
    args = arguments().parse_args(options)
    return choose_pixels(check(args).preprocessing, args, images)


def test_the_command_chooses_by_the_photographs_it_prepares(tmp_path, capsys):
    images = write_photographs(tmp_path / "signs", [(90, 120)])
    record = chosen(["--border-crop", "0.1"], images)
    assert (record.image_size, record.resize_mode) == (256, "letterbox")
    assert record.border_crop == 0.1
    assert "photographs of hand signs, typically 90 px" in capsys.readouterr().out
    flowers = write_photographs(tmp_path / "flowers", [(90, 120)], FLOWERS)
    record = chosen([], flowers)
    assert (record.image_size, record.resize_mode) == (128, "squash")
    record = chosen(["--image-size", "40", "--resize-mode", "squash"], images)
    assert (record.image_size, record.resize_mode) == (40, "squash")
