"""Presets: one file a set of pictures, and where each value comes from."""

import re
import subprocess
import sys

import pytest

from data_prep.errors import InputError
from data_prep.paths import ROOT
from pipelines import asl, quickstart
from pipelines.orchestration import presets, run_options
from pipelines.orchestration.steps import STEPS


def parsed(*options):
    return asl.arguments().parse_args(list(map(str, options)))


@pytest.mark.parametrize("name", presets.known())
def test_every_preset_has_options_that_its_steps_take_together(name):
    layers = run_options.all_layers(parsed("--preset", name, "--raw", "x"))
    for step in STEPS:
        assert f"[{step}]" in presets.describe(presets.configuration(layers))
    named = presets.resolved(layers)["train"].get("name", "asl")
    assert named == presets.load(name).name == name


def test_without_a_preset_the_steps_are_those_of_asl_and_carry_no_name():
    settings = run_options.all_settings(parsed("--raw", "x"))
    assert settings["train"]["find_hand"] == "auto"
    assert not any("name" in options for options in settings.values())


def test_values_come_from_set_before_the_command_line_before_the_preset(tmp_path):
    file = tmp_path / "birds.toml"
    file.write_text(
        'name = "birds"\n[prepare]\nimage-size = 64\nseed = 5\n[train]\nepochs = 3\n'
    )
    line = ["--preset", file, "--raw", "x", "--test-set", "held"]
    args = parsed(*line, "--set", "train.epochs=7", "prepare.image-size=96")
    settings = run_options.all_settings(args)
    assert settings["prepare"] == {
        "name": "birds",
        "image_size": "96",
        "seed": "5",
        "test_set": '["held"]',
    }
    assert settings["train"] == {"name": "birds", "epochs": "7"}
    known = presets.configuration(run_options.all_layers(args))
    lines = presets.describe(known).splitlines()
    for line in (
        "image-size = 96                          # --set",
        "seed = 5                                 # preset birds",
        "name = birds                             # name",
        'test-set = ["held"]                      # command line',
        "batch-size = 64                          # default",
    ):
        assert line in lines


def test_the_name_can_be_another_than_the_presets():
    args = parsed("--preset", "sign_mnist", "--name", "mine", "--raw", "x")
    assert run_options.all_settings(args)["deploy"]["name"] == "mine"


def test_tables_that_a_preset_names_are_found_in_the_folder(tmp_path):
    preset = presets.load("sign_mnist")
    (tmp_path / "sign_mnist_train.csv").touch()
    args = parsed("--preset", "sign_mnist", "--raw", tmp_path)
    with pytest.raises(InputError, match="sign_mnist_test.csv is missing"):
        presets.locate(preset, args)

    (tmp_path / "sign_mnist_test.csv").touch()
    args = parsed("--preset", "sign_mnist", "--raw", tmp_path)
    presets.locate(preset, args)
    assert args.raw == [str(tmp_path / "sign_mnist_train.csv")]
    assert args.test_set == [str(tmp_path / "sign_mnist_test.csv")]

    # what the command line says stands
    args = parsed("--raw", tmp_path / "sign_mnist_train.csv", "--test-set", "other")
    presets.locate(preset, args)
    assert args.test_set == ["other"]


@pytest.mark.parametrize(
    "text, said",
    [
        ("name = ", "cannot be read"),
        ('name = "a b"', "no name of a model"),
        ("[trian]\nepochs = 3", "trian is no step"),
        ("[train]\nepoks = 3", "did you mean epochs"),
        ("[train]\nepochs = 'many'", "train.epochs is 'many'"),
        ('raw = "train.csv"', "raw must be a list"),
    ],
)
def test_a_misspelt_preset_is_told_in_one_line(text, said, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(InputError, match=said) as caught:
        presets.load(str(file))
    assert "\n" not in str(caught.value)


def test_print_config_starts_nothing(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.asl", "--print-config", "--raw", "x"],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "ASL_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "max-minutes = 1.5" in done.stdout
    assert not re.search("^(json|version|help) = ", done.stdout, re.MULTILINE)
    assert not (tmp_path / "home").exists()


def test_the_quickstart_serves_photographs_of_other_classes_after_the_sample_hands():
    settings = quickstart.all_settings(quickstart.arguments().parse_args([]))
    assert settings["deploy"]["allow_new_classes"] == "true"
    args = run_options.run_arguments().parse_args(["--raw", "x"])
    assert "allow_new_classes" not in run_options.all_settings(args).get("deploy", {})
