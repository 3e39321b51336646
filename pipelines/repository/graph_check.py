"""Check that the target Triton can load an ONNX graph, and that clients can use it."""

from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import Message

from data_prep.errors import InputError
from pipelines.repository.model_config import ENCODED, PIXELS, GraphShapes, Output

# What clients of the two served models know; the rest of the names is the graph's.
INPUT, PROBABILITIES = "image", "probabilities"
# What ONNX Runtime 1.19.2 loads, the version inside Triton 24.10; by domain, of which
# the first has two names.
MAX_OPSETS, MAX_IR = {"": 21, "ai.onnx": 21, "ai.onnx.ml": 5}, 10
TRITON_TYPES = {
    onnx.TensorProto.FLOAT: "TYPE_FP32",
    onnx.TensorProto.FLOAT16: "TYPE_FP16",
    onnx.TensorProto.INT64: "TYPE_INT64",
    onnx.TensorProto.INT32: "TYPE_INT32",
    onnx.TensorProto.UINT8: "TYPE_UINT8",
}


def check_graph(path: Path) -> GraphShapes:
    """Check that a Triton of the target release can load the graph; read its shapes.

    Raises:
        InputError: No valid ONNX model, too new, in several files, or without the image
            input and the probabilities, with a dynamic batch.
    """
    model = read(path)
    check_age(path, model)
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [x for x in model.graph.input if x.name not in constants]
    if [x.name for x in inputs] != [INPUT]:
        names = ", ".join(repr(x.name) for x in inputs) or "none"
        raise InputError(f"{path}: its inputs are {names}; one, '{INPUT}', is served")
    outputs = {output.name: output for output in model.graph.output}
    if PROBABILITIES not in outputs:
        names = ", ".join(map(repr, outputs))
        raise InputError(
            f"{path}: its outputs are {names}; clients ask for '{PROBABILITIES}'"
        )
    probabilities = outputs.pop(PROBABILITIES)
    if taken := {ENCODED, PIXELS, INPUT} & set(outputs):
        raise InputError(
            f"{path}: an output is called '{min(taken)}', as an input is; export it "
            "with another name"
        )
    return GraphShapes(
        INPUT,
        "TYPE_UINT8",
        check_tensor(path, inputs[0], onnx.TensorProto.UINT8, rank=3),
        PROBABILITIES,
        "TYPE_FP32",
        check_tensor(path, probabilities, onnx.TensorProto.FLOAT, rank=1),
        tuple(further(path, output) for output in outputs.values()),
    )


def read(path: Path) -> onnx.ModelProto:
    """Read a graph whose weights lie in the same file.

    Raises:
        InputError: They do not, or it is no valid ONNX model.
    """
    try:
        model = onnx.load(path, load_external_data=False)
        for tensor in messages(model, onnx.TensorProto):
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
    return model


def messages(message: Message, kind: type[Message]) -> Iterator[Message]:
    """All tensors, or nodes, of a model: in subgraphs and functions as well."""
    if isinstance(message, kind):
        yield message
    for field, value in message.ListFields():
        if field.message_type:
            for part in [value] if isinstance(value, Message) else value:
                yield from messages(part, kind)


def check_age(path: Path, model: onnx.ModelProto) -> None:
    """Check that the target's ONNX Runtime is not older than the graph.

    Raises:
        InputError: It is.
    """
    found = [
        (f"opset of {entry.domain}" if entry.domain else "opset", entry.version, limit)
        for entry in model.opset_import
        if (limit := MAX_OPSETS.get(entry.domain))
    ]
    for name, value, limit in [*found, ("IR version", model.ir_version, MAX_IR)]:
        if value > limit:
            raise InputError(
                f"{path}: {name} {value}, but the target Triton's ONNX Runtime loads "
                f"at most {limit}; export with opset 18"
            )


def check_operators(path: Path) -> None:
    """Check that the graph's versions tell whether the target has all its operators.

    Operators of com.microsoft and other vendors always have version 1, which does not
    tell. Call this where no server loads the graph before clients get answers from it.

    Raises:
        InputError: They do not.
    """
    model = onnx.load(path, load_external_data=False)
    known = set(MAX_OPSETS) | {function.domain for function in model.functions}
    for node in messages(model, onnx.NodeProto):
        if node.domain not in known:
            raise InputError(
                f"{path}: nothing says whether the target Triton's ONNX Runtime has "
                f"the operator {node.op_type} of {node.domain}; deploy to a server "
                "with --url, which tries it, or export without it"
            )


def check_tensor(
    path: Path, tensor: onnx.ValueInfoProto, dtype: int, rank: int
) -> tuple[int, ...]:
    """Check an input or output; return its dimensions without the batch.

    Raises:
        InputError: Another data type or rank, a fixed batch or another open dimension.
    """
    found = tensor.type.tensor_type.elem_type
    if found != dtype:
        given, wanted = map(onnx.TensorProto.DataType.Name, (found, dtype))
        raise InputError(f"{path}: '{tensor.name}' is {given}; {wanted} is served")
    dims = dimensions(path, tensor)
    if len(dims) != rank:
        raise InputError(
            f"{path}: '{tensor.name}' has the dimensions {list(dims)} behind the "
            f"batch; {rank} fixed ones are served"
        )
    return dims


def further(path: Path, tensor: onnx.ValueInfoProto) -> Output:
    """Describe an output beside the probabilities.

    Raises:
        InputError: Its type or its dimensions cannot be served.
    """
    dtype = tensor.type.tensor_type.elem_type
    if dtype not in TRITON_TYPES:
        known = ", ".join(map(onnx.TensorProto.DataType.Name, TRITON_TYPES))
        name = onnx.TensorProto.DataType.Name(dtype)
        raise InputError(f"{path}: '{tensor.name}' is {name}; served are {known}")
    dims = dimensions(path, tensor)
    if not dims:
        raise InputError(
            f"{path}: '{tensor.name}' has no dimension behind the batch; export it "
            "with one, such as 1"
        )
    return Output(tensor.name, TRITON_TYPES[dtype], dims)


def dimensions(path: Path, tensor: onnx.ValueInfoProto) -> tuple[int, ...]:
    """Read the dimensions without the batch.

    Raises:
        InputError: The batch is fixed, or another one is open.
    """
    batch, *rest = tensor.type.tensor_type.shape.dim or [None]
    if batch is None or batch.HasField("dim_value"):
        raise InputError(
            f"{path}: the batch dimension of '{tensor.name}' is fixed; "
            "export with a dynamic batch"
        )
    if not all(x.dim_value > 0 for x in rest):
        shown = [x.dim_value or x.dim_param or "?" for x in rest]
        raise InputError(
            f"{path}: '{tensor.name}' has the dimensions {shown} behind the batch; "
            f"{len(shown)} fixed ones are served"
        )
    return tuple(x.dim_value for x in rest)


def first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]
