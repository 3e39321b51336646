"""A small training of the hand model, for real: what it leaves, and what it says."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from data_prep import packed
from data_prep.draw import draw_dataset
from data_prep.errors import InputError
from data_prep.paths import ROOT
from data_prep.preparation import Options, prepare
from data_prep.preprocessing import Preprocessing
from data_prep.sources import find_images
from training.config import RunConfig, TrainConfig
from training.data import open_dataset, sample_weights
from training.graph import onnx_predict
from training.hands.training import GEOMETRY_FILE
from training.infer import infer
from training.reports import DEPLOYABLES
from training.run import decide_to_find, learn, train_dataset

# the first test waits for a training, on a machine that may have other work
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
CLASSES = ["B", "Y", "nothing"]
TRAIN_CONFIG = TrainConfig(batch_size=6)
RUN_CONFIG = RunConfig(
    model="baseline_cnn", find_hand="auto", fast_dev_run=True, skip_baselines=True
)
# what becomes of them once the data is known
LEARNED = (
    replace(RUN_CONFIG, find_hand="yes"),
    replace(TRAIN_CONFIG, epochs=1, warmup=0),
)


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Drawn hands of two sources."""
    folder = tmp_path_factory.mktemp("raw")
    for seed, name in enumerate(("anne", "ben")):
        draw_dataset(folder / name, 8, seed=seed, classes=CLASSES, workers=1)
    return folder


@pytest.fixture(scope="module")
def dataset(raw, tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "prepared"
    record = Preprocessing(256, resize_mode="letterbox")
    images = find_images([raw / "anne", raw / "ben"]).images
    prepare(images, folder, Options(record), workers=1)
    return folder


@pytest.fixture(scope="module")
def trained(networks, dataset, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "run"
    return out, train_dataset(
        dataset, out, RUN_CONFIG, TRAIN_CONFIG, {"dataset_id": "d1"}
    )


def test_a_training_leaves_all_that_is_deployed_and_resumed(trained, dataset):
    out, result = trained
    for name in (*DEPLOYABLES, GEOMETRY_FILE, "checkpoint.pt", "last.pt"):
        assert (out / name).stat().st_size > 0, name
    assert not list(out.glob("*.partial"))
    assert json.loads((out / "evaluation.json").read_text()) == result
    assert result["find_hand"] == "yes"  # as the classes and the size say
    assert result["precision"] == "float32"
    golden = np.load(out / "golden.npz")
    got = onnx_predict(out / "model.onnx", golden["images"])
    assert np.abs(got - golden["probabilities"]).max() < 1e-4


def test_the_test_split_is_scored_as_the_graph_answers_it(trained, dataset):
    out, result = trained
    images, labels = packed.load_split(dataset, "test")
    kept = np.load(out / "test_probabilities.npy")
    got = onnx_predict(out / "model.onnx", images[: len(kept)])
    assert np.abs(got - kept).max() < 2e-3
    accuracy = (kept.argmax(1) == labels[: len(kept)]).mean()
    assert result["overall"]["accuracy"] == pytest.approx(accuracy)


def test_the_evaluation_says_how_good_the_letters_are_for_held_out_signers(trained):
    held_out = trained[1]["held_out_signers"]
    assert set(held_out["sources"]) == {"anne", "ben"}
    accuracies = [source["accuracy"] for source in held_out["sources"].values()]
    assert held_out["mean"] == pytest.approx(np.mean(accuracies))
    assert held_out["worst"] == min(accuracies)
    assert held_out["images"] == sum(s["images"] for s in held_out["sources"].values())


@pytest.fixture(scope="module")
def one_source(dataset, tmp_path_factory):
    """The same photographs, all of one source."""
    folder = shutil.copytree(dataset, tmp_path_factory.mktemp("one") / "prepared")
    manifest = packed.read_manifest(folder)
    packed.write_manifest(folder, [row._replace(source="anne") for row in manifest])
    return folder


def test_one_source_says_nothing_of_held_out_signers(trained, one_source, tmp_path):
    data = open_dataset(one_source, *LEARNED)
    _, views, _ = learn(data, tmp_path / "out", *LEARNED)
    assert views.hands.held_out is None
    assert views.hands.temperature == 1.0


def test_an_interrupted_training_goes_on(trained, dataset, tmp_path):
    out, _ = trained
    run_config, train_config = LEARNED
    run_config = replace(run_config, resume=str(out))
    data = open_dataset(dataset, run_config, train_config)
    classifier, views, _ = learn(data, tmp_path / "again", run_config, train_config)
    for module, before in (
        (classifier, torch.load(out / "checkpoint.pt", weights_only=True)),
        (
            views.hands.geometry,
            torch.load(out / GEOMETRY_FILE, weights_only=True)["network"],
        ),
    ):
        state = module.state_dict()
        assert all(torch.equal(state[name], before[name]) for name in before)
    run_config = replace(run_config, find_hand="no")
    with pytest.raises(InputError, match="another find_hand .yes, not no"):
        learn(data, tmp_path / "other", run_config, train_config)


def test_infer_answers_alike_by_both_runtimes(trained, raw):
    files = [str(raw / "anne" / name / f"{name}1.jpg") for name in CLASSES]
    by_onnx, by_torch = (infer(trained[0], files, r) for r in ("onnx", "torch"))
    assert by_onnx.shape == (3, len(CLASSES))
    assert np.abs(by_onnx - by_torch).max() < 1e-4


def test_infer_takes_hand_networks_from_a_folder(
    trained, raw, networks, tmp_path, monkeypatch
):
    """On a machine without a registry, where none were ever fetched."""
    given = tmp_path / "given"
    shutil.copytree(networks, given, ignore=shutil.ignore_patterns("*.onnx", ".*"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    photograph = [str(raw / "anne" / "B" / "B1.jpg")]
    found = infer(trained[0], photograph, "torch", str(given))
    monkeypatch.undo()
    expected = infer(trained[0], photograph, "torch")
    assert np.array_equal(found, expected)


def test_a_damaged_geometry_is_told_in_one_line(trained, raw, tmp_path):
    part = shutil.copytree(trained[0], tmp_path / "part")
    (part / GEOMETRY_FILE).write_bytes(b"no weights")
    with pytest.raises(InputError, match=f"{GEOMETRY_FILE} cannot be read") as caught:
        infer(part, [str(raw / "anne" / "B" / "B1.jpg")], "torch")
    assert "\n" not in str(caught.value)


@pytest.mark.campaign
def test_two_processes_under_torchrun_train_one_hand_model(trained, dataset, tmp_path):
    script = tmp_path / "two.py"
    script.write_text(
        "import json, sys\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from pathlib import Path\n"
        "from training import distributed\n"
        "from training.config import RunConfig, TrainConfig\n"
        "from training.data import open_dataset\n"
        "from training.run import learn\n"
        "run_config = RunConfig(model='baseline_cnn', find_hand='yes',\n"
        "    fast_dev_run=True)\n"
        "how = run_config, TrainConfig(batch_size=12, epochs=1, warmup=0)\n"
        "with distributed.process_group():\n"
        f"    out = Path({str(tmp_path / 'out')!r})\n"
        f"    data = open_dataset(Path({str(dataset)!r}), *how)\n"
        "    _, views, _ = learn(data, out, *how)\n"
        "    if not distributed.rank():\n"
        "        known = json.dumps(views.hands.held_out)\n"
        "        (out / 'held_out.json').write_text(known)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        + ["--nproc-per-node", "2", str(script)],
        # two processes cannot share the one GPU that there may be
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    held_out = json.loads((tmp_path / "out" / "held_out.json").read_text())
    assert set(held_out["sources"]) == {"anne", "ben"}
    (log,) = (tmp_path / "out" / "tensorboard").iterdir()  # of one process


@pytest.mark.parametrize(
    "classes, size, mode, found",
    [
        (["A", "nothing"], 256, "letterbox", "yes"),
        (["A", "B"], 192, "letterbox", "yes"),
        (["A", "B"], 191, "letterbox", "no"),
        (["A", "B"], 256, "squash", "no"),
        (["A", "daisy"], 256, "letterbox", "no"),
    ],
)
def test_hands_are_looked_for_where_hand_signs_were_letterboxed(
    classes, size, mode, found
):
    record = Preprocessing(size, resize_mode=mode)
    assert decide_to_find(RunConfig(find_hand="auto"), classes, record) == found
    assert decide_to_find(RunConfig(find_hand="no"), classes, record) == "no"


@pytest.mark.parametrize("choice, told", [("maybe", "maybe"), ("yes", "--image-size")])
def test_a_choice_that_cannot_be_is_refused(choice, told):
    with pytest.raises(InputError, match=told):
        decide_to_find(RunConfig(find_hand=choice), ["A"], Preprocessing(128))


def test_images_of_large_sources_and_classes_are_drawn_less_often():
    sources = ["small"] * 10 + ["large"] * 90
    labels = np.array([0, 1] * 50)
    assert sample_weights(sources, labels, 0.0) is None
    evenly = sample_weights(sources, labels, 1.0)
    assert evenly[:10].sum() == pytest.approx(evenly[10:].sum())
    half = sample_weights(sources, labels, 0.5)
    assert half[0] / half[-1] == pytest.approx(3.0)
