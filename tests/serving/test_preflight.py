import json

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto
from tiny_model import FURTHER, make_artifacts, make_graph, make_nan_artifacts

from data_prep.errors import InputError
from data_prep.preprocessing import Preprocessing
from pipelines.repository import preflight
from training.golden import read_raw_golden, write_raw_golden


def save(graph):
    return lambda folder: onnx.save(graph, folder / "model.onnx")


def write(name, text):
    data = text if isinstance(text, bytes) else text.encode()
    return lambda folder: (folder / name).write_bytes(data)


def renamed(what, name):
    """A graph whose input or output has another name."""
    graph = make_graph()
    for node in graph.graph.node:
        for names in (node.input, node.output):
            names[:] = [name if x == what else x for x in names]
    for tensor in (*graph.graph.input, *graph.graph.output):
        tensor.name = name if tensor.name == what else tensor.name
    return graph


def of_the_alias_domain(opset):
    graph = make_graph()
    graph.opset_import[0].domain, graph.opset_import[0].version = "ai.onnx", opset
    return graph


def without_softmax(folder):
    """Training says the same: its answers, too, are logits."""
    graph = make_graph()
    del graph.graph.node[-1]
    graph.graph.node[-1].output[0] = "probabilities"
    onnx.save(graph, folder / "model.onnx")
    with np.load(folder / "golden.npz") as before:
        images = before["images"]
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    answers = session.run(None, {"image": images})[0]
    golden(probabilities=answers)(folder)


def a_constant_in_a_second_file(folder):
    graph = make_graph()
    (at,) = [i for i, x in enumerate(graph.graph.initializer) if x.name == "matrix"]
    matrix = graph.graph.initializer.pop(at)
    data = matrix.raw_data
    onnx.external_data_helper.set_external_data(matrix, "weights")
    matrix.ClearField("raw_data")
    node = onnx.helper.make_node("Constant", [], ["matrix"], value=matrix)
    graph.graph.node.insert(0, node)
    onnx.save(graph, folder / "model.onnx")
    (folder / "weights").write_bytes(data)


def record(**values):
    """Change what the preprocessing record says."""

    def change(folder):
        path = folder / "preprocessing.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return change


def raw_golden(folder):
    """Answers of another model to the raw photographs."""
    files, answers = read_raw_golden(folder / "golden_raw.npz")
    write_raw_golden(folder / "golden_raw.npz", files, answers[:, ::-1])


def cut_photographs(folder):
    files, answers = read_raw_golden(folder / "golden_raw.npz")
    write_raw_golden(folder / "golden_raw.npz", [x[:50] for x in files], answers)


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
    "one golden number": (
        golden(images=np.uint8(1), probabilities=np.float32(1)),
        "images () uint8 and probabilities () float32 do not fit",
    ),
    "another output's name": (
        save(renamed("probabilities", "image_")),
        "its outputs are 'image_'; clients ask for 'probabilities'",
    ),
    "an output named as the input": (
        save(make_graph(further={"pixels": [3]})),
        "an output is called 'pixels', as an input is",
    ),
    "another input's name": (save(renamed("image", "x")), "its inputs are 'x'; one,"),
    "no softmax": (without_softmax, "are no probabilities"),
    "NaN on photographs": (make_nan_artifacts, "are no probabilities (from nan"),
    "a newer opset by its other name": (
        save(of_the_alias_domain(22)),
        "opset of ai.onnx 22, but the target",
    ),
    "a constant elsewhere": (a_constant_in_a_second_file, "external_data=False"),
    "a byte order mark": (
        write("classes.txt", "\ufeffA\nB\nC\ndel\nnothing\n"),
        r"the label '\ufeffA' has",
    ),
    "blanks in labels": (write("classes.txt", "A\nB \nC\nD\nE\n"), "the label 'B '"),
    "other line ends": (
        write("classes.txt", "A\r\nB\r\nC\r\nD\r\nE\r\n"),
        r"the label 'A\r' has",
    ),
    "a form feed": (write("classes.txt", "A\nB\x0cb\nC\nD\nE\n"), r"'B\x0cb'"),
    "a NUL": (write("classes.txt", "A\nB\0\nC\nD\nE\n"), r"'B\x00'"),
    "another separator": (
        write("classes.txt", "A\nB\u2028b\nC\nD\nE\n"),
        r"'B\u2028b'",
    ),
    "labels in Latin-1": (
        write("classes.txt", "Ä\nB\nC\nD\nE\n".encode("latin-1")),
        "classes.txt: not UTF-8",
    ),
    "another border crop": (
        record(border_crop=0.3),
        "preprocessing.json: with it model.onnx differs from training by",
    ),
    "an image size with a point": (record(image_size=32.0), "preprocessing.json: "),
    "a deeply nested record": (
        write("preprocessing.json", "[" * 100_000),
        "not a preprocessing record",
    ),
    "other answers to photographs": (raw_golden, "differs from training by"),
    "cut photographs": (cut_photographs, "a photograph cannot be prepared"),
    "raw golden text": (write("golden_raw.npz", "x"), "golden_raw.npz: cannot be read"),
    "an open dimension of a further output": (
        save(make_graph(further={"landmarks": ["points", 3]})),
        "'landmarks' has the dimensions ['points', 3]",
    ),
}


def test_what_training_leaves_is_accepted_and_its_shapes_read(tmp_path):
    make_artifacts(tmp_path, image_size=40, labels=("x", "y", "z"))

    shapes = preflight.check(tmp_path)

    assert (shapes.input_name, shapes.input_dims) == ("image", (40, 40, 3))
    assert (shapes.output_name, shapes.output_dims) == ("probabilities", (3,))


def test_further_outputs_are_read_from_the_graph_in_its_order(tmp_path):
    make_artifacts(tmp_path, further=FURTHER)

    shapes = preflight.check(tmp_path)

    found = {x.name: (x.dtype, list(x.dims)) for x in shapes.further}
    assert found == {name: ("TYPE_FP32", dims) for name, dims in FURTHER.items()}
    assert list(found) == list(FURTHER)


def test_of_a_training_without_raw_photographs_one_line_says_what_is_not_checked(
    tmp_path, capsys
):
    make_artifacts(tmp_path)
    (tmp_path / "golden_raw.npz").unlink()

    preflight.check(tmp_path)

    (line,) = capsys.readouterr().err.splitlines()
    assert "has left no golden_raw.npz" in line
    # what needs no known answers is found all the same
    make_nan_artifacts(tmp_path)
    (tmp_path / "golden_raw.npz").unlink()
    with pytest.raises(InputError, match="as files are no probabilities"):
        preflight.check(tmp_path)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_refused_in_one_line_that_names_it(fault, tmp_path):
    make_artifacts(tmp_path)
    break_it, expected = FAULTS[fault]
    break_it(tmp_path)

    with pytest.raises(InputError) as caught:
        preflight.check(tmp_path)

    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
