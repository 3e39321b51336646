"""The Python backend "onnxruntime" against configs that the C++ one of Triton takes."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
import tritonclient.grpc
from leftovers import processes
from onnx import TensorProto, helper, numpy_helper
from tiny_model import make_graph
from tritonclient.utils import InferenceServerException

from pipelines.repository import graph_check
from pipelines.serving import server_keys

pytestmark = pytest.mark.slow


@pytest.fixture
def load(server):
    """A function that adds a model to the running server; it is unloaded after."""
    client = server_keys.client(server.grpc_url, server.repository)
    loaded = []

    def load(name, graph, config="") -> dict:
        folder = server.repository / name
        (folder / "1").mkdir(parents=True)
        onnx.save(graph, folder / "1" / "model.onnx")
        if config:
            text = f'backend: "onnxruntime"\n{config}'
            (folder / "config.pbtxt").write_text(text)
        loaded.append(name)
        client.load_model(name)
        return client.get_model_config(name).config

    yield load
    for name in loaded:
        client.unload_model(name)
    client.close()


def table_graph() -> onnx.ModelProto:
    """Look numbers up in a table of five: an index beyond it fails at run time."""
    table = np.arange(5, dtype=np.float32) * 10
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "index"], ["value"])],
        "table",
        [helper.make_tensor_value_info("index", TensorProto.INT64, ["batch", 1])],
        [helper.make_tensor_value_info("value", TensorProto.FLOAT, ["batch", 1])],
        [numpy_helper.from_array(table, "table")],
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10
    )


def test_strings_arrive_as_they_were_sent(server, load):
    shape = ["batch", 1]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["word"], ["same"])],
        "echo",
        [helper.make_tensor_value_info("word", TensorProto.STRING, shape)],
        [helper.make_tensor_value_info("same", TensorProto.STRING, shape)],
    )
    opset = [helper.make_opsetid("", graph_check.MAX_OPSETS[""])]
    load("echo", helper.make_model(graph, opset_imports=opset, ir_version=10))
    words = np.array([["abc"], ["Grüße"]], object)

    tensor = tritonclient.grpc.InferInput("word", words.shape, "BYTES")
    tensor.set_data_from_numpy(words)
    with tritonclient.grpc.InferenceServerClient(server.grpc_url) as client:
        same = client.infer("echo", [tensor]).as_numpy("same")

    assert [word.decode() for word in same.ravel()] == ["abc", "Grüße"]


def test_a_request_that_fails_at_run_time_spares_its_batch_mates(server, load):
    load(
        "table",
        table_graph(),
        "max_batch_size: 8\n"
        "dynamic_batching { preferred_batch_size: 6 "
        "max_queue_delay_microseconds: 500000 }",
    )

    def ask(index):
        tensor = tritonclient.grpc.InferInput("index", [1, 1], "INT64")
        tensor.set_data_from_numpy(np.array([[index]]))
        with tritonclient.grpc.InferenceServerClient(server.grpc_url) as client:
            try:
                return client.infer("table", [tensor]).as_numpy("value").item()
            except InferenceServerException as error:
                return error.message()

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(ask, [0, 1, 2, 99, 3, 4]))

    assert "idx=99 must be within" in answers.pop(3)
    assert answers == [0, 10, 20, 30, 40]
    with tritonclient.grpc.InferenceServerClient(server.grpc_url) as client:
        statistics = client.get_inference_statistics("table").model_stats[0]
    # they were batch-mates: fewer executions than requests
    assert statistics.execution_count < 6


def test_a_missing_config_is_completed_from_the_graph(load):
    config = load("bare", make_graph(image_size=16, classes=3))

    assert config.max_batch_size == 4
    assert (config.input[0].name, list(config.input[0].dims)) == ("image", [16, 16, 3])
    assert config.input[0].data_type == 2  # TYPE_UINT8
    assert (config.output[0].name, list(config.output[0].dims)) == (
        "probabilities",
        [3],
    )
    assert config.HasField("dynamic_batching")


def test_without_batching_the_batch_is_a_dimension_like_others(load):
    config = load("single", make_graph(16, 3, batch=1))

    assert config.max_batch_size == 0
    assert list(config.input[0].dims) == [1, 16, 16, 3]


@pytest.mark.parametrize(
    "name, graph, config, expected",
    [
        (
            "other_dims",
            make_graph(16, 3),
            'max_batch_size: 8 input { name: "image" data_type: TYPE_UINT8 '
            "dims: [ 24, 24, 3 ] }",
            "[16, 16, 3] in the graph, but TYPE_UINT8 [24, 24, 3] in the config",
        ),
        (
            "other_type",
            make_graph(16, 3),
            'max_batch_size: 8 input { name: "image" data_type: TYPE_FP32 '
            "dims: [ 16, 16, 3 ] }",
            "but TYPE_FP32",
        ),
        (
            "other_name",
            make_graph(16, 3),
            'max_batch_size: 8 input { name: "picture" data_type: TYPE_UINT8 '
            "dims: [ 16, 16, 3 ] }",
            "no tensor 'picture'; it has image",
        ),
        (
            "fixed_batch",
            make_graph(16, 3, batch=1),
            "max_batch_size: 8",
            "dynamic batch",
        ),
        (
            "accelerated",
            make_graph(16, 3),
            "max_batch_size: 8 optimization { execution_accelerators { "
            'cpu_execution_accelerator: [ { name: "openvino" } ] } }',
            "no accelerator 'openvino'",
        ),
        (
            "threads",
            make_graph(16, 3),
            'max_batch_size: 8 parameters { key: "intra_op_thread_count" '
            'value { string_value: "many" } }',
            "intra_op_thread_count is 'many'",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isidentifier() else "",
)
def test_a_config_that_contradicts_the_graph_is_refused(
    name, graph, config, expected, load
):
    with pytest.raises(InferenceServerException) as caught:
        load(name, graph, config)

    assert expected in caught.value.message()


def test_instances_are_processes_with_as_many_threads_as_the_config_says(server, load):
    def threads(name, count, intra):
        load(
            name,
            make_graph(16, 3),
            "max_batch_size: 8\n"
            f"instance_group {{ kind: KIND_CPU count: {count} }}\n"
            'parameters { key: "intra_op_thread_count" '
            f'value {{ string_value: "{intra}" }} }}',
        )
        model = str(server.repository / name / "1" / "model.onnx")
        return [
            len(list(Path(f"/proc/{process.pid}/task").iterdir()))
            for process in processes()
            if model in process.command
        ]

    one, three = threads("one_thread", 2, 1), threads("three_threads", 1, 3)

    assert (len(one), len(three)) == (2, 1)
    assert three[0] - one[0] == 2
