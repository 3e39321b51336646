"""What `scripts/bench serve` serves: networks, photographs, and a model of no work.

The weights are random: they do not change the speed.
"""

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from data_prep.draw import draw_dataset
from data_prep.drawing.hand_poses import CLASSES
from data_prep.errors import InputError
from data_prep.image_file import BrokenImage
from data_prep.preprocessing import FILE_NAME, Preprocessing
from data_prep.resolution import HAND_SIZE
from data_prep.sources import find_images
from training.config import RunConfig
from training.export import IR_VERSION, OPSET, export_onnx
from training.graph import onnx_predict
from training.hands.letters import GeometryNetwork
from training.hands.model import HandModel, Letters
from training.quantize import quantize
from training.start import build_classifier

PHOTOGRAPHS = 64
INT8, HAND = ":int8", ":hand"  # behind a network's name


def photographs(raw: Path | None, folder: Path) -> list[bytes]:
    """Read `PHOTOGRAPHS` files spread over a raw set; without one, draw hands.

    Raises:
        InputError: There are none, or one is broken.
    """
    raw = raw or draw_dataset(folder, per_class=3)
    images = find_images([str(raw)]).images
    if not images:
        raise InputError(f"--raw {raw} has no photographs")
    rows = np.linspace(0, len(images) - 1, PHOTOGRAPHS).astype(int)
    files = [images[row].read() for row in rows]
    for row, data in zip(rows, files):
        try:
            Preprocessing().apply(data)
        except BrokenImage as error:
            raise InputError(f"{images[row].path}: {error}; remove it") from None
    return files


def make_artifacts(
    folder: Path, network: str, files: list[bytes], image_size: int
) -> Path:
    """Write what a training task would leave: the same export, untrained.

    Args:
        folder: To be made.
        network: As in training; with `INT8` at its end quantised, with `HAND` as a hand
            model.
        files: Photographs, for golden inputs.
        image_size: Of a plain network's photographs, pixels.

    Raises:
        InputError: The hand networks cannot be fetched.
    """
    name = network.removesuffix(INT8).removesuffix(HAND)
    run_config = RunConfig(model=name, find_hand="yes" if HAND in network else "no")
    record = Preprocessing(image_size=image_size)
    if HAND in network:
        record = Preprocessing(image_size=HAND_SIZE, resize_mode="letterbox")
    pixels = np.stack([record.apply(data) for data in files])
    torch.manual_seed(0)
    classifier, _ = build_classifier(run_config, len(CLASSES), record)
    for part in classifier.network.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            torch.nn.init.ones_(part.weight)  # blocks that start as nothing, too
    model = classifier
    if HAND in network:
        letters = Letters(GeometryNetwork(len(CLASSES)), classifier)
        model = HandModel.load(letters)
    folder.mkdir()
    graph = folder / "model.onnx"
    expected = export_onnx(model, graph, pixels, {})
    if network.endswith(INT8):
        # no answer has this label, so both are equally good, and int8 is kept
        nobody = np.full(len(pixels), -1)
        quantize(graph, pixels, (pixels, nobody), seed=0)
        expected = onnx_predict(graph, pixels)
    return complete(folder, record, pixels, expected)


def make_idle(folder: Path, files: list[bytes], image_size: int) -> Path:
    """Write a model that takes and gives what the others do, but computes nothing.

    What it reaches is the limit of the transport.
    """
    record = Preprocessing(image_size=image_size)
    pixels = np.stack([record.apply(data) for data in files])
    constants = {"first": [0], "last": [len(CLASSES)], "axis": [1]}
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["image"], ["flat"]),
            helper.make_node("Slice", ["flat", *constants], ["some"]),
            helper.make_node("Cast", ["some"], ["probabilities"], to=TensorProto.FLOAT),
        ],
        "idle",
        [
            helper.make_tensor_value_info(
                "image", TensorProto.UINT8, ["batch", image_size, image_size, 3]
            )
        ],
        [
            helper.make_tensor_value_info(
                "probabilities", TensorProto.FLOAT, ["batch", len(CLASSES)]
            )
        ],
        [numpy_helper.from_array(np.array(x), name) for name, x in constants.items()],
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    folder.mkdir()
    onnx.save(model, folder / "model.onnx")
    return complete(folder, record, pixels, onnx_predict(folder / "model.onnx", pixels))


def complete(
    folder: Path, record: Preprocessing, pixels: np.ndarray, expected: np.ndarray
) -> Path:
    """Write what lies beside the graph."""
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    record.save(folder / FILE_NAME)
    np.savez(folder / "golden.npz", images=pixels[:8], probabilities=expected[:8])
    return folder


def write(
    files: list[bytes], image_size: int, folder: Path
) -> tuple[list[Path], list[Path]]:
    """Write photographs, and the same as arrays of pixels; return the paths."""
    record = Preprocessing(image_size=image_size)
    folder.mkdir()
    encoded, arrays = [], []
    for number, data in enumerate(files):
        encoded.append(folder / str(number))
        encoded[-1].write_bytes(data)
        arrays.append(folder / f"{number}.npy")
        np.save(arrays[-1], record.apply(data))
    return encoded, arrays
