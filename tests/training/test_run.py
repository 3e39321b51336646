"""Small trainings for real: they learn, and leave what deployment needs."""

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from coloured_data import CLASSES, coloured_images, write_dataset

from data_prep import packed
from data_prep.errors import InputError
from data_prep.paths import ROOT
from training import distributed
from training.config import RunConfig, TrainConfig
from training.data import open_dataset
from training.evaluate import calibration, evaluate
from training.graph import onnx_predict
from training.infer import infer, main
from training.loop import Progress, predict
from training.models import build_model
from training.optimisation import learning_rate
from training.reports import DEPLOYABLES
from training.results import PICTURES
from training.run import learn, train_dataset
from training.start import build_classifier

TRAIN_CONFIG = TrainConfig(epochs=6, batch_size=16)
PLAIN = RunConfig(skip_baselines=True)


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """Two folders of other people's photographs; the first has a class of its own."""
    folder = tmp_path_factory.mktemp("photographs") / "others"
    labels = np.arange(12) % 4
    pictures = coloured_images(np.random.default_rng(9), labels, 50)
    for i, (picture, label) in enumerate(zip(pictures, labels)):
        place = folder / CLASSES[label]
        place.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(place / f"{i}.png"), picture[:, :, ::-1])
    (folder / "purple").mkdir()
    cv2.imwrite(str(folder / "purple" / "1.png"), pictures[0])
    more = folder.parent / "more" / "others"
    shutil.copytree(folder / "red", more / "red")
    return folder, more


@pytest.fixture(scope="module")
def trained(dataset, others, tmp_path_factory):
    """A whole training: its folder, its evaluation, and what it printed."""
    out = tmp_path_factory.mktemp("out") / "run"
    run_config = RunConfig(external=tuple(map(str, others)))
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        result = train_dataset(
            dataset, out, run_config, TRAIN_CONFIG, {"dataset_id": "d1"}
        )
    return out, result, printed.getvalue()


def train_only(dataset, out, run_config, train_config):
    """Train without evaluating and exporting; the classifier and its history."""
    data = open_dataset(dataset, run_config, train_config)
    classifier, _, history = learn(data, out, run_config, train_config)
    return classifier, history


def accuracy_of(classifier, dataset) -> float:
    images, labels = packed.load_split(dataset, "test")
    return (predict(classifier, np.array(images)).argmax(1) == labels).mean()


def test_a_training_learns_and_its_onnx_file_scores_what_the_evaluation_says(
    trained, dataset
):
    out, result, _ = trained
    assert result["overall"]["accuracy"] > 0.9
    images, labels = packed.load_split(dataset, "test")
    session = onnxruntime.InferenceSession(out / "model.onnx")
    probabilities = session.run(None, {"image": np.array(images)})[0]
    assert (probabilities.argmax(1) == labels).mean() == pytest.approx(
        result["overall"]["accuracy"]
    )


def test_a_training_leaves_all_that_is_deployed_and_looked_at(trained, dataset):
    out, result, _ = trained
    for name in (*DEPLOYABLES, *PICTURES, "history.json", "checkpoint.pt"):
        assert (out / name).stat().st_size > 0, name
    assert not list(out.glob("*.partial"))
    assert list((out / "tensorboard").iterdir())
    assert json.loads((out / "evaluation.json").read_text()) == result
    history = json.loads((out / "history.json").read_text())
    assert result["epochs"] == len(history) == TRAIN_CONFIG.epochs
    assert (out / "classes.txt").read_text() == (dataset / "classes.txt").read_text()
    assert result["dataset_id"] == "d1"
    assert {"source=left", "source=right", "brightness=dark"} < set(result["slices"])
    groups = [s for name, s in result["slices"].items() if name.startswith("group=")]
    assert sum(s["images"] for s in groups) == result["overall"]["images"]
    assert result["baselines"]["most_frequent"] == pytest.approx(0.25)
    assert 0.25 < result["baselines"]["logistic_regression"] <= 1
    golden = np.load(out / "golden.npz")
    assert golden["images"].dtype == np.uint8
    assert golden["probabilities"].shape == (len(golden["images"]), 4)


def test_the_same_seed_gives_the_same_weights(dataset, tmp_path):
    train_config = TrainConfig(epochs=1, batch_size=16, seed=7)
    weights = []
    for name in ("first", "second"):
        train_only(dataset, tmp_path / name, PLAIN, train_config)
        state = torch.load(tmp_path / name / "checkpoint.pt", weights_only=True)
        weights.append(torch.cat([v.flatten().float() for v in state.values()]))
    assert torch.equal(*weights)


def test_a_diverging_training_stops_with_the_remedy(dataset, tmp_path):
    with pytest.raises(InputError, match="--lr"):
        wild = TrainConfig(epochs=2, batch_size=16, lr=1e30)
        train_only(dataset, tmp_path / "out", RunConfig("baseline_cnn"), wild)


def test_an_empty_split_is_refused_by_name(tmp_path):
    folder = write_dataset(tmp_path / "data", train=0)
    with pytest.raises(InputError, match="train split .* is empty"):
        train_dataset(folder, tmp_path / "out", RunConfig(), TRAIN_CONFIG, {})
    assert not (tmp_path / "out").exists()


def test_the_time_budget_ends_a_training_and_its_schedule(dataset, tmp_path):
    train_config = TrainConfig(
        epochs=100000, batch_size=16, max_minutes=0.02, warmup=0.0
    )
    _, history = train_only(dataset, tmp_path / "out", PLAIN, train_config)
    assert 0 < len(history) < 100000
    # after so few epochs of so many it would be the peak still
    assert history[-1]["learning_rate"] < 0.5 * train_config.lr


def test_the_learning_rate_rises_to_its_peak_and_falls_to_zero():
    train_config = TrainConfig(lr=1.0, warmup=0.1)
    rates = [learning_rate(p, train_config) for p in np.linspace(0, 1, 101)]
    assert rates[0] == 0 and max(rates) == rates[10] == 1
    assert rates[-1] < 1e-9
    assert all(a >= b for a, b in zip(rates[10:], rates[11:]))


def test_evaluation_counts_what_a_person_would_count():
    labels = np.array([0, 0, 1, 1, 2])
    probabilities = np.eye(4, dtype=np.float32)[[0, 1, 1, 1, 2]]
    result = evaluate(
        probabilities, labels, ["a", "b", "c", "never"], {"x": labels == 0}
    )
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
    assert result["slices"]["x"]["accuracy"] == pytest.approx(0.5)


def test_the_threshold_of_99_percent_lets_no_more_mistakes_through():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, 4000)
    right = rng.random(4000) < np.where(confidence > 0.8, 1.0, 0.6)
    probabilities = np.stack([confidence, 1 - confidence], 1).astype(np.float32)
    labels = np.where(right, 0, 1)
    found = calibration(probabilities, labels)
    accepted = probabilities.max(1) >= found["threshold_99"]
    assert right[accepted].mean() >= 0.99
    assert accepted.mean() == pytest.approx(found["coverage_99"])
    assert 0.35 < found["coverage_99"] < 0.5


def test_calibration_error_is_zero_for_honest_confidence_and_large_for_boasting():
    honest = np.tile([[0.75, 0.25]], (400, 1)).astype(np.float32)
    labels = np.arange(400) % 4 // 3  # three of four are class 0
    assert calibration(honest, labels)["ece"] == pytest.approx(0, abs=1e-6)
    boasting = np.tile([[1.0, 0.0]], (400, 1)).astype(np.float32)
    assert calibration(boasting, labels)["ece"] == pytest.approx(0.25)


def test_a_killed_training_resumes_to_the_very_weights(dataset, tmp_path):
    """Killed by SIGKILL after some epochs; equal to one that was never interrupted."""
    code = (
        "import sys; from pathlib import Path;"
        "from training.config import RunConfig, TrainConfig;"
        "from training.data import open_dataset; from training.run import learn;"
        "how = RunConfig(), TrainConfig(epochs=int(sys.argv[3]), batch_size=16);"
        "data = open_dataset(Path(sys.argv[1]), *how);"
        "learn(data, Path(sys.argv[2]), *how)"
    )
    epochs = "8"
    killed = tmp_path / "killed"
    command = [sys.executable, "-c", code, str(dataset), str(killed), epochs]
    process = subprocess.Popen(command, cwd=ROOT)
    last = killed / "last.pt"
    while not last.exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = torch.load(last, weights_only=True)["counters"][0]
    assert 1 <= done < int(epochs)

    train_config = TrainConfig(epochs=int(epochs), batch_size=16)
    resumed = RunConfig(resume=str(killed))
    train_only(dataset, tmp_path / "resumed", resumed, train_config)
    train_only(dataset, tmp_path / "whole", RunConfig(), train_config)
    states = [
        torch.load(tmp_path / name / "checkpoint.pt", weights_only=True)
        for name in ("resumed", "whole")
    ]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[1])
    with pytest.raises(InputError, match="lr"):
        other = TrainConfig(epochs=int(epochs), batch_size=16, lr=1e-3)
        train_only(dataset, tmp_path / "other", resumed, other)
    manifest = dataset / "manifest.csv"
    again = shutil.copytree(dataset, tmp_path / "prepared again")
    header, *rows = manifest.read_text().splitlines(keepends=True)
    (again / "manifest.csv").write_text("".join([header, *rows[::-1]]))
    with pytest.raises(InputError, match="another dataset"):
        train_only(again, tmp_path / "other", resumed, train_config)
    with pytest.raises(InputError, match="another model .small_resnet, not mlp"):
        mlp = RunConfig(model="mlp", resume=str(killed))
        train_only(dataset, tmp_path / "other", mlp, train_config)


def test_two_processes_under_torchrun_train_one_model(dataset, tmp_path):
    script = tmp_path / "two.py"
    script.write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from pathlib import Path\n"
        "from training import distributed\n"
        "from training.config import RunConfig, TrainConfig\n"
        "from training.data import open_dataset\nfrom training.run import learn\n"
        "how = RunConfig(), TrainConfig(epochs=6, batch_size=16)\n"
        "with distributed.process_group():\n"
        "    order = distributed.share('two' if not distributed.rank() else None)\n"
        f"    out = Path({str(tmp_path)!r}) / order\n"
        f"    data = open_dataset(Path({str(dataset)!r}), *how)\n"
        "    _, _, history = learn(data, out, *how)\n"
        "    assert bool(history) != bool(distributed.rank())\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        + ["--nproc-per-node", "2", str(script)],
        # two processes cannot share the one GPU that there may be
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    data = open_dataset(dataset, PLAIN, TRAIN_CONFIG)
    classifier, _ = build_classifier(PLAIN, len(data.classes), data.record)
    checkpoint = tmp_path / "two" / "checkpoint.pt"
    classifier.load_state_dict(torch.load(checkpoint, weights_only=True))
    assert accuracy_of(classifier, dataset) > 0.9
    (log,) = (tmp_path / "two" / "tensorboard").iterdir()  # of one process


def test_more_processes_than_gpus_are_refused_with_the_number_to_use():
    distributed.check_gpus(2, 2)
    with pytest.raises(InputError, match="3 processes .* 1 GPU; .*-node 1,"):
        distributed.check_gpus(1, 3)


def test_patience_counts_epochs_that_are_not_better():
    run = Progress(TrainConfig(epochs=100, patience=3), 10)
    tired = []
    for accuracy in (0.5, 0.7, 0.7, 0.6, 0.7):
        run.epoch += 1
        run.note({"val_accuracy": accuracy})
        tired.append(run.is_over())
    assert tired == [False, False, False, False, True]


def test_a_seed_below_zero_is_refused():
    with pytest.raises(InputError, match="--seed is -1"):
        TrainConfig(seed=-1)


def test_a_batch_that_batch_norm_cannot_use_is_refused(dataset, tmp_path):
    with pytest.raises(InputError, match="--batch-size"):
        train_dataset(
            dataset, tmp_path / "out", RunConfig(), TrainConfig(batch_size=1), {}
        )


def test_early_stopping_ends_a_training_that_no_longer_improves(dataset, tmp_path):
    train_config = TrainConfig(epochs=500, batch_size=16, patience=3, lr=1e-9)
    _, history = train_only(dataset, tmp_path / "out", PLAIN, train_config)
    assert len(history) < 100


def test_int8_is_kept_only_where_it_answers_nearly_as_well(trained, dataset, tmp_path):
    run_config = RunConfig(int8=True, skip_baselines=True)
    result = train_dataset(dataset, tmp_path / "out", run_config, TRAIN_CONFIG, {})
    outcome = result["int8"]
    assert outcome["kept"] == (outcome["int8"] >= outcome["float32"] - 0.003)
    ops = {n.op_type for n in onnx.load(tmp_path / "out" / "model.onnx").graph.node}
    assert (
        ("QuantizeLinear" in ops) == outcome["kept"] == (result["precision"] == "int8")
    )
    golden = np.load(tmp_path / "out" / "golden.npz")
    answers = onnx_predict(tmp_path / "out" / "model.onnx", golden["images"])
    assert np.abs(answers - golden["probabilities"]).max() < 1e-4


def test_other_peoples_photographs_are_slices_of_their_own(trained, others):
    _, result, printed = trained
    parent = others[0].parent.name
    outside = [name for name in result["slices"] if name.startswith("external=")]
    assert outside == [f"external={parent}/others", "external=more/others"]
    assert [result["slices"][name]["images"] for name in outside] == [12, 3]
    assert result["slices"][outside[0]]["accuracy"] > 0.5
    assert "1 photographs of classes" in printed


@pytest.mark.parametrize(
    "train_config",
    [
        TrainConfig(epochs=4, batch_size=16, optimizer="sgd", lr=0.05, grad_clip=1.0),
        TrainConfig(epochs=4, batch_size=16, optimizer="adam"),
        TrainConfig(epochs=4, batch_size=16, optimizer="adamw"),
        TrainConfig(epochs=4, batch_size=16, contrastive=0.5),
    ],
    ids=lambda config: f"{config.optimizer}-{config.contrastive}",
)
def test_every_optimizer_and_loss_learns(dataset, tmp_path, train_config):
    classifier, _ = train_only(dataset, tmp_path / "out", PLAIN, train_config)
    assert accuracy_of(classifier, dataset) > 0.7


def test_a_frozen_backbone_keeps_its_weights_and_the_head_learns(
    trained, dataset, tmp_path
):
    source = trained[0] / "checkpoint.pt"
    three = write_dataset(tmp_path / "three", classes=3)
    train_config = TrainConfig(epochs=3, batch_size=16, backbone_lr=0.0)
    run_config = RunConfig(weights=str(source))
    classifier, _ = train_only(three, tmp_path / "out", run_config, train_config)
    assert accuracy_of(classifier, three) > 0.8
    before = torch.load(source, weights_only=True)
    after = torch.load(tmp_path / "out" / "checkpoint.pt", weights_only=True)
    frozen = [name for name in before if not name.startswith("network.10.")]
    for name in frozen:  # batch norm's statistics, too
        assert torch.equal(before[name], after[name]), name
    assert after["network.10.weight"].shape[0] == 3


def test_a_fast_dev_run_touches_every_part_with_one_batch(dataset, tmp_path):
    run_config = RunConfig(fast_dev_run=True)
    result = train_dataset(
        dataset, tmp_path / "out", run_config, TrainConfig(batch_size=8), {}
    )
    assert result["epochs"] == 1 and result["overall"]["images"] == 8
    torch.manual_seed(0)
    untrained = build_model("small_resnet", 4, 48).state_dict()
    checkpoint = tmp_path / "out" / "checkpoint.pt"
    after = torch.load(checkpoint, map_location="cpu", weights_only=True)
    assert not torch.equal(untrained["0.weight"], after["network.0.weight"])


@pytest.fixture
def run_infer(monkeypatch, capsys):
    """Runs the command in this process; gives exit code, output and errors."""

    def run_infer(*options):
        monkeypatch.setattr(sys, "argv", ["infer", *map(str, options)])
        code = 0
        try:
            main(lambda name: None)  # nothing is served here
        except SystemExit as end:
            code = end.code
        return code, *capsys.readouterr()

    return run_infer


@pytest.mark.parametrize("runtime", ["onnx", "torch"])
def test_infer_prints_the_letter_and_its_confidence(
    trained, tmp_path, runtime, run_infer
):
    picture = coloured_images(np.random.default_rng(1), [2], 60)[0]
    file = str(tmp_path / "red.png")
    cv2.imwrite(file, picture[:, :, ::-1])
    ask = ("--run", trained[0], "--image", file, "--runtime", runtime)
    code, plain, errors = run_infer(*ask)
    assert code == 0 and plain.startswith("Result: red (confidence: "), errors
    _, strict, _ = run_infer(*ask, "--json", "--threshold", "1")
    answer = json.loads(strict)
    assert answer["predicted_class"] == "uncertain"
    assert answer["image"] == file
    known = {"name": "asl", "version": None, "training": trained[0].name}
    assert answer["model"] == known
    assert max(answer["all_predictions"], key=answer["all_predictions"].get) == "red"
    code, _, errors = run_infer(*ask, "--threshold", "95")
    assert code == 2 and "from 0 to 1" in errors
    code, _, errors = run_infer(*ask, "--image", "none.png")
    assert code == 2 and errors.startswith("error: none.png")


@pytest.mark.parametrize("runtime", ["onnx", "torch"])
def test_infer_tells_an_incomplete_training_in_one_line(trained, tmp_path, runtime):
    part = tmp_path / "part"
    part.mkdir()
    for name in ("preprocessing.json", "classes.txt", "evaluation.json"):
        shutil.copyfile(trained[0] / name, part / name)
    picture = str(tmp_path / "red.png")
    cv2.imwrite(picture, np.zeros((50, 50, 3), np.uint8))
    with pytest.raises(InputError, match="results of a training") as caught:
        infer(part, [picture], runtime)
    assert "\n" not in str(caught.value)
