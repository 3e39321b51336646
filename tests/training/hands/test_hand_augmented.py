"""Photographs that are varied before they are read once more."""

import numpy as np
import pytest
from hand_photographs import photographs

from training.hands.augmented import AugmentedPhotographs
from training.hands.picked import PickedPhotographs, digest


@pytest.fixture(scope="module")
def images():
    return photographs("BL")


def test_a_varied_photograph_is_the_same_whenever_it_is_asked_for(images):
    rows = np.array([1, 0, 1, 1])
    varied = AugmentedPhotographs(images, rows, seed=3)
    whole = varied[0:4]
    assert whole.dtype == np.uint8 and whole.shape == varied.shape == (4, 256, 256, 3)
    np.testing.assert_array_equal(varied[2:9], whole[2:])
    np.testing.assert_array_equal(AugmentedPhotographs(images, rows, 3)[:], whole)
    assert (AugmentedPhotographs(images, rows, 4)[:] != whole).any()


def test_what_was_read_is_known_again_by_the_photographs_and_the_seed(images):
    rows = np.array([1, 0, 1])
    varied = digest(AugmentedPhotographs(images, rows, seed=3))
    assert varied == digest(AugmentedPhotographs(images.copy(), rows, seed=3))
    others = [
        AugmentedPhotographs(images, rows, seed=4),
        AugmentedPhotographs(images, rows[:2], seed=3),
        AugmentedPhotographs(images ^ 1, rows, seed=3),
        PickedPhotographs(images, rows),
    ]
    assert len({varied, *map(digest, others)}) == 5
    assert digest(PickedPhotographs(images, rows)) == digest(images[rows])


def test_each_time_it_is_varied_otherwise_and_the_photograph_stays(images):
    before = images.copy()
    whole = AugmentedPhotographs(images, np.zeros(6, int), seed=0)[:]
    for number, one in enumerate(whole):
        assert np.abs(one.astype(int) - images[0]).mean() > 3
        assert all((one != other).any() for other in whole[number + 1 :])
    np.testing.assert_array_equal(images, before)


def test_the_other_hand_is_seen_in_half_of_the_cases():
    """A bright left side is bright on the right then."""
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, :32] = 200
    whole = AugmentedPhotographs(image[None], np.zeros(200, int), seed=0)[:]
    mirrored = whole[:, :, 32:].mean((1, 2, 3)) > whole[:, :, :32].mean((1, 2, 3))
    assert 0.4 < mirrored.mean() < 0.6
