"""Options of steps are checked where they are written."""

import subprocess
import sys

import pytest

from data_prep.errors import InputError
from data_prep.paths import ROOT
from pipelines.orchestration import steps
from pipelines.tracking import options


def test_every_step_tells_its_options():
    for step in steps.STEPS.values():
        known = {action.dest for action in options.parser_of(step.script)._actions}
        assert set(step.inputs) < known


@pytest.mark.parametrize(
    "setting, reason",
    [
        ("train.epocks=3", "did you mean epochs"),
        ("train.json=yes", "there is no such option"),
        ("train.epochs=3.5", "which is no whole number"),
        ("train.epochs=", "train.epochs is '', which is no whole number"),
        ("train.grey=maybe", "true or false"),
        ("deploy.device=tpu", "choose cpu, gpu"),
        ("cook.epochs=3", "with a step of"),
        ("prepare.ratios=90,10", "it takes 3 values"),
        ("prepare.ratios=90,5,few", "'few', which is no number"),
        ("prepare.ratios=[90,5", "which is no list"),
        ("prepare.ratios=0,50,50", "the first above 0"),
        ("prepare.split=odd", "unknown split method"),
        ("prepare.hold-out=signer_2", "--hold-out needs --split source"),
        ("prepare.border-crop=0.7", "border"),
        ("validate.leak=2", "--leak is 2; it must be at least 0 and at most 1"),
        ("promote.min-recall=3", "--min-recall is 3; it must be 0 to 1"),
    ],
)
def test_an_option_that_would_change_nothing_or_fail_later_is_refused(setting, reason):
    with pytest.raises(InputError, match=reason):
        steps.parse_settings([setting])


@pytest.mark.parametrize(
    "word, value",
    [("no", "False"), ("off", "False"), ("0", "False"), ("yes", "True"), ("1", "True")],
)
def test_no_means_no(word, value):
    settings = steps.parse_settings([f"train.int8={word}"])
    assert settings["train"] == {"int8": value}


@pytest.mark.parametrize("text", ["90,5,5", "[90, 5, 5]", "['90', '5', '5']"])
def test_lists_reach_the_step(text):
    settings = steps.parse_settings([f"prepare.ratios={text}"])
    assert settings["prepare"] == {"ratios": "[90.0, 5.0, 5.0]"}


def test_a_second_name_of_an_option_means_the_same():
    for name in ("dataset-id", "raw-dataset-id"):
        settings = steps.parse_settings([f"verify.{name}=abc"])
        assert settings["verify"] == {"dataset_id": "abc"}


def test_an_option_may_make_another_one_good():
    given = ["prepare.hold-out=signer_2,signer_3", "prepare.split=source"]
    settings = steps.parse_settings(given)["prepare"]
    assert settings == {"hold_out": '["signer_2", "signer_3"]', "split": "source"}


def test_nothing_heavy_is_imported_to_refuse_an_option():
    program = (
        "import sys\n"
        "from pipelines.orchestration import steps\n"
        "steps.parse_settings(['prepare.ratios=90,5,5', 'validate.few=3'])\n"
        "print(sorted({'torch', 'clearml'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"
