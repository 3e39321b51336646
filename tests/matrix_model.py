"""Networks of one matrix, and what training leaves beside them, without torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from data_prep.preprocessing import Preprocessing

MIDDLE, SCALE = 128, 64  # pixels are (x - MIDDLE) / SCALE where the matrix meets them


class Output(NamedTuple):
    """A further output: a matrix of its own, times the pixels or the probabilities.

    Attributes:
        of: "flat", the scaled pixels in a row, or "probabilities".
        matrix: ``(length of that, numbers)``.
        dims: Of the output, without the batch; texts are variable.
    """

    of: str
    matrix: np.ndarray
    dims: Sequence[int | str]


def make_graph(
    matrix: np.ndarray,
    image_size: int,
    further: dict[str, Output] | None = None,
    batch: str | int = "batch",
    opset: int = 18,
    ir_version: int = 10,
) -> onnx.ModelProto:
    """Build uint8 image -> float -> matrix ``(pixels, classes)`` -> softmax."""
    tensor, constant = helper.make_tensor_value_info, numpy_helper.from_array
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
            helper.make_node("Sub", ["float", "middle"], ["centred"]),
            helper.make_node("Div", ["centred", "scale"], ["scaled"]),
            helper.make_node("Flatten", ["scaled"], ["flat"]),
            helper.make_node("MatMul", ["flat", "matrix"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=-1),
        ],
        "matrix",
        [tensor("image", TensorProto.UINT8, [batch, image_size, image_size, 3])],
        [tensor("probabilities", TensorProto.FLOAT, [batch, matrix.shape[1]])],
        [
            constant(np.float32(MIDDLE), "middle"),
            constant(np.float32(SCALE), "scale"),
            constant(matrix.astype(np.float32), "matrix"),
        ],
    )
    for name, output in (further or {}).items():
        shape = [-1, *(x if isinstance(x, int) else 1 for x in output.dims)]
        graph.node.extend(
            [
                helper.make_node("MatMul", [output.of, f"{name} by"], [f"{name} flat"]),
                helper.make_node("Reshape", [f"{name} flat", f"{name} dims"], [name]),
            ]
        )
        graph.initializer.extend(
            [
                constant(output.matrix.astype(np.float32), f"{name} by"),
                constant(np.array(shape), f"{name} dims"),
            ]
        )
        graph.output.append(tensor(name, TensorProto.FLOAT, [batch, *output.dims]))
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version
    )


def write_artifacts(
    folder: Path,
    graph: onnx.ModelProto,
    labels: Sequence[str],
    record: Preprocessing,
    golden: np.ndarray,
) -> Path:
    """Write a graph and its companions, with golden images ``(n, S, S, 3)`` uint8."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(graph, folder / "model.onnx")
    (folder / "classes.txt").write_text("".join(f"{label}\n" for label in labels))
    record.save(folder / "preprocessing.json")
    np.savez(folder / "golden.npz", images=golden, probabilities=infer(folder, golden))
    return folder


def infer(artifacts: Path, images: np.ndarray) -> np.ndarray:
    """Answer ``(n, H, W, 3)`` uint8 pixels with ``(n, classes)`` in this process."""
    session = onnxruntime.InferenceSession(artifacts / "model.onnx")
    return session.run(["probabilities"], {"image": images})[0]


def expect(artifacts: Path, files: list[bytes]) -> np.ndarray:
    """What a server must answer to these files: the training side's own computation."""
    preprocessing = Preprocessing.load(artifacts / "preprocessing.json")
    return infer(artifacts, np.stack([preprocessing.apply(data) for data in files]))
