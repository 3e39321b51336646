"""What a training task would leave, for a network of one layer, without torch."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from data_prep.preprocessing import Preprocessing


def make_artifacts(
    folder: Path,
    image_size: int = 32,
    labels: tuple[str, ...] = ("A", "B", "C", "del", "nothing"),
    seed: int = 0,
) -> Path:
    """Write ``model.onnx`` and its companions; every pixel counts in its answers."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(make_graph(image_size, len(labels), seed), folder / "model.onnx")
    (folder / "classes.txt").write_text("".join(f"{label}\n" for label in labels))
    Preprocessing(image_size=image_size).save(folder / "preprocessing.json")
    images = np.random.default_rng(seed).integers(
        0, 256, (3, image_size, image_size, 3), dtype=np.uint8
    )
    probabilities = infer(folder, images)
    np.savez(folder / "golden.npz", images=images, probabilities=probabilities)
    return folder


def make_nan_artifacts(folder: Path) -> Path:
    """Artifacts that pass every check without a server, but answer photographs NaN.

    The golden images have a white corner, which the cropping of files takes away.
    """
    make_artifacts(folder)
    model = onnx.load(folder / "model.onnx")
    nodes = model.graph.node
    nodes[-1].output[0] = "soft"
    nodes.extend(
        [
            helper.make_node("ReduceMax", ["flat"], ["largest"], keepdims=1),
            helper.make_node("Sub", ["largest", "nearly"], ["above"]),
            helper.make_node("Sqrt", ["above"], ["root"]),  # NaN below
            helper.make_node("Sub", ["root", "root"], ["nothing"]),
            helper.make_node("Add", ["soft", "nothing"], ["probabilities"]),
        ]
    )
    white = np.float32((255 - 128) / 64 - 0.01)
    model.graph.initializer.append(numpy_helper.from_array(white, "nearly"))
    onnx.save(model, folder / "model.onnx")
    with np.load(folder / "golden.npz") as golden:
        images = np.minimum(golden["images"], 250)
    images[:, 0, 0] = 255
    np.savez(folder / "golden.npz", images=images, probabilities=infer(folder, images))
    return folder


def make_graph(
    image_size: int = 32,
    classes: int = 5,
    seed: int = 0,
    batch: str | int = "batch",
    opset: int = 18,
    ir_version: int = 10,
) -> onnx.ModelProto:
    """Build uint8 image -> float -> one matrix -> softmax."""
    pixels = image_size * image_size * 3
    matrix = np.random.default_rng(seed).normal(0, 0.1, (pixels, classes))
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
            helper.make_node("Sub", ["float", "middle"], ["centred"]),
            helper.make_node("Div", ["centred", "scale"], ["scaled"]),
            helper.make_node("Flatten", ["scaled"], ["flat"]),
            helper.make_node("MatMul", ["flat", "matrix"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=-1),
        ],
        "tiny",
        [
            helper.make_tensor_value_info(
                "image", TensorProto.UINT8, [batch, image_size, image_size, 3]
            )
        ],
        [
            helper.make_tensor_value_info(
                "probabilities", TensorProto.FLOAT, [batch, classes]
            )
        ],
        [
            numpy_helper.from_array(np.float32(128), "middle"),
            numpy_helper.from_array(np.float32(64), "scale"),
            numpy_helper.from_array(matrix.astype(np.float32), "matrix"),
        ],
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version
    )


def infer(artifacts: Path, images: np.ndarray) -> np.ndarray:
    """Answer ``(n, H, W, 3)`` uint8 pixels with ``(n, classes)`` in this process."""
    session = onnxruntime.InferenceSession(artifacts / "model.onnx")
    return session.run(None, {"image": images})[0]


def expect(artifacts: Path, files: list[bytes]) -> np.ndarray:
    """What a server must answer to these files: the training side's own computation."""
    preprocessing = Preprocessing.load(artifacts / "preprocessing.json")
    return infer(artifacts, np.stack([preprocessing.apply(data) for data in files]))
