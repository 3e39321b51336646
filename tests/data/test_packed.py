"""The prepared folder: what is written is what is read."""

import numpy as np
import pytest

from data_prep import packed
from data_prep.errors import InputError


def write_example(folder, count=5, size=8):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, size, size, 3), np.uint8)
    labels = np.arange(count) % 2
    packed.write_split(folder / "train", (i.tobytes() for i in images), labels, size)
    return images, labels


def test_a_split_is_read_back_as_a_read_only_memory_map(tmp_path):
    images, labels = write_example(tmp_path)
    got_images, got_labels = packed.load_split(tmp_path, "train")
    assert isinstance(got_images, np.memmap) and not got_images.flags.writeable
    assert got_labels.dtype == np.int64
    np.testing.assert_array_equal(got_images, images)
    np.testing.assert_array_equal(got_labels, labels)


def test_an_empty_split_can_be_opened(tmp_path):
    packed.write_split(tmp_path / "val", [], np.zeros(0, np.int64), 8)
    images, labels = packed.load_split(tmp_path, "val")
    assert images.shape == (0, 8, 8, 3) and labels.shape == (0,)


def test_names_with_commas_quotes_and_umlauts_survive_the_manifest(tmp_path):
    rows = [
        packed.ManifestRow('a/"x", y.jpg', "Ä", "a", "0" * 64, "f" * 16, "A/1", "train")
    ]
    packed.write_manifest(tmp_path, rows)
    packed.write_classes(tmp_path, ["Ä", "space"])
    assert packed.read_manifest(tmp_path) == rows
    assert packed.read_classes(tmp_path) == ["Ä", "space"]


def test_a_folder_that_is_no_prepared_set_is_named_in_one_line(tmp_path):
    for read in (
        packed.read_classes,
        packed.read_manifest,
        lambda folder: packed.load_split(folder, "train"),
    ):
        with pytest.raises(InputError) as error:
            read(tmp_path)
        assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)


def test_a_cut_off_images_file_is_refused(tmp_path):
    write_example(tmp_path)
    path = tmp_path / "train" / "images.npy"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="train"):
        packed.load_split(tmp_path, "train")


def test_arrays_of_different_lengths_are_refused(tmp_path):
    write_example(tmp_path)
    np.save(tmp_path / "train" / "labels.npy", np.zeros(3, np.int64))
    with pytest.raises(InputError, match="damaged"):
        packed.load_split(tmp_path, "train")
