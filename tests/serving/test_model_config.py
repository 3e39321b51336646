import os

import pytest
from google.protobuf import text_format

from pipelines.repository import model_config
from pipelines.repository.model_config import (
    CLASSIFIER,
    DECODE,
    FUSED,
    GraphShapes,
    Settings,
)

SHAPES = GraphShapes("pix", "TYPE_UINT8", (96, 96, 3), "probs", "TYPE_FP32", (29,))
METADATA = {
    "task_id": "abc123",
    "dataset_id": 'quoted " and \\ back',
    "model_sha256": "0123456789abcdef" * 4,
}
ALL = [
    Settings(),
    Settings(shape="ensemble", cache=True),
    Settings(shape="ensemble", accelerator="openvino"),
    Settings("gpu"),
    Settings("gpu", accelerator="tensorrt", precision="fp16"),
]


def configs(settings=Settings(instances=3), metadata=METADATA):
    """Parts by kind, and what clients call by name; CLASSIFIER is the part."""
    parts = model_config.parts(SHAPES, 7, metadata, settings)
    return {**model_config.served(parts, 7), **parts}


@pytest.mark.parametrize("settings", ALL, ids=str)
def test_the_text_of_every_config_parses_back_to_the_same_message(settings):
    parts = model_config.parts(SHAPES, 7, METADATA, settings)
    for config in [*parts.values(), *model_config.served(parts, 7).values()]:
        assert model_config.from_text(model_config.to_text(config)) == config


def test_a_batch_size_of_zero_is_written_out():
    config = configs()[FUSED]
    config.max_batch_size = 0

    text = model_config.to_text(config)

    assert "max_batch_size: 0\n" in text
    assert model_config.from_text(text) == config


def test_text_that_is_no_config_is_refused():
    with pytest.raises(text_format.ParseError):
        model_config.from_text("max_batch_size: many")


def test_names_and_shapes_are_those_of_the_graph():
    found = configs(Settings(shape="ensemble"))

    assert found[CLASSIFIER].input[0].name == "pix"
    assert list(found[CLASSIFIER].input[0].dims) == [96, 96, 3]
    assert list(found[CLASSIFIER].output[0].dims) == [29]
    assert list(found[DECODE].output[0].dims) == [96, 96, 3]
    assert found["asl"].output[0].name == "probs"
    assert configs()[FUSED].output[0].name == "probs"


@pytest.mark.parametrize("settings", ALL, ids=str)
def test_clients_are_passed_on_to_the_parts_of_one_version(settings):
    parts = model_config.parts(SHAPES, 7, METADATA, settings)
    by_name = {config.name: config for config in parts.values()}
    assert all(name.endswith("_7") for name in by_name)

    for name, config in model_config.served(parts, 7).items():
        assert config.name == name
        assert list(config.version_policy.specific.versions) == [1]
        assert config.parameters["version"].string_value == "7"
        assert config.parameters["task_id"].string_value == "abc123"
        tensors = {config.input[0].name}
        for step in config.ensemble_scheduling.step:
            part = by_name[step.model_name]
            assert set(step.input_map) == {x.name for x in part.input}
            assert set(step.output_map) == {x.name for x in part.output}
            assert set(step.input_map.values()) <= tensors
            tensors |= set(step.output_map.values())
        assert {x.name for x in config.output} <= tensors


def test_instances_are_single_threaded_on_the_cpu_and_one_a_gpu():
    cpu, gpu = configs()[CLASSIFIER], configs(Settings("gpu"))[CLASSIFIER]

    assert (cpu.instance_group[0].kind, cpu.instance_group[0].count) == (2, 3)
    assert cpu.parameters["intra_op_thread_count"].string_value == "1"
    assert (gpu.instance_group[0].kind, gpu.instance_group[0].count) == (1, 1)
    assert "intra_op_thread_count" not in gpu.parameters


def test_tensorrt_gets_its_precision_and_the_batches_of_the_graph():
    settings = Settings("gpu", accelerator="tensorrt", precision="fp16")
    optimization = configs(settings)[CLASSIFIER].optimization
    (tensorrt,) = optimization.execution_accelerators.gpu_execution_accelerator

    assert tensorrt.name == "tensorrt"
    assert tensorrt.parameters["precision_mode"] == "FP16"
    assert tensorrt.parameters["trt_profile_min_shapes"] == "pix:1x96x96x3"
    assert tensorrt.parameters["trt_profile_max_shapes"] == "pix:64x96x96x3"


def test_a_model_trained_anew_is_not_given_the_engines_of_the_one_before():
    settings = Settings("gpu", accelerator="tensorrt")
    paths = []
    for model in (METADATA, METADATA | {"model_sha256": "fedcba9876543210" * 4}):
        accelerators = configs(settings, model)[
            CLASSIFIER
        ].optimization.execution_accelerators
        (tensorrt,) = accelerators.gpu_execution_accelerator
        paths.append(tensorrt.parameters["trt_engine_cache_path"])

    # right below the folder of the image: ONNX Runtime makes one level only
    assert paths == [
        f"{model_config.ENGINE_CACHE}/{model}"
        for model in ("0123456789abcdef", "fedcba9876543210")
    ]


def test_instances_are_by_default_the_cores_that_this_machine_gives(tmp_path):
    cores = min(len(os.sched_getaffinity(0)), model_config.MAX_INSTANCES)
    quota = tmp_path / "cpu.max"
    assert model_config.default_instances(quota) == cores
    for text, expected in {
        "max 100000\n": cores,
        "50000 100000\n": 1,
        "100000 100000\n": 1,
        "150000 100000\n": min(2, cores),
        "6400000 100000\n": cores,
    }.items():
        quota.write_text(text)
        assert model_config.default_instances(quota) == expected

    assert Settings().instances == model_config.default_instances()
    assert Settings(instances=64).instances == 64


def test_openvino_is_an_accelerator_of_the_cpu():
    settings = Settings(shape="ensemble", accelerator="openvino")
    accelerators = configs(settings)[CLASSIFIER].optimization.execution_accelerators

    assert [x.name for x in accelerators.cpu_execution_accelerator] == ["openvino"]


@pytest.mark.parametrize(
    "options",
    [
        {"accelerator": "tensorrt"},
        {"device": "gpu", "accelerator": "openvino"},
        {"precision": "fp16"},
        {"device": "gpu", "shape": "fused"},
    ],
    ids=str,
)
def test_settings_that_contradict_each_other_are_refused(options):
    with pytest.raises(ValueError, match="--"):
        Settings(**options)
