"""Small trainings for real: they learn, and leave what deployment needs."""

import json

import numpy as np
import onnxruntime
import pytest
import torch
from coloured_data import write_dataset

from data_prep import packed
from data_prep.errors import InputError
from training.evaluate import evaluate
from training.optimisation import Recipe, learning_rate
from training.run import DEPLOYABLES, PICTURES, train_dataset

RECIPE = Recipe(epochs=6, batch_size=16)


@pytest.fixture(scope="module")
def trained(dataset, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "run"
    result = train_dataset(dataset, out, "small_resnet", RECIPE, {"dataset_id": "d1"})
    return out, result


def test_a_training_learns_and_its_onnx_file_scores_what_the_evaluation_says(
    trained, dataset
):
    out, result = trained
    assert result["overall"]["accuracy"] > 0.9
    images, labels = packed.load_split(dataset, "test")
    session = onnxruntime.InferenceSession(out / "model.onnx")
    probabilities = session.run(None, {"image": np.array(images)})[0]
    assert (probabilities.argmax(1) == labels).mean() == pytest.approx(
        result["overall"]["accuracy"]
    )


def test_a_training_leaves_all_that_is_deployed_and_looked_at(trained, dataset):
    out, result = trained
    for name in (*DEPLOYABLES, *PICTURES, "history.json", "checkpoint.pt"):
        assert (out / name).stat().st_size > 0, name
    assert not list(out.glob("*.partial"))
    assert list((out / "tensorboard").iterdir())
    assert json.loads((out / "evaluation.json").read_text()) == result
    assert (out / "classes.txt").read_text() == (dataset / "classes.txt").read_text()
    assert result["dataset_id"] == "d1"
    assert set(result["slices"]) == {"source=left", "source=right"}
    golden = np.load(out / "golden.npz")
    assert golden["images"].dtype == np.uint8
    assert golden["probabilities"].shape == (len(golden["images"]), 4)


def test_the_same_seed_gives_the_same_weights(dataset, tmp_path):
    recipe = Recipe(epochs=1, batch_size=16, seed=7)
    weights = []
    for name in ("first", "second"):
        train_dataset(dataset, tmp_path / name, "small_resnet", recipe, {})
        state = torch.load(tmp_path / name / "checkpoint.pt", weights_only=True)
        weights.append(torch.cat([v.flatten().float() for v in state.values()]))
    assert torch.equal(*weights)


def test_a_diverging_training_stops_with_the_remedy(dataset, tmp_path):
    with pytest.raises(InputError, match="--lr"):
        wild = Recipe(epochs=2, batch_size=16, lr=1e30)
        train_dataset(dataset, tmp_path / "out", "baseline_cnn", wild, {})


def test_an_empty_split_is_refused_by_name(tmp_path):
    folder = write_dataset(tmp_path / "data", train=0)
    with pytest.raises(InputError, match="train split .* is empty"):
        train_dataset(folder, tmp_path / "out", "small_resnet", RECIPE, {})
    assert not (tmp_path / "out").exists()


def test_the_time_budget_ends_a_training_and_its_schedule(dataset, tmp_path):
    recipe = Recipe(epochs=100000, batch_size=16, max_minutes=0.05)
    result = train_dataset(dataset, tmp_path / "out", "small_resnet", recipe, {})
    history = json.loads((tmp_path / "out" / "history.json").read_text())
    assert result["epochs"] == len(history) < 100000
    assert history[-1]["learning_rate"] < 0.1 * recipe.lr


def test_the_learning_rate_rises_to_its_peak_and_falls_to_zero():
    recipe = Recipe(lr=1.0, warmup=0.1)
    rates = [learning_rate(p, recipe) for p in np.linspace(0, 1, 101)]
    assert rates[0] == 0 and max(rates) == rates[10] == 1
    assert rates[-1] < 1e-9
    assert all(a >= b for a, b in zip(rates[10:], rates[11:]))


def test_evaluation_counts_what_a_person_would_count():
    labels = np.array([0, 0, 1, 1, 2])
    probabilities = np.eye(4, dtype=np.float32)[[0, 1, 1, 1, 2]]
    result = evaluate(probabilities, labels, ["a", "b", "c", "never"], list("xxyyy"))
    assert result["overall"]["accuracy"] == pytest.approx(0.8)
    assert result["per_class"]["a"] == {
        "precision": 1.0,
        "recall": 0.5,
        "f1": pytest.approx(2 / 3),
        "images": 2,
    }
    # F1 of a, b, c; "never" has no test image and counts for nothing
    assert result["overall"]["macro_f1"] == pytest.approx((2 / 3 + 0.8 + 1) / 3)
    assert result["confusion"]["matrix"][0] == [1, 1, 0, 0]
    assert result["slices"]["source=x"]["accuracy"] == pytest.approx(0.5)
