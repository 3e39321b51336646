"""`training.infer` asks what is served here, or else what was trained last."""

import json
import subprocess
import sys

import numpy as np
import pytest
from matrix_model import expect
from tiny_model import make_artifacts

from data_prep import containers
from data_prep.errors import InputError
from data_prep.paths import ROOT
from pipelines.repository import versions
from pipelines.repository.served_model import served_model
from training.infer import read_row
from training.trained_model import newest_run

LETTERS = tuple("ABCDEFGHIKLMNOPQRSTUVWXY")
HEADINGS = "label," + ",".join(f"pixel{i}" for i in range(1, 785))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A data folder of its own."""
    monkeypatch.setenv("ASL_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def table(path, *rows):
    path.write_text("\n".join([HEADINGS, *rows]) + "\n")
    return path


def row(label, seed):
    greys = np.random.default_rng(seed).integers(0, 256, 784)
    return f"{label}," + ",".join(map(str, greys))


def trained(runs, task, name):
    """What a training leaves, as far as it is looked for."""
    folder = make_artifacts(runs / task)
    (folder / "evaluation.json").write_text(json.dumps({"name": name}))
    return folder


def test_a_row_of_a_table_is_answered_by_the_served_model_with_all_probabilities(
    place, tmp_path
):
    trained(place / "runs", "newer", "sign_mnist")  # is not asked: something is served
    artifacts = make_artifacts(tmp_path / "served", 28, LETTERS, seed=4)
    for _ in range(2):
        versions.render(
            artifacts, place / "models", {"task_id": "t1"}, name="sign_mnist"
        )
    rows = table(tmp_path / "test.csv", row(0, 1), row(24, 2))
    command = [sys.executable, "-m", "training.infer", "--name", "sign_mnist"]
    command += ["--csv-row", f"{rows}:2"]

    plain = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    done = subprocess.run(
        [*command, "--json"], cwd=ROOT, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr
    assert (
        done.stderr == "model sign_mnist, version 2, which is served, of training t1\n"
    )
    answer = json.loads(done.stdout)
    label, picture = containers.table_row(rows, 2)
    expected = expect(artifacts, [picture])[0]
    np.testing.assert_allclose(
        list(answer["all_predictions"].values()), expected, atol=1e-6
    )
    assert tuple(answer["all_predictions"]) == LETTERS
    best = LETTERS[expected.argmax()]
    assert answer["predicted_class"] == best and answer["label"] == label == "Y"
    assert answer["image"] == f"{rows}:2"
    model = {"name": "sign_mnist", "version": "2", "training": "t1"}
    assert answer["model"] == model
    first, said, *chances = plain.stdout.splitlines()
    assert first == f"Result: {best} (confidence: {expected.max():.2f})"
    assert said == "The table says Y."
    assert len(chances) == 24 and chances[0].split()[0] == best


def test_where_nothing_is_served_the_newest_training_of_the_name_is_asked(
    place, tmp_path
):
    assert served_model("asl") is None
    with pytest.raises(InputError, match="no trained model asl .* --run"):
        newest_run("asl")
    wanted = trained(place / "runs", "wanted", "asl")
    trained(place / "runs", "another", "flowers")
    make_artifacts(place / "runs" / "interrupted")  # has no evaluation yet

    assert newest_run("asl") == wanted
    command = [sys.executable, "-m", "training.infer", "--json"]
    command += ["--csv-row", str(table(tmp_path / "rows.csv", row(3, 5)))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.stderr == f"model asl, training wanted ({wanted})\n"
    model = {"name": "asl", "version": None, "training": "wanted"}
    assert json.loads(done.stdout)["model"] == model


@pytest.mark.parametrize(
    "line, number, said",
    [
        ("3,1,2", 1, "2 values after the label are no square picture"),
        ("3," + ",".join(["300"] * 784), 1, "whole numbers from 0 to 255"),
        ("3," + ",".join(["1.5"] * 784), 1, "whole numbers from 0 to 255"),
        ("3," + ",".join(["x"] * 784), 1, "whole numbers from 0 to 255"),
        ("3", 1, "0 values after the label"),
        ("26," + ",".join(["1"] * 784), 1, "label '26'; expected 0 to 25"),
        (row(1, 1), 2, "row 2: there is no such row"),
        (row(1, 1), 0, "row 0: there is no such row"),
    ],
)
def test_a_bad_row_is_told_in_one_line(line, number, said, tmp_path):
    rows = table(tmp_path / "rows.csv", line)
    with pytest.raises(InputError, match=said) as caught:
        read_row(f"{rows}:{number}")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_table_is_told_in_one_line(tmp_path):
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="is no Sign-MNIST table"):
        read_row(str(tmp_path / "other.csv"))
    with pytest.raises(InputError, match="cannot be read"):
        read_row(str(tmp_path / "missing.csv"))
