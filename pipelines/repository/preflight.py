"""Is this model fit to be served? Every check that needs no server, before any copying.

`check` reads the folder a training task leaves (``model.onnx``, ``classes.txt``,
``preprocessing.json``, ``golden.npz``) and holds the four against each other and
against the ONNX Runtime inside the target Triton.
"""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from data_prep import packed
from data_prep.errors import InputError
from data_prep.preprocessing import FILE_NAME as PREPROCESSING_FILE
from data_prep.preprocessing import Preprocessing
from pipelines.repository.model_config import LABELS_FILE, GraphShapes

MODEL_FILE = "model.onnx"
GOLDEN_FILE = "golden.npz"
FILES = (MODEL_FILE, LABELS_FILE, PREPROCESSING_FILE, GOLDEN_FILE)

# What ONNX Runtime 1.19.2 loads, the version inside Triton 24.10.
MAX_OPSET, MAX_IR = 21, 10
TOLERANCE = 1e-4


def check(artifacts: Path) -> GraphShapes:
    """Check a training task's files against each other and against the target.

    Raises:
        InputError: The first fault found.
    """
    for name in FILES:
        if not (artifacts / name).is_file():
            raise InputError(
                f"{artifacts}: {name} is missing; deploy needs {', '.join(FILES)}, "
                "as training leaves them"
            )
    graph = check_graph(artifacts / MODEL_FILE)
    check_labels(artifacts / LABELS_FILE, graph)
    check_preprocessing(artifacts / PREPROCESSING_FILE, graph)
    check_golden(artifacts, graph)
    return graph


def check_graph(path: Path) -> GraphShapes:
    """Check that a Triton of the target release can load the graph; read its shapes.

    Raises:
        InputError: No valid ONNX model, too new, in several files, or without the one
            image input and the one output with a dynamic batch.
    """
    try:
        model = onnx.load(path, load_external_data=False)
        for tensor in model.graph.initializer:
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                raise InputError(
                    f"{path}: its weights lie in a second file; export with "
                    "external_data=False"
                )
        onnx.checker.check_model(path, full_check=True)
    except InputError:
        raise
    except Exception as error:  # protobuf's and onnx's own, of many types
        raise InputError(
            f"{path}: not a valid ONNX model ({first_line(error)}); export it again"
        ) from None
    opset = {entry.domain: entry.version for entry in model.opset_import}.get("", 0)
    for name, value, limit in (
        ("opset", opset, MAX_OPSET),
        ("IR version", model.ir_version, MAX_IR),
    ):
        if value > limit:
            raise InputError(
                f"{path}: {name} {value}, but the target Triton's ONNX Runtime loads "
                f"at most {limit}; export with opset 18"
            )
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [x for x in model.graph.input if x.name not in constants]
    outputs = list(model.graph.output)
    if len(inputs) != 1 or len(outputs) != 1:
        raise InputError(
            f"{path}: {len(inputs)} inputs and {len(outputs)} outputs; "
            "one of each is served"
        )
    image, probabilities = inputs[0], outputs[0]
    return GraphShapes(
        image.name,
        "TYPE_UINT8",
        check_tensor(path, image, onnx.TensorProto.UINT8, rank=3),
        probabilities.name,
        "TYPE_FP32",
        check_tensor(path, probabilities, onnx.TensorProto.FLOAT, rank=1),
    )


def check_tensor(
    path: Path, tensor: onnx.ValueInfoProto, dtype: int, rank: int
) -> tuple[int, ...]:
    """Check an input or output; return its dimensions without the batch.

    Raises:
        InputError: Another data type or rank, a fixed batch or another open dimension.
    """
    kind = tensor.type.tensor_type
    if kind.elem_type != dtype:
        found, wanted = map(onnx.TensorProto.DataType.Name, (kind.elem_type, dtype))
        raise InputError(f"{path}: '{tensor.name}' is {found}; {wanted} is served")
    batch, *rest = kind.shape.dim or [None]
    if batch is None or batch.HasField("dim_value"):
        raise InputError(
            f"{path}: the batch dimension of '{tensor.name}' is fixed; "
            "export with a dynamic batch"
        )
    if len(rest) != rank or not all(x.dim_value > 0 for x in rest):
        shown = [x.dim_value or x.dim_param or "?" for x in rest]
        raise InputError(
            f"{path}: '{tensor.name}' has the dimensions {shown} behind the batch; "
            f"{rank} fixed ones are served"
        )
    return tuple(x.dim_value for x in rest)


def check_labels(path: Path, graph: GraphShapes) -> None:
    """Check that there is one distinct, printable label for each output.

    Raises:
        InputError: Otherwise.
    """
    labels = packed.read_names(path)
    classes = graph.output_dims[0]
    if len(labels) != classes:
        raise InputError(
            f"{path}: {len(labels)} labels for {classes} outputs of the graph; "
            "take both from one training task"
        )
    if len(set(labels)) != classes or not all(label.strip() for label in labels):
        raise InputError(f"{path}: labels are empty or occur twice; one a line")


def check_preprocessing(path: Path, graph: GraphShapes) -> None:
    """Check that the record makes the very pixels the graph takes.

    Raises:
        InputError: It cannot be read, or its image size is another one.
    """
    try:
        record = Preprocessing.load(path)
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: not a preprocessing record ({first_line(error)}); take the one "
            "of the training task"
        ) from None
    made = (record.image_size, record.image_size, 3)
    if made != graph.input_dims:
        raise InputError(
            f"{path}: makes images of {made}, but '{graph.input_name}' takes "
            f"{graph.input_dims}; take both from one training task"
        )


def check_golden(artifacts: Path, graph: GraphShapes) -> None:
    """Check that ONNX Runtime gives torch's answers to the golden images.

    Raises:
        InputError: Another answer, or arrays of other shapes.
    """
    path = artifacts / GOLDEN_FILE
    try:
        with np.load(path, allow_pickle=False) as arrays:
            images, expected = arrays["images"], arrays["probabilities"]
    except Exception as error:  # zipfile's and numpy's own, of many types
        raise InputError(
            f"{path}: cannot be read ({first_line(error)}); take the one of the "
            "training task"
        ) from None
    shapes = (len(images), *graph.input_dims), (len(images), *graph.output_dims)
    if not len(images) or (images.shape, expected.shape) != shapes:
        raise InputError(
            f"{path}: images {images.shape} and probabilities {expected.shape} do not "
            f"fit the graph's {graph.input_dims} and {graph.output_dims}"
        )
    try:
        session = onnxruntime.InferenceSession(
            artifacts / MODEL_FILE, providers=["CPUExecutionProvider"]
        )
        (answers,) = session.run(None, {graph.input_name: images})
    except Exception as error:  # onnxruntime's own, of many types
        raise InputError(
            f"{artifacts / MODEL_FILE}: ONNX Runtime cannot run it "
            f"({first_line(error)}); export it again"
        ) from None
    difference = float(np.abs(answers - expected).max())
    if not difference <= TOLERANCE:  # so that NaN fails too
        raise InputError(
            f"{artifacts / MODEL_FILE}: differs from torch by {difference:.2g} on the "
            f"golden images ({TOLERANCE} at most); export it again"
        )


def first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]
