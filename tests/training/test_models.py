import subprocess
import urllib.request

import numpy as np
import onnx
import pytest
import torch

from data_prep.errors import InputError
from data_prep.paths import ROOT
from data_prep.preprocessing import Preprocessing
from training.config import NETWORKS
from training.export import check_parity, export_onnx, golden_inputs
from training.loop import predict
from training.models import BUILDERS, build_model, load_pretrained, load_weights
from training.network import Classifier, autocast_for, computes_bfloat16

FAMILIES = ["small_resnet", "squeezenet1_1"]  # one of ours, and one of a zoo
FAMILIES += [
    pytest.param(name, marks=pytest.mark.campaign)
    for name in (*NETWORKS, "mobilenet_v3_small", "resnet18")
    if name != "small_resnet"
]


def classifier(name, size, classes=5):
    torch.manual_seed(0)
    record = Preprocessing(image_size=size, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
    return Classifier(build_model(name, classes, size), record).eval()


def pixels(count, size):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [28, 64, 128])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", BUILDERS)
def test_our_models_take_any_image_size_grey_or_coloured(name, channels, size):
    images = torch.zeros(2, channels, size, size)
    assert build_model(name, 29, size, channels)(images).shape == (2, 29)


def test_the_mlp_on_grey_28_pixels_has_784_inputs():
    assert build_model("mlp", 24, 28, 1)[1].weight.shape == (128, 784)


def test_a_model_too_deep_for_the_image_size_is_refused():
    with pytest.raises(InputError, match="--image-size"):
        build_model("alexnet", 5, 28)


def test_weights_of_another_model_are_refused(tmp_path):
    torch.save(build_model("mlp", 5, 32).state_dict(), tmp_path / "mlp.pt")
    (tmp_path / "text.pt").write_text("no weights")
    torch.save({"model": "resnet18", 1: 2}, tmp_path / "named.pt")
    network = build_model("small_resnet", 5, 32)
    for name in ("named.pt", "mlp.pt", "text.pt", "missing.pt"):
        with pytest.raises(InputError, match=name):
            load_weights(network, tmp_path / name)


def test_a_zoos_weights_fit_behind_grey_images_too(tmp_path):
    name = "mobilenet_v3_small"
    plain = build_model(name, 5, 64)
    torch.save(plain.state_dict(), tmp_path / "plain.pt")
    network = build_model(name, 5, 64, channels=1)
    assert load_weights(network, tmp_path / "plain.pt") == []
    first = next(iter(plain.state_dict().values()))
    assert torch.equal(network.state_dict()["1.features.0.0.weight"], first)


def test_without_a_network_pretrained_weights_are_a_warning(monkeypatch, capsys):
    # urllib remembers the proxies of its first use for all later ones
    monkeypatch.setattr(urllib.request, "_opener", None)
    # a proxy that nothing listens on: the download fails at once, anywhere
    for scheme in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(scheme, "http://127.0.0.1:9")
    monkeypatch.setenv("TORCH_HOME", "/nonexistent")
    network = build_model("mobilenet_v3_small", 5, 64)
    fresh = load_pretrained(network, "mobilenet_v3_small")
    assert set(fresh) == {name for name, _ in network.named_parameters()}
    assert "--weights FILE" in capsys.readouterr().err


def test_an_unknown_model_is_refused_with_a_near_name():
    with pytest.raises(InputError, match="resnet18"):
        build_model("resnet_18", 5, 64)


def test_the_graph_normalises_as_the_record_says():
    model, images = classifier("small_resnet", 32), pixels(3, 32)
    record = Preprocessing(image_size=32, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
    scaled = (images / 255.0 - record.mean) / record.std
    x = torch.from_numpy(scaled.astype(np.float32)).permute(0, 3, 1, 2)
    with torch.inference_mode():
        expected = torch.softmax(model.network(x), 1).numpy()
    assert np.abs(predict(model, images) - expected).max() < 1e-5


SERVE = """
import sys
from pathlib import Path
import numpy as np, onnxruntime
path = Path(sys.argv[1])
golden = np.load(path.with_name("golden.npy"))
session = onnxruntime.InferenceSession(path)
np.save(path.with_suffix(".npy"), session.run(None, {"image": golden})[0])
print(onnxruntime.__version__)
"""


@pytest.fixture(scope="module")
def exported(request, tmp_path_factory):
    """A folder with a family's graph and the golden pixels, and torch's answers."""
    name = request.param
    folder, golden = tmp_path_factory.mktemp("exported"), pixels(7, 64)
    np.save(folder / "golden.npy", golden)
    metadata = {"task_id": "t1", "dataset_id": "d1"}
    path = folder / f"{name}.onnx"
    answers = export_onnx(classifier(name, 64), path, golden, metadata)
    assert len(list(folder.iterdir())) == 2  # the graph is one file
    return path, golden, answers


@pytest.mark.parametrize("exported", FAMILIES, indirect=True)
def test_the_exported_graph_meets_the_contract_of_the_server(exported):
    path, golden, expected = exported
    graph = onnx.load(path)
    assert {p.key: p.value for p in graph.metadata_props}["task_id"] == "t1"
    assert graph.ir_version <= 10
    assert [o.version for o in graph.opset_import if not o.domain] == [18]
    (inputs,), (outputs,) = graph.graph.input, graph.graph.output
    dims = inputs.type.tensor_type.shape.dim
    assert (inputs.name, outputs.name) == ("image", "probabilities")
    assert inputs.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert dims[0].dim_param and [d.dim_value for d in dims[1:]] == [64, 64, 3]
    assert np.allclose(expected.sum(1), 1, atol=1e-5)
    assert check_parity(path, golden, expected) < 1e-4
    assert str(path.parent.parent) not in path.read_bytes().decode("latin-1")
    assert "site-packages" not in path.read_bytes().decode("latin-1")


@pytest.mark.parametrize("exported", FAMILIES, indirect=True)
def test_the_older_runtime_of_the_server_answers_as_torch_does(exported):
    path, _, expected = exported
    python = ROOT / ".venv-serving" / "bin" / "python"
    if not python.exists():
        pytest.skip("no serving environment; scripts/setup serving makes it")
    command = [python, "-c", SERVE, path]
    version = subprocess.run(command, check=True, capture_output=True, text=True)
    assert version.stdout.startswith("1.19.")
    served = np.load(path.with_suffix(".npy"))
    np.testing.assert_allclose(served, expected, rtol=0, atol=1e-4)


def test_a_graph_that_answers_otherwise_is_refused(tmp_path):
    model, golden = classifier("mlp", 32), pixels(4, 32)
    path = tmp_path / "model.onnx"
    expected = export_onnx(model, path, golden, {})
    with pytest.raises(RuntimeError, match="differs from torch|other classes"):
        check_parity(path, golden, expected[::-1])


def test_golden_inputs_cover_every_class():
    labels = np.repeat(np.arange(6), 10)
    images = np.broadcast_to(labels[:, None, None, None], (60, 8, 8, 3)).astype(
        np.uint8
    )
    golden = golden_inputs(images, labels, count=12)
    assert len(golden) == 12
    assert set(golden[:, 0, 0, 0]) == set(range(6))


def test_a_grey_model_sees_brightness_only(tmp_path):
    torch.manual_seed(0)
    record = Preprocessing(image_size=28)
    model = Classifier(build_model("mlp", 5, 28, 1), record, grey=True).eval()
    colours = np.zeros((2, 28, 28, 3), np.uint8)
    colours[0, ..., 0], colours[1, ..., 1] = 187, 95  # red and green, equally bright
    answers = predict(model, colours)
    assert np.abs(answers[0] - answers[1]).max() < 2e-3
    export_onnx(model, tmp_path / "model.onnx", pixels(4, 28), {})


@pytest.mark.parametrize(
    "cpu, expected",
    [
        ({"cpu_name": "AMD Zen 5", "avx512_bf16": True, "amx_bf16": False}, True),
        ({"cpu_name": "AMD Zen 3", "avx512_bf16": False, "amx_bf16": False}, False),
        ({"cpu_name": "Intel Xeon", "avx512_bf16": True, "amx_bf16": True}, True),
        ({"cpu_name": "Intel Xeon", "avx512_bf16": True, "amx_bf16": False}, False),
        ({"architecture": "aarch64"}, False),
    ],
)
def test_bfloat16_is_used_where_the_processor_gains_by_it(cpu, expected):
    assert computes_bfloat16(cpu) is expected


def test_a_network_of_depthwise_convolutions_trains_in_float32_on_any_cpu():
    cpu, here = torch.device("cpu"), torch.cpu.get_capabilities()
    dense, depthwise = torch.nn.Conv2d(8, 8, 3), torch.nn.Conv2d(8, 8, 3, groups=8)
    for network, fast in ((dense, computes_bfloat16(here)), (depthwise, False)):
        with autocast_for(network, cpu):
            dtype = network(torch.zeros(1, 8, 4, 4)).dtype
        assert dtype == (torch.bfloat16 if fast else torch.float32)
