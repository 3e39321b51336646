"""What a training task would leave, for a network of one layer, without torch."""

from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from data_prep.preprocessing import Preprocessing
from training.golden import RAW_GOLDEN_FILE, write_raw_golden

# Outputs as a network that finds the hand has them, without the batch.
FURTHER = {"landmarks": [21, 3], "hand": [1], "handedness": [1]}


def make_artifacts(
    folder: Path,
    image_size: int = 32,
    labels: tuple[str, ...] = ("A", "B", "C", "del", "nothing"),
    seed: int = 0,
    further: dict[str, list[int]] | None = None,
) -> Path:
    """Write ``model.onnx`` and its companions; every pixel counts in its answers.

    Args:
        further: Outputs beside the probabilities, and their dimensions.
    """
    folder.mkdir(parents=True, exist_ok=True)
    graph = make_graph(image_size, len(labels), seed, further=further)
    onnx.save(graph, folder / "model.onnx")
    (folder / "classes.txt").write_text("".join(f"{label}\n" for label in labels))
    Preprocessing(image_size=image_size).save(folder / "preprocessing.json")
    images = np.random.default_rng(seed).integers(
        0, 256, (3, image_size, image_size, 3), dtype=np.uint8
    )
    probabilities = infer(folder, images)
    np.savez(folder / "golden.npz", images=images, probabilities=probabilities)
    files = [as_file(image) for image in photographs(seed)]
    write_raw_golden(folder / RAW_GOLDEN_FILE, files, expect(folder, files))
    return folder


def photographs(seed: int) -> list[np.ndarray]:
    """Noise of odd sizes, ``(h, w, 3)`` uint8 each."""
    random = np.random.default_rng(seed)
    return [random.integers(0, 256, (n, 70, 3), np.uint8) for n in (51, 90)]


def as_file(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


def make_newer_artifacts(folder: Path) -> Path:
    """Artifacts that pass every check without a server, whose runtime is older.

    ONNX Runtime 1.19.2 has no such operator; it takes the logits as they are.
    """
    make_artifacts(folder, seed=7)
    model = onnx.load(folder / "model.onnx")
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    softmax = model.graph.node[-1]
    softmax.input[0] = "again"
    unfold = helper.make_node(
        "UnfoldTensor", ["logits"], ["rows"], domain="com.microsoft", dim=-1, size=5
    )
    model.graph.node.insert(5, unfold)
    model.graph.node.insert(6, helper.make_node("Flatten", ["rows"], ["again"]))
    onnx.save(model, folder / "model.onnx")
    return folder


def make_nan_artifacts(folder: Path) -> Path:
    """Artifacts that answer pixels as training did, but photographs NaN.

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
    further: dict[str, list[int]] | None = None,
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
    for name, dims in (further or {}).items():
        add_output(graph, name, dims, pixels, batch)
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version
    )


def add_output(graph, name: str, dims: list[int], pixels: int, batch) -> None:
    """Add a matrix of its own from the pixels to an output."""
    seed = sum(name.encode())
    values = int(np.prod([x for x in dims if isinstance(x, int)]))
    matrix = np.random.default_rng(seed).normal(0, 0.01, (pixels, values))
    graph.node.append(helper.make_node("MatMul", ["flat", f"{name} by"], [f"{name}_"]))
    graph.node.append(helper.make_node("Reshape", [f"{name}_", f"{name} dims"], [name]))
    graph.initializer.extend(
        [
            numpy_helper.from_array(matrix.astype(np.float32), f"{name} by"),
            numpy_helper.from_array(
                np.array([-1, *(x if isinstance(x, int) else 1 for x in dims)]),
                f"{name} dims",
            ),
        ]
    )
    kind = TensorProto.FLOAT
    graph.output.append(helper.make_tensor_value_info(name, kind, [batch, *dims]))


def infer(artifacts: Path, images: np.ndarray) -> np.ndarray:
    """Answer ``(n, H, W, 3)`` uint8 pixels with ``(n, classes)`` in this process."""
    session = onnxruntime.InferenceSession(artifacts / "model.onnx")
    return session.run(["probabilities"], {"image": images})[0]


def expect(artifacts: Path, files: list[bytes]) -> np.ndarray:
    """What a server must answer to these files: the training side's own computation."""
    preprocessing = Preprocessing.load(artifacts / "preprocessing.json")
    return infer(artifacts, np.stack([preprocessing.apply(data) for data in files]))
