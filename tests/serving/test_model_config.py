import pytest
from google.protobuf import text_format

from pipelines import model_config
from pipelines.model_config import CLASSIFIER, DECODE, ENSEMBLE, GraphShapes

SHAPES = GraphShapes("pix", "TYPE_UINT8", (96, 96, 3), "probs", "TYPE_FP32", (29,))
METADATA = {"task_id": "abc123", "dataset_id": 'quoted " and \\ back'}


def configs(device="cpu"):
    return model_config.build(SHAPES, 7, METADATA, device, instances=3)


@pytest.mark.parametrize("device", ["cpu", "gpu"])
@pytest.mark.parametrize("model", [CLASSIFIER, DECODE, ENSEMBLE])
def test_the_text_of_a_config_parses_back_to_the_same_message(model, device):
    config = configs(device)[model]

    assert model_config.from_text(model_config.to_text(config)) == config


def test_a_batch_size_of_zero_is_written_out():
    config = configs()[DECODE]
    config.max_batch_size = 0

    text = model_config.to_text(config)

    assert "max_batch_size: 0\n" in text
    assert model_config.from_text(text) == config


def test_text_that_is_no_config_is_refused():
    with pytest.raises(text_format.ParseError):
        model_config.from_text("max_batch_size: many")


def test_names_and_shapes_are_those_of_the_graph():
    classifier = configs()[CLASSIFIER]

    assert classifier.input[0].name == "pix"
    assert list(classifier.input[0].dims) == [96, 96, 3]
    assert classifier.output[0].name == "probs"
    assert list(classifier.output[0].dims) == [29]
    assert configs()[ENSEMBLE].output[0].name == "probs"
    assert list(configs()[DECODE].output[0].dims) == [96, 96, 3]


def test_all_three_serve_one_version_and_the_labels_are_of_that_version():
    for config in configs().values():
        assert list(config.version_policy.specific.versions) == [7]
        assert config.parameters["task_id"].string_value == "abc123"
    assert configs()[CLASSIFIER].output[0].label_filename == "7/classes.txt"
    steps = configs()[ENSEMBLE].ensemble_scheduling.step
    assert [(step.model_name, step.model_version) for step in steps] == [
        (DECODE, 7),
        (CLASSIFIER, 7),
    ]


def test_the_ensemble_passes_what_its_parts_take_and_give():
    parts = configs()
    tensors = {parts[ENSEMBLE].input[0].name}
    for step in parts[ENSEMBLE].ensemble_scheduling.step:
        part = parts[step.model_name]
        assert set(step.input_map) == {x.name for x in part.input}
        assert set(step.output_map) == {x.name for x in part.output}
        assert set(step.input_map.values()) <= tensors
        tensors |= set(step.output_map.values())
    assert {x.name for x in parts[ENSEMBLE].output} <= tensors


def test_instances_are_single_threaded_on_the_cpu_and_one_a_gpu():
    cpu, gpu = configs("cpu")[CLASSIFIER], configs("gpu")[CLASSIFIER]

    assert (cpu.instance_group[0].kind, cpu.instance_group[0].count) == (2, 3)
    assert cpu.parameters["intra_op_thread_count"].string_value == "1"
    assert (gpu.instance_group[0].kind, gpu.instance_group[0].count) == (1, 1)
    assert "intra_op_thread_count" not in gpu.parameters
