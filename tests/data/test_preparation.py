"""The prepared set: contents, contracts, determinism, nothing half-written."""

import filecmp
import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from raw_sets import encoded, picture, write, write_raw_set

from data_prep import packed
from data_prep.errors import InputError
from data_prep.preparation import Options, prepare
from data_prep.preprocessing import Preprocessing
from data_prep.sources import find_images
from data_prep.splitting.methods import SplitOptions

SMALL = Options(Preprocessing(image_size=32))


def files(folder):
    return sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file())


def test_every_image_is_stored_as_serving_would_see_it(raw, tmp_path):
    images = find_images([raw]).images
    summary = prepare(images, tmp_path / "out", SMALL, workers=1)
    rows = packed.read_manifest(tmp_path / "out")
    classes = packed.read_classes(tmp_path / "out")
    record = Preprocessing.load(tmp_path / "out" / "preprocessing.json")
    by_path = {image.path: image for image in images}
    assert classes == ["A", "B", "C"]
    assert len(rows) == len(images) == sum(summary["counts"].values())
    for split in packed.SPLITS:
        pixels, labels = packed.load_split(tmp_path / "out", split)
        mine = [row for row in rows if row.split == split]
        assert len(mine) == len(pixels) == summary["counts"][split] > 0
        for row, stored, label in zip(mine, pixels, labels):
            image = by_path[row.path]
            np.testing.assert_array_equal(stored, record.apply(image.read()))
            assert classes[label] == row.label == image.label
            assert row.source == "raw"


def test_letterboxed_images_are_stored_with_their_record(raw, tmp_path):
    for label in "AB":
        for i in range(10):  # upright photographs beside the square ones
            image = cv2.resize(picture(7000 + i + 100 * ord(label)), (40, 90))
            write(raw / label / f"upright{i}.png", encoded(image, ".png"))
    images = find_images([raw]).images
    pixels = Preprocessing(image_size=32, resize_mode="letterbox")
    prepare(images, tmp_path / "out", Options(pixels), workers=1)
    record = Preprocessing.load(tmp_path / "out" / "preprocessing.json")
    assert record.resize_mode == "letterbox"
    by_path = {image.path: image.read() for image in images}
    rows = iter(packed.read_manifest(tmp_path / "out"))
    for split in packed.SPLITS:
        for stored in packed.load_split(tmp_path / "out", split)[0]:
            expected = record.apply(by_path[next(rows).path])
            np.testing.assert_array_equal(stored, expected)


def test_mean_and_deviation_are_those_of_the_training_pixels(raw, tmp_path):
    prepare(find_images([raw]).images, tmp_path / "out", SMALL, workers=1)
    record = Preprocessing.load(tmp_path / "out" / "preprocessing.json")
    pixels, _ = packed.load_split(tmp_path / "out", "train")
    np.testing.assert_allclose(record.mean, pixels.mean((0, 1, 2)) / 255, atol=1e-6)
    np.testing.assert_allclose(record.std, pixels.std((0, 1, 2)) / 255, atol=1e-6)


def test_processes_and_order_of_the_input_do_not_change_a_byte(raw, tmp_path):
    write_raw_set(raw, count=60)
    images = find_images([raw]).images
    prepare(images, tmp_path / "one", SMALL, workers=1)
    prepare(images, tmp_path / "two", SMALL, workers=2)
    names = files(tmp_path / "one")
    assert files(tmp_path / "two") == names
    for name in names:
        assert filecmp.cmp(tmp_path / "one" / name, tmp_path / "two" / name, False)


def test_a_truncated_image_stops_it_with_one_line_and_leaves_nothing(raw, tmp_path):
    broken = raw / "B" / "B3.jpg"
    broken.write_bytes(broken.read_bytes()[:-40])
    with pytest.raises(InputError, match=r"^raw/B/B3.jpg: .*truncated.*remove"):
        prepare(find_images([raw]).images, tmp_path / "out", SMALL, workers=2)
    assert not list(tmp_path.glob("out*"))


def test_the_rest_of_an_interrupted_run_is_replaced(raw, tmp_path):
    write(tmp_path / "out.partial" / "train" / "images.npy", b"half")
    prepare(find_images([raw]).images, tmp_path / "out", SMALL, workers=1)
    assert packed.load_split(tmp_path / "out", "train")[0].shape[1:] == (32, 32, 3)
    assert not (tmp_path / "out.partial").exists()


def test_a_finished_set_is_not_overwritten(raw, tmp_path):
    write(tmp_path / "out" / "classes.txt", b"mine\n")
    with pytest.raises(InputError, match="exists already"):
        prepare(find_images([raw]).images, tmp_path / "out", SMALL, workers=1)
    assert packed.read_classes(tmp_path / "out") == ["mine"]


def test_neighbouring_and_near_duplicate_frames_stay_on_one_side(tmp_path):
    for label in "AB":
        for scene in range(10):
            for shot in range(3):  # the same scene, a little brighter each time
                image = np.clip(picture(scene + 50 * ord(label)) + 2 * shot, 0, 255)
                name = f"{label}{(scene + 10 * shot):03}.png"
                data = encoded(image.astype(np.uint8), ".png")
                write(tmp_path / "raw" / label / name, data)
    images = find_images([tmp_path / "raw"]).images
    summary = prepare(images, tmp_path / "out", SMALL, workers=1)
    sides = {}
    for row in packed.read_manifest(tmp_path / "out"):
        scene = row.label, int(row.path[-7:-4]) % 10
        sides.setdefault(scene, set()).add(row.split)
    assert all(len(splits) == 1 for splits in sides.values())
    assert summary["twin_share"] == {"val": 0, "test": 0}
    random_split = Options(SMALL.preprocessing, SplitOptions("random"))
    leaky = prepare(images, tmp_path / "leaky", random_split, 1)
    assert leaky["twin_share"]["test"] > 0.5
    assert "of the test images have a near-duplicate" in leaky["warnings"][0]


def test_splits_too_small_to_judge_by_are_warned_of(tmp_path):
    raw = write_raw_set(tmp_path / "few", count=8)
    images = find_images([raw]).images
    told = prepare(images, tmp_path / "out", SMALL, workers=1)["warnings"]
    classes = "images of 3 of 3 classes (such as A 1, B 1, C 1)"
    assert f"val has fewer than 5 {classes}: which epoch is kept is left to" in told[0]
    assert f"test has fewer than 5 {classes}: how good the model is" in told[1]
    assert told[2].startswith("test has 3 images in all: where 2 of them are right")

    none = replace(SMALL.split, ratios=(80, 20, 0))  # nobody wants to judge by a test
    options = Options(SMALL.preprocessing, none)
    told = prepare(images, tmp_path / "no test", options, workers=1)["warnings"]
    assert not [line for line in told if line.startswith("test")]


def test_the_summary_is_what_the_folder_says(raw, tmp_path):
    summary = prepare(find_images([raw]).images, tmp_path / "out", SMALL, workers=1)
    text = (tmp_path / "out" / "split.json").read_text(encoding="utf-8")
    assert json.loads(text) == summary
    assert summary["method"] == "group" and summary["seed"] == 0
