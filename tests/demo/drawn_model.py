"""A model that knows a few drawn hands by heart, and pictures and films of them.

One matrix, fitted to the very drawings that are shown: what these tests are about is
the way from a picture to the page, not the network.
"""

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from data_prep.draw import image_rng
from data_prep.drawing.scene import draw_image
from data_prep.preprocessing import Preprocessing

SIGNS = ("A", "E", "H", "J", "L", "O", "Z", "nothing")
HEIGHT, WIDTH = 240, 320  # of a frame
RECORD = Preprocessing(image_size=32, resize_mode="letterbox")
SURE = 12.0  # what separates the right logit from the others


@lru_cache(maxsize=None)
def frame(sign: str) -> np.ndarray:
    """What the camera sees of a sign: ``(HEIGHT, WIDTH, 3)`` uint8 BGR."""
    side = draw_image(sign, image_rng(5, sign, 1), HEIGHT)
    left = (WIDTH - HEIGHT) // 2
    wide = cv2.copyMakeBorder(side, 0, 0, left, left, cv2.BORDER_REPLICATE)
    return cv2.cvtColor(wide, cv2.COLOR_RGB2BGR)


def jpeg(sign: str) -> bytes:
    return cv2.imencode(".jpg", frame(sign), [cv2.IMWRITE_JPEG_QUALITY, 90])[
        1
    ].tobytes()


def make_artifacts(folder: Path) -> Path:
    """Leave what a training would, for a model of SIGNS."""
    rng = np.random.default_rng(0)
    images, labels = [], []
    for label, sign in enumerate(SIGNS):
        for _ in range(12):  # as cameras and browsers change them a little
            varied = frame(sign) * rng.uniform(0.93, 1.07) + rng.normal(0, 3, 3)
            varied = varied + rng.normal(0, 4, varied.shape)
            images.append(RECORD.fit(np.clip(varied, 0, 255).astype(np.uint8)))
            labels.append(label)
    images, wanted = np.stack(images), np.eye(len(SIGNS))[labels] * SURE
    pixels = (images.reshape(len(images), -1) - 128.0) / 64
    products = pixels @ pixels.T + 500 * np.eye(len(pixels))  # ridge regression
    matrix = pixels.T @ np.linalg.solve(products, wanted)
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(_graph(matrix.astype(np.float32)), folder / "model.onnx")
    (folder / "classes.txt").write_text("".join(f"{sign}\n" for sign in SIGNS))
    RECORD.save(folder / "preprocessing.json")
    logits = pixels @ matrix
    probabilities = np.exp(logits - logits.max(1, keepdims=True))
    probabilities /= probabilities.sum(1, keepdims=True)
    every = slice(None, None, 12)
    np.savez(
        folder / "golden.npz",
        images=images[every],
        probabilities=probabilities[every].astype(np.float32),
    )
    return folder


def _graph(matrix: np.ndarray) -> onnx.ModelProto:
    size = RECORD.image_size
    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
            helper.make_node("Sub", ["float", "middle"], ["centred"]),
            helper.make_node("Div", ["centred", "scale"], ["scaled"]),
            helper.make_node("Flatten", ["scaled"], ["flat"]),
            helper.make_node("MatMul", ["flat", "matrix"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=-1),
        ],
        "drawn",
        [tensor("image", TensorProto.UINT8, ["batch", size, size, 3])],
        [tensor("probabilities", TensorProto.FLOAT, ["batch", len(SIGNS)])],
        [
            numpy_helper.from_array(np.float32(128), "middle"),
            numpy_helper.from_array(np.float32(64), "scale"),
            numpy_helper.from_array(matrix, "matrix"),
        ],
    )
    opset = helper.make_opsetid("", 18)
    return helper.make_model(graph, opset_imports=[opset], ir_version=10)


def film(path: Path, shown: list[tuple[str, float]], rate: int = 10) -> Path:
    """Write what a camera sees, ``[(sign, seconds), ...]``, as Y4M."""
    with open(path, "wb") as file:
        file.write(
            f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F{rate}:1 Ip A1:1 C420jpeg\n".encode()
        )
        for sign, seconds in shown:
            picture = cv2.cvtColor(frame(sign), cv2.COLOR_BGR2YUV_I420).tobytes()
            for _ in range(round(seconds * rate)):
                file.write(b"FRAME\n" + picture)
    return path
