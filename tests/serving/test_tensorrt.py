"""What is made for TensorRT, which is not here: graphs and command lines."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from tiny_model import make_artifacts, make_graph

from data_prep.errors import InputError
from pipelines import export_plan
from pipelines.repository import versions
from pipelines.repository.graph_check import check_graph
from pipelines.repository.model_config import Settings, from_text
from pipelines.repository.tensorrt_graph import cast_first


def transposing(folder):
    """Artifacts whose graph moves the bytes before it makes numbers of them."""
    make_artifacts(folder, 24)
    model = onnx.load(folder / "model.onnx")
    nodes = model.graph.node
    nodes[0].input[0] = "moved"
    first = helper.make_node("Transpose", ["image"], ["there"], perm=[0, 3, 1, 2])
    back = helper.make_node("Transpose", ["there"], ["moved"], perm=[0, 2, 3, 1])
    nodes.insert(0, back)
    nodes.insert(0, first)
    onnx.save(onnx.shape_inference.infer_shapes(model), folder / "model.onnx")
    return folder


def answers(path, images):
    session = onnxruntime.InferenceSession(path)
    return session.run(["probabilities"], {"image": images})[0]


def test_a_graph_for_tensorrt_casts_first_and_answers_the_same(tmp_path):
    artifacts, repository = transposing(tmp_path / "run"), tmp_path / "models"
    settings = Settings("gpu", instances=1, accelerator="tensorrt")

    versions.render(artifacts, repository, {}, settings)

    (served,) = repository.glob("asl_classifier_1/1/model.onnx")
    graph = onnx.load(served).graph
    assert [n.op_type for n in graph.node if "image" in n.input] == ["Cast"]
    images = np.random.default_rng(1).integers(0, 256, (5, 24, 24, 3), np.uint8)
    expected = answers(artifacts / "model.onnx", images)
    np.testing.assert_array_equal(answers(served, images), expected)


def test_a_graph_that_computes_with_bytes_is_refused_before_anything_is_written(
    tmp_path,
):
    graph = make_graph().graph
    graph.node[0].input[0] = "brighter"
    graph.node.insert(0, helper.make_node("Add", ["image", "one"], ["brighter"]))
    graph.initializer.append(helper.make_tensor("one", TensorProto.UINT8, [1], [1]))
    with pytest.raises(InputError, match="go into Add; deploy it without"):
        cast_first(graph)


def test_a_plan_is_built_for_the_batches_and_sizes_of_the_graph(tmp_path):
    artifacts = make_artifacts(tmp_path / "run", 24)
    shapes = check_graph(artifacts / "model.onnx")

    line = export_plan.command("trtexec", "in.onnx", "out.plan", shapes, "fp16")

    assert line == [
        "trtexec",
        "--onnx=in.onnx",
        "--saveEngine=out.plan",
        "--minShapes=image:1x24x24x3",
        "--optShapes=image:16x24x24x3",
        "--maxShapes=image:64x24x24x3",
        "--fp16",
        "--skipInference",
    ]
    config = export_plan.plan_config("asl_plan", shapes)
    assert from_text(str(config)) == config
    assert (config.backend, config.name) == ("tensorrt", "asl_plan")
    assert not config.optimization.execution_accelerators.gpu_execution_accelerator
    assert config.instance_group[0].kind == config.instance_group[0].KIND_GPU
    assert config.model_warmup and list(config.input[0].dims) == [24, 24, 3]


def test_without_trtexec_one_line_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="TensorRT is not on this machine") as caught:
        export_plan.find_tool()
    assert "\n" not in str(caught.value)


def test_what_trtexec_says_last_is_told(tmp_path):
    with pytest.raises(InputError, match=r"says: \[E\] no GPU"):
        export_plan.build(["sh", "-c", "echo '[E] no GPU'; echo end; exit 1"])
