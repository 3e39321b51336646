"""Figures as people read them."""

import pytest
from scipy.stats import binomtest

from data_prep.figures import beside, counted, interval, right_of, some_counts


@pytest.mark.parametrize(
    "value, limit, shown",
    [
        (0.4971, 0.5, "0.497"),
        (0.49999999, 0.5, "0.49999999"),
        (0.5, 0.5, "0.50"),
        (0.5004, 0.5, "0.5004"),
        (0.7311, 0.5, "0.73"),
        (0.5, 0.0, "0.50"),
        (float("nan"), 0.5, "nan"),
    ],
)
def test_a_value_beside_a_limit_is_shown_on_its_side_of_it(value, limit, shown):
    assert beside(value, limit) == shown


def test_other_forms_are_told_apart_from_a_limit_as_well():
    assert beside(0.0502, 0.05, kind="g") == "0.0502"
    assert beside(2.04e-3, 2e-3, 1, "e") == "2.04e-03"
    assert beside(49.8, 50, 0) == "49.8"


@pytest.mark.parametrize("right, count", [(0, 5), (7, 8), (164, 174), (1000, 1000)])
def test_where_an_accuracy_lies_is_the_interval_of_wilson(right, count):
    known = binomtest(right, count).proportion_ci(method="wilson")
    assert interval(right, count) == pytest.approx((known.low, known.high), abs=1e-4)


def test_one_is_said_in_the_singular():
    assert counted(1, "image lies", "images lie") == "1 image lies"
    assert counted(0, "image lies", "images lie") == "0 images lie"


def test_an_accuracy_on_few_images_says_how_little_that_is():
    few = "7 of 8 test images right (of very many, 53 to 98 %)"
    assert right_of(7, 8, "test images") == few
    assert right_of(164, 174, "test images") == "94.3 % of 174 test images right"


def test_of_many_counts_the_smallest_are_named():
    assert some_counts({"A": 4, "B": 1, "C": 9, "D": 2}) == "B 1, D 2, A 4"
