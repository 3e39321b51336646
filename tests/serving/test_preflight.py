import numpy as np
import onnx
import pytest
from onnx import TensorProto
from tiny_model import make_artifacts, make_graph

from data_prep.errors import InputError
from data_prep.preprocessing import Preprocessing
from pipelines.repository import preflight


def save(graph):
    return lambda folder: onnx.save(graph, folder / "model.onnx")


def write(name, text):
    return lambda folder: (folder / name).write_text(text)


def with_output_type(kind):
    graph = make_graph()
    graph.graph.output[0].type.tensor_type.elem_type = kind
    graph.graph.node.append(
        onnx.helper.make_node("Cast", ["soft"], ["probabilities"], to=kind)
    )
    graph.graph.node[-2].output[0] = "soft"
    return graph


def with_open_image_size():
    graph = make_graph()
    graph.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "height"
    return graph


def weights_in_a_second_file(folder):
    onnx.save(
        make_graph(),
        folder / "model.onnx",
        save_as_external_data=True,
        size_threshold=0,
    )


def truncate(folder):
    path = folder / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1000])


def golden(**arrays):
    def change(folder):
        with np.load(folder / "golden.npz") as before:
            np.savez(folder / "golden.npz", **{**before, **arrays})

    return change


FAULTS = {
    "a missing file": (lambda f: (f / "golden.npz").unlink(), "golden.npz is missing"),
    "a truncated graph": (truncate, "not a valid ONNX model"),
    "no graph at all": (write("model.onnx", "hello"), "not a valid ONNX model"),
    "a second file": (weights_in_a_second_file, "external_data=False"),
    "a newer opset": (save(make_graph(opset=23)), "opset 23"),
    "a newer IR": (save(make_graph(ir_version=13)), "IR version 13"),
    "a fixed batch": (save(make_graph(batch=1)), "'image' is fixed"),
    "an open image size": (save(with_open_image_size()), "3 fixed ones"),
    "half precision": (save(with_output_type(TensorProto.FLOAT16)), "FLOAT16; FLOAT"),
    "too few labels": (write("classes.txt", "A\nB\n"), "2 labels for 5 outputs"),
    "a label twice": (write("classes.txt", "A\nB\nC\nA\nE\n"), "occur twice"),
    "an empty label": (write("classes.txt", "A\nB\n\nD\nE\n"), "labels are empty"),
    "another image size": (
        lambda f: Preprocessing(image_size=64).save(f / "preprocessing.json"),
        "(64, 64, 3)",
    ),
    "no record": (write("preprocessing.json", "[1]"), "not a preprocessing record"),
    "other golden answers": (
        golden(probabilities=np.full((3, 5), 0.2, np.float32)),
        "differs from torch by",
    ),
    "golden NaN": (
        golden(probabilities=np.full((3, 5), np.nan, np.float32)),
        "differs from torch by nan",
    ),
    "no golden images": (
        golden(
            images=np.empty((0, 32, 32, 3), np.uint8),
            probabilities=np.empty((0, 5), np.float32),
        ),
        "do not fit",
    ),
    "golden text": (write("golden.npz", "hello"), "golden.npz: cannot be read"),
}


def test_what_training_leaves_is_accepted_and_its_shapes_read(tmp_path):
    make_artifacts(tmp_path, image_size=40, labels=("x", "y", "z"))

    shapes = preflight.check(tmp_path)

    assert (shapes.input_name, shapes.input_dims) == ("image", (40, 40, 3))
    assert (shapes.output_name, shapes.output_dims) == ("probabilities", (3,))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_refused_in_one_line_that_names_it(fault, tmp_path):
    make_artifacts(tmp_path)
    break_it, expected = FAULTS[fault]
    break_it(tmp_path)

    with pytest.raises(InputError) as caught:
        preflight.check(tmp_path)

    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
