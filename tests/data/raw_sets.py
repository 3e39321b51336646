"""Small raw sets made for the tests."""

from pathlib import Path

import cv2
import numpy as np


def picture(seed: int, size: int = 48) -> np.ndarray:
    """A smooth random picture, uint8 (size, size, 3) BGR; each seed its own."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(20, 236, (16, 16, 3)).astype(np.float32)
    smooth = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth, 0, 255).astype(np.uint8)


def encoded(image: np.ndarray, suffix: str = ".jpg") -> bytes:
    done, data = cv2.imencode(suffix, image)
    assert done
    return data.tobytes()


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def write_raw_set(folder: Path, classes=("A", "B", "C"), count=12, seed=0) -> Path:
    """A clean raw set of photographs that all differ."""
    for c, label in enumerate(classes):
        for i in range(count):
            image = picture(seed + 1000 * c + i)
            write(folder / label / f"{label}{i}.jpg", encoded(image))
    return folder
