"""What a training task would leave, for a network of one layer, without torch."""

from pathlib import Path

import cv2
import matrix_model
import numpy as np
import onnx
from matrix_model import MIDDLE, SCALE, expect, infer, write_artifacts
from onnx import helper, numpy_helper

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
    images = np.random.default_rng(seed).integers(
        0, 256, (3, image_size, image_size, 3), dtype=np.uint8
    )
    graph = make_graph(image_size, len(labels), seed, further=further)
    write_artifacts(folder, graph, labels, Preprocessing(image_size), images)
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
    white = np.float32((255 - MIDDLE) / SCALE - 0.01)
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
    further: dict[str, list[int | str]] | None = None,
    **options,
) -> onnx.ModelProto:
    """A graph of a random matrix.

    Args:
        options: Of `matrix_model.make_graph`.
    """
    pixels = image_size * image_size * 3
    matrix = np.random.default_rng(seed).normal(0, 0.1, (pixels, classes))
    outputs = {}
    for name, dims in (further or {}).items():
        values = int(np.prod([x for x in dims if isinstance(x, int)]))
        random = np.random.default_rng(sum(name.encode()))
        weights = random.normal(0, 0.01, (pixels, values))
        outputs[name] = matrix_model.Output("flat", weights, dims)
    return matrix_model.make_graph(matrix, image_size, outputs, **options)
