"""Names of models: one rule for all that is made of them."""

import argparse

import pytest

from data_prep.model_name import DEFAULT, model_name
from pipelines.repository.layout import PARTS, as_part, part_name, served_names
from pipelines.tracking.datasets import model_of, prepared_name, raw_name


@pytest.mark.parametrize("name", ["asl", "sign_mnist", "flowers-2", "0ab", "a" * 64])
def test_what_is_made_of_a_name_leads_back_to_it(name):
    assert model_name(name) == name
    for kind in PARTS:
        assert as_part(part_name(kind, 12, name)) == (name, kind, 12)
    assert not any(as_part(called) for called in served_names(name))
    assert model_of(prepared_name(name)) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "ab",
        "a" * 65,
        "-asl",
        "../asl",
        "a b c",
        "flöwers",
        "asl\n",
        "ASL",  # the Dataset of asl
        "flowers_raw",
        "asl_classifier",
        "asl_fused_7",
    ],
)
def test_a_name_that_would_be_mistaken_for_something_else_is_refused(name):
    with pytest.raises(argparse.ArgumentTypeError):
        model_name(name)


def test_data_from_before_models_had_names_is_that_of_asl():
    assert prepared_name(DEFAULT) == "ASL"
    assert raw_name(prepared_name(DEFAULT)) == "ASL_raw"
