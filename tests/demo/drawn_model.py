"""A model that knows a few drawn hands by heart, and pictures and films of them.

One matrix, fitted to the very drawings that are shown, and the points of each: what
these tests are about is the way from a picture to the page, not the network.
"""

from functools import lru_cache
from pathlib import Path
from unittest.mock import patch

import cv2
import numpy as np
from matrix_model import MIDDLE, SCALE, Output, make_graph, write_artifacts

from data_prep.draw import image_rng
from data_prep.drawing import hand_model, scene
from data_prep.preprocessing import Preprocessing

SIGNS = ("A", "E", "H", "J", "L", "O", "Z", "nothing")
HEIGHT, WIDTH = 240, 320  # of a frame
RECORD = Preprocessing(image_size=32, resize_mode="letterbox")
SURE = 12.0  # what separates the right logit from the others


def frame(sign: str) -> np.ndarray:
    """What the camera sees of a sign: ``(HEIGHT, WIDTH, 3)`` uint8 BGR."""
    return _drawn(sign)[0]


def points(sign: str) -> np.ndarray:
    """Where its hand is in that: ``(21, 2)``, in shares of width and height."""
    return _drawn(sign)[1]


@lru_cache(maxsize=None)
def _drawn(sign):
    placed = []

    def remember(*arguments):
        placed.append(arguments)
        return hand_model.render(*arguments)

    with patch.object(scene, "render", remember):
        side = scene.draw_image(sign, image_rng(5, sign, 1), HEIGHT)
    left = (WIDTH - HEIGHT) // 2
    wide = cv2.copyMakeBorder(side, 0, 0, left, left, cv2.BORDER_REPLICATE)
    at = np.zeros((21, 2))
    if placed:
        hand, _, scale, (x, y) = placed[0]
        pixels = hand_model.landmarks(hand)[:, :2] * (scale, -scale) + (x + left, y)
        at = pixels / (WIDTH, HEIGHT)
    return cv2.cvtColor(wide, cv2.COLOR_RGB2BGR), at


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
            images.append(
                RECORD.crop_and_resize(np.clip(varied, 0, 255).astype(np.uint8))
            )
            labels.append(label)
    images, wanted = np.stack(images), np.eye(len(SIGNS))[labels] * SURE
    pixels = (images.reshape(len(images), -1) - float(MIDDLE)) / SCALE
    products = pixels @ pixels.T + 500 * np.eye(len(pixels))  # ridge regression
    matrix = pixels.T @ np.linalg.solve(products, wanted)
    shows = np.array([[sign != "nothing"] for sign in SIGNS], np.float32)
    further = {
        "landmarks": Output("probabilities", _table(), [21, 3]),
        "hand": Output("probabilities", shows, [1]),
        "handedness": Output("probabilities", np.ones_like(shows), [1]),
    }
    graph = make_graph(matrix, RECORD.image_size, further)
    return write_artifacts(folder, graph, SIGNS, RECORD, images[::12])


def _table() -> np.ndarray:
    """The points of each sign as the model's answer: ``(signs, 63)``."""
    edges = RECORD.in_photograph(np.array([[0.0, 0], [1, 1]]), HEIGHT, WIDTH)
    inside = [(points(sign) - edges[0]) / (edges[1] - edges[0]) for sign in SIGNS]
    flat = [np.concatenate([at, np.zeros((21, 1))], 1).ravel() for at in inside]
    return np.array(flat, np.float32)


def film(path: Path, shown: list, rate: int = 10, look=frame) -> Path:
    """Write what a camera sees as Y4M.

    Args:
        shown: ``[(sign, seconds), ...]``.
        look: Makes the picture, as `frame` does, of what stands in place of a sign.
    """
    with open(path, "wb") as file:
        file.write(
            f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F{rate}:1 Ip A1:1 C420jpeg\n".encode()
        )
        for sign, seconds in shown:
            picture = cv2.cvtColor(look(sign), cv2.COLOR_BGR2YUV_I420).tobytes()
            for _ in range(round(seconds * rate)):
                file.write(b"FRAME\n" + picture)
    return path
