"""The hand model answers alike in torch and ONNX, in any batch, here and served."""

import json
import subprocess

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hand_photographs import LETTERS, moved, photograph, photographs

from data_prep.drawing.scene import draw_image
from data_prep.paths import ROOT
from data_prep.preprocessing import Preprocessing
from training.config import RunConfig
from training.export import IR_VERSION, export_onnx
from training.hands.letters import GeometryNetwork
from training.hands.model import GEOMETRY, HandModel, Letters
from training.hands.readings import read_photographs
from training.start import build_classifier

OUTPUTS = ["probabilities", "landmarks", "hand", "handedness"]
NO_HAND = (1, 4)  # of the images


@pytest.fixture(scope="module")
def images():
    """Seven photographs: two empty rooms, a left hand, a small and a turned one."""
    hands = list(photographs(LETTERS))
    rooms = [draw_image("nothing", np.random.default_rng(i), 256) for i in range(2)]
    small = moved(photograph("Y", 2), 0.4, 0.2, 0.15)
    plain = [hands[0], rooms[0], hands[1][:, ::-1], small]
    return np.stack([*plain, rooms[1], hands[2], np.rot90(hands[3])])


@pytest.fixture(scope="module")
def model(networks):
    """With networks of random weights: they answer anything but evenly."""
    torch.manual_seed(3)
    record = Preprocessing(256)
    run_config = RunConfig(model="baseline_cnn", find_hand="yes")
    pixels, _ = build_classifier(run_config, len(LETTERS), record)
    geometry = GeometryNetwork(len(LETTERS))
    return HandModel.load(Letters(geometry, pixels, temperature=0.7)).eval()


@pytest.fixture(scope="module")
def onnx_file(model, images, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    export_onnx(model, path, images, {"task_id": "t1"})
    return path


@pytest.fixture(scope="module")
def session(onnx_file):
    return onnxruntime.InferenceSession(onnx_file)


@pytest.fixture(scope="module")
def expected(model, images):
    with torch.inference_mode():
        return [part.numpy() for part in model(torch.from_numpy(images))]


ALL = slice(None)


def close(got, expected, rows=ALL):
    for name, ours, theirs in zip(OUTPUTS, got, expected):
        limit = 1e-4 if name == "probabilities" else 2e-3
        np.testing.assert_allclose(ours, theirs[rows], atol=limit, err_msg=name)


def test_the_graph_has_the_outputs_that_clients_read(session, onnx_file):
    (given,) = session.get_inputs()
    assert (given.name, given.type) == ("image", "tensor(uint8)")
    assert given.shape[1:] == [256, 256, 3] and isinstance(given.shape[0], str)
    assert [value.name for value in session.get_outputs()] == OUTPUTS
    shapes = [value.shape[1:] for value in session.get_outputs()]
    assert shapes == [[len(LETTERS)], [21, 3], [1], [1]]
    proto = onnx.load(onnx_file)
    assert proto.ir_version <= IR_VERSION
    assert {p.key: p.value for p in proto.metadata_props} == {"task_id": "t1"}


def test_the_photographs_take_all_three_looks(expected):
    presence = expected[2][:, 0]
    assert (np.flatnonzero(presence < 0.5) == NO_HAND).all()


@pytest.mark.parametrize("batch", [1, 3, 7])
def test_torch_and_onnx_agree_on_all_outputs(session, images, expected, batch):
    for start in range(0, len(images), batch):
        rows = slice(start, start + batch)
        close(session.run(None, {"image": images[rows]}), expected, rows)


def test_an_answer_does_not_depend_on_the_rest_of_its_batch(session, images, expected):
    orders = [
        [6, 5, 4, 3, 2, 1, 0],
        [1, 4],  # none with a hand: all are looked at again
        [0, 2, 5],  # none is
        [1, 0, 1],
    ]
    for order in orders:
        close(session.run(None, {"image": images[order]}), expected, order)


def test_probabilities_are_those_of_the_two_networks_mixed(
    model, images, expected, graph
):
    """Of photographs that were read before, and of the share that is documented."""
    told = model.letters.predict_probabilities(read_photographs(images, graph, "read"))
    np.testing.assert_allclose(told, expected[0], atol=2e-3)
    np.testing.assert_allclose(told.sum(1), 1, atol=1e-5)
    with torch.inference_mode():
        read = model.reader(torch.from_numpy(images[:1]))
        shape = (model.letters.geometry(read.hand) / 0.7).softmax(1)
        cut = read.picture[:, :, 14:-14, 14:-14].permute(0, 2, 3, 1)
        mixed = GEOMETRY * shape + (1 - GEOMETRY) * model.letters.pixels(cut)
    np.testing.assert_allclose(mixed, expected[0][:1], atol=1e-4)


def test_the_serving_environment_answers_the_same(
    onnx_file, images, expected, tmp_path
):
    """Its ONNX Runtime is older."""
    python = ROOT / ".venv-serving" / "bin" / "python"
    if not python.exists():
        pytest.skip("no serving environment; scripts/setup serving makes it")
    np.save(tmp_path / "images.npy", images)
    code = (
        "import sys, json, numpy as np, onnxruntime\n"
        "model, images, out = sys.argv[1:]\n"
        "session = onnxruntime.InferenceSession(model)\n"
        "np.savez(out, *session.run(None, {'image': np.load(images)}))\n"
        "print(json.dumps(onnxruntime.__version__))\n"
    )
    out = tmp_path / "answers.npz"
    command = [python, "-c", code, onnx_file, tmp_path / "images.npy", out]
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=250
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout).startswith("1.19.")
    answers = np.load(out)
    close([answers[name] for name in answers.files], expected)
