import json
import os

import pytest

from data_prep.errors import InputError
from training.config import TrainConfig
from training.interrupted import LAST_FILE, ORIGIN_FILE, find_interrupted, options_of
from training.reports import EVALUATION
from training.train import arguments, check, with_options_of_interrupted


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Three trainings: one that ended, and two that were interrupted, b the last."""
    monkeypatch.setenv("ASL_HOME", str(tmp_path))
    for moment, name in enumerate(("a", "b", "ended")):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        (folder / LAST_FILE).touch()
        os.utime(folder / LAST_FILE, (1000 + moment, 1000 + moment))
        options = vars(arguments().parse_args(["--lr", "0.5", "--model", "mlp"]))
        options |= {"dataset_id": "d7", "resume": ""}
        (folder / ORIGIN_FILE).write_text(json.dumps({"options": options}))
    (tmp_path / "runs" / "ended" / EVALUATION).touch()
    return tmp_path / "runs"


def test_last_is_the_newest_training_that_did_not_end(runs):
    assert find_interrupted("last", runs) == runs / "b"


def test_a_training_is_found_by_its_id_and_by_its_folder(runs):
    assert find_interrupted("a", runs) == find_interrupted(str(runs / "a"), runs)


def test_nothing_to_go_on_from_is_said(runs, tmp_path):
    with pytest.raises(InputError, match="--resume c: there is no last.pt"):
        find_interrupted("c", runs)
    with pytest.raises(InputError, match="no training in .* was interrupted"):
        find_interrupted("last", tmp_path / "none")
    (runs / "a" / ORIGIN_FILE).write_text("{}")
    with pytest.raises(InputError, match="origin.json is missing or damaged"):
        options_of(runs / "a")


def test_a_resumed_training_has_the_options_of_the_interrupted_one(runs, monkeypatch):
    monkeypatch.setattr("sys.argv", ["train", "--resume", "last"])
    args = with_options_of_interrupted(arguments()).parse_args()
    run_config, train_config = check(args)
    assert run_config.resume == str(runs / "b") and run_config.model == "mlp"
    assert train_config == TrainConfig(lr=0.5) and args.dataset_id == "d7"


def test_options_on_the_command_line_go_before_those_of_the_interrupted_one(
    runs, monkeypatch
):
    monkeypatch.setattr("sys.argv", ["train", "--resume", "a", "--lr", "0.1"])
    args = with_options_of_interrupted(arguments()).parse_args()
    assert check(args)[1].lr == 0.1
