"""Options of steps are checked where they are written."""

import pytest

from data_prep.errors import InputError
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
        ("train.epochs=3.5", "which is no int"),
        ("train.grey=maybe", "true or false"),
        ("deploy.device=tpu", "choose cpu, gpu"),
        ("cook.epochs=3", "with a step of"),
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
