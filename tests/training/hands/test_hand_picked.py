"""Which photographs are read of many that are alike."""

import numpy as np

from training.hands.picked import PickedPhotographs, most_of_a_source, pick_evenly


def test_photographs_are_picked_of_each_class_of_each_source_and_spread():
    labels = np.array([0] * 10 + [1] * 3 + [0] * 2)
    sources = np.array(["large"] * 13 + ["small"] * 2, dtype=object)
    assert pick_evenly(labels, sources, 4).tolist() == [0, 3, 6, 9, 10, 11, 12, 13, 14]
    assert pick_evenly(labels, sources, 1).tolist() == [0, 10, 13]


def test_few_sources_give_more_and_many_give_enough():
    assert [most_of_a_source(count) for count in (1, 2, 4, 11)] == [320, 160, 80, 40]


def test_slices_of_what_was_picked_are_the_photographs_themselves():
    images = np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1).repeat(3, 3)
    picked = PickedPhotographs(images, np.array([0, 3, 5]))
    assert len(picked) == 3 and picked.shape == (3, 1, 1, 3)
    np.testing.assert_array_equal(picked[1:9], images[[3, 5]])
