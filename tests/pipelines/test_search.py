"""What the search for training options takes; trials are tested on agents."""

import pytest

from data_prep.errors import InputError
from pipelines.search import hyper_parameters, parse_options, parse_space


def test_ranges_are_logarithmic_linear_or_lists():
    space = parse_space(["lr=0.001:0.1:log", "augment=0:1.5", "batch-size=32,64"])
    assert space == {
        "lr": {"low": 0.001, "high": 0.1, "log": True, "whole": False},
        "augment": {"low": 0.0, "high": 1.5, "log": False, "whole": False},
        "batch_size": {"values": ["32", "64"]},
    }


@pytest.mark.parametrize(
    "text",
    ["lr", "lr=", "lr=a:b", "lr=2:1", "lr=1:2:cubic", "lr=0:1:log", "=1:2", "lr=1,,2"],
)
def test_a_misspelt_range_is_named(text):
    with pytest.raises(InputError, match=text.replace("=", ".")):
        parse_space([text])


@pytest.mark.parametrize(
    "text, reason",
    [
        ("learningrate=0.1:1", "no such option"),
        ("epochs=5:20.5", "no whole number"),
        ("batch-size=32,many", "no whole number"),
        ("epochs=5:20:log", "whole numbers take"),
    ],
)
def test_a_range_that_training_could_not_take_is_refused(text, reason):
    with pytest.raises(InputError, match=reason):
        parse_space([text])


def test_whole_numbers_stay_whole():
    (size,) = hyper_parameters(parse_space(["batch-size=16:64"]))
    drawn = {size.get_value()["Args/batch_size"] for _ in range(50)}
    assert all(isinstance(x, int) and 16 <= x <= 64 for x in drawn) and len(drawn) > 5


def test_fixed_options_are_those_of_training():
    assert parse_options(["max-minutes=1"]) == {"max_minutes": "1"}
    with pytest.raises(InputError):
        parse_options(["epochs"])


def test_clearml_draws_from_the_range_that_was_named():
    lr, size = hyper_parameters(parse_space(["lr=0.001:0.1:log", "batch-size=32,64"]))
    assert (lr.name, size.name) == ("Args/lr", "Args/batch_size")
    assert all(0.001 <= lr.get_value()["Args/lr"] <= 0.1 for _ in range(50))
    assert set(size.values) == {"32", "64"}
