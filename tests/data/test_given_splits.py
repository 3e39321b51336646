"""Sets that somebody else has made for testing: taken as they are."""

import json
import shutil

import pytest
from raw_sets import encoded, picture, write, write_raw_set

from data_prep import packed
from data_prep.errors import InputError
from data_prep.preparation import Options, prepare
from data_prep.prepare import all_folders, arguments, check
from data_prep.preprocessing import Preprocessing
from data_prep.sources import find_images

PIXELS = ["--image-size", "16", "--resize-mode", "squash"]


@pytest.fixture
def official(raw, tmp_path):
    """A test set of others, one of whose photographs is in the training set too."""
    folder = write_raw_set(tmp_path / "official", count=3, seed=500)
    shutil.copy(raw / "A" / "A0.jpg", folder / "A" / "twin.jpg")
    return folder


def prepared(folder, *options):
    """Prepare what a command line says; the summary, and the rows of the manifest."""
    args = arguments().parse_args([*map(str, options), *PIXELS])
    split = check(args).split
    images = find_images(all_folders(args)).images
    summary = prepare(images, folder, Options(Preprocessing(16), split), workers=1)
    return summary, packed.read_manifest(folder)


def test_the_given_set_is_the_test_split_and_the_rest_is_divided(
    raw, official, tmp_path
):
    options = ["--raw", raw, "--test-set", official, "--ratios", 75, 25, 0]
    summary, rows = prepared(tmp_path / "out", *options)

    test = {row.path for row in rows if row.split == "test"}
    assert test == {image.path for image in find_images([official]).images}
    assert all(row.path.startswith("raw/") for row in rows if row.split != "test")
    assert summary["counts"] == {"train": 27, "val": 9, "test": 10}
    assert summary["method"] == "given" and summary["test_set"] == ["official"]
    # what both have is counted, and said
    assert summary["train_twins"] == 1 and summary["twin_share"]["test"] == 0.1
    assert any("1 of the 27 training images" in x for x in summary["warnings"])


def test_twins_are_left_out_of_training_on_request_alone(raw, official, tmp_path):
    options = ["--raw", raw, "--test-set", official, "--ratios", 75, 25, 0]
    summary, rows = prepared(tmp_path / "out", *options, "--drop-twins")

    assert summary["train_twins"] == 0 and summary["left_out"] == 1
    assert "raw/A/A0.jpg" not in {row.path for row in rows}
    assert "official/A/twin.jpg" in {row.path for row in rows}


def test_both_sets_can_be_given(raw, official, tmp_path):
    own = write_raw_set(tmp_path / "own", count=2, seed=900)
    summary, _ = prepared(
        tmp_path / "out", "--raw", raw, "--val-set", own, "--test-set", official
    )
    assert summary["counts"] == {"train": 36, "val": 6, "test": 10}


def test_a_class_that_cannot_be_trained_is_named(raw, official, tmp_path):
    for label in ("J", "Z"):
        write(official / label / "1.jpg", encoded(picture(1)))
    with pytest.raises(InputError, match="left of class J, Z;"):
        prepared(tmp_path / "out", "--raw", raw, "--test-set", official)
    assert not list(tmp_path.glob("out*"))


def test_a_table_can_be_the_test_set_of_a_table(tmp_path):
    header = "label," + ",".join(f"pixel{i}" for i in range(1, 785)) + "\n"
    for name, count in (("train", 8), ("test", 2)):
        rows = (
            f"{label}," + ",".join(str((i * 37 + label + j) % 256) for j in range(784))
            for label in (0, 2, 24)
            for i in range(count)
        )
        (tmp_path / f"{name}.csv").write_text(header + "\n".join(rows) + "\n")
    train, test = tmp_path / "train.csv", tmp_path / "test.csv"
    summary, rows = prepared(tmp_path / "out", "--raw", train, "--test-set", test)
    assert summary["counts"]["test"] == 6
    assert sorted(summary["classes"]) == ["A", "C", "Y"]
    assert json.loads((tmp_path / "out" / "split.json").read_text()) == summary
