import subprocess
import sys

import pytest

from data_prep.errors import InputError
from data_prep.paths import ROOT
from training.config import (
    NETWORKS,
    RunConfig,
    TrainConfig,
    from_options,
    torchvision_models,
)
from training.models import BUILDERS
from training.torch_setup import import_torchvision
from training.train import arguments


def test_the_names_of_models_known_without_torch_are_those_that_can_be_built():
    zoo = import_torchvision().models
    assert set(torchvision_models()) == set(zoo.list_models(module=zoo))
    assert tuple(BUILDERS) == NETWORKS


def test_the_command_line_has_the_defaults_of_the_configurations():
    values = vars(arguments().parse_args([]))
    assert from_options(RunConfig, values) == RunConfig()
    assert from_options(TrainConfig, values) == TrainConfig()


def test_what_is_given_on_the_command_line_arrives():
    args = arguments().parse_args(
        ["--lr", "0.5", "--external", "a", "b", "--no-baselines", "--find-hand", "yes"]
    )
    run_config = from_options(RunConfig, vars(args))
    assert run_config.external == ("a", "b")
    assert run_config.skip_baselines and run_config.find_hand == "yes"
    assert from_options(TrainConfig, vars(args)).lr == 0.5
    assert arguments().parse_args(["--no-floors"]).skip_baselines


@pytest.mark.parametrize(
    ("kind", "values", "told"),
    [
        (RunConfig, {"model": "resnet19"}, "resnet18"),
        (RunConfig, {"model": "timm:rexnet_150"}, "requirements-zoo.txt"),
        (RunConfig, {"find_hand": "perhaps"}, "choose yes, no, auto"),
        (TrainConfig, {"epochs": 0}, "at least 1"),
        (TrainConfig, {"warmup": 0.95}, "at most 0.9"),
        (TrainConfig, {"optimizer": "lion"}, "choose muon"),
        (TrainConfig, {"lr": float("nan")}, "at least 0"),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_the_remedy(
    monkeypatch, kind, values, told
):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match=told):
        kind(**values)


def test_mistakes_are_told_before_torch_and_clearml_are_imported():
    code = (
        "import sys\n"
        "import training.train as step\n"
        "try:\n"
        "    step.check(step.arguments().parse_args(['--model', 'resnet19']))\n"
        "except Exception as error:\n"
        "    print(error, {'torch', 'clearml'} & set(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert "resnet18" in done.stdout and "set()" in done.stdout, done.stderr
