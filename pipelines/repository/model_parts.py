"""What the parts of a version consist of: a training's files and the server's code."""

import hashlib
import json
import shutil
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np

from data_prep import image_file, preprocessing
from data_prep.paths import ROOT
from data_prep.preprocessing import Preprocessing
from pipelines.repository import model_config, preflight
from pipelines.repository.layout import CLASSIFIER, DECODE, FUSED
from pipelines.repository.model_config import Settings
from pipelines.repository.tensorrt_graph import write_for_tensorrt
from training.golden import RAW_GOLDEN_FILE, read_raw_golden
from training.reports import GRAPH_FILE

PYTHON_MODELS = ROOT / "triton" / "server" / "python_models"
# what fused and decode have in common, the preprocessing of training among it
SHARED = (
    PYTHON_MODELS / "photographs.py",
    PYTHON_MODELS / "metrics.py",
    Path(preprocessing.__file__),
    Path(image_file.__file__),
)


def fill(kind: str, artifacts: Path, folder: Path, settings: Settings) -> None:
    """Copy what one part consists of, but for its config.

    Raises:
        InputError: The model is not for the accelerator that is wanted.
    """
    inside = folder / "1"
    labels = artifacts / model_config.LABELS_FILE
    shutil.copyfile(labels, folder / labels.name)
    (folder / "warmup").mkdir()
    if kind == CLASSIFIER:
        for name in (preflight.GOLDEN_FILE, RAW_GOLDEN_FILE):
            if (artifacts / name).is_file():  # older trainings have left the first only
                shutil.copyfile(artifacts / name, folder / name)
        pixels = golden_images(artifacts)[0].tobytes()
        (folder / "warmup" / model_config.WARM_UP_PIXELS).write_bytes(pixels)
    else:
        source = {FUSED: "fused.py", DECODE: "decode.py"}[kind]
        shutil.copyfile(PYTHON_MODELS / source, inside / "model.py")
        for path in (*SHARED, artifacts / preprocessing.FILE_NAME):
            shutil.copyfile(path, inside / path.name)
        # Where this is no folder, Python leaves no compiled files. They would make the
        # model look changed, and Triton load it again with whatever refers to it.
        (inside / "__pycache__").touch()
        # Triton's form of a string: its length in four bytes, then itself
        data = golden_files(artifacts)[0]
        (folder / "warmup" / model_config.WARM_UP_FILE).write_bytes(
            len(data).to_bytes(4, "little") + data
        )
    if kind != DECODE:
        model = artifacts / GRAPH_FILE
        if settings.accelerator == "tensorrt":
            write_for_tensorrt(model, inside / model.name)
        else:
            shutil.copyfile(model, inside / model.name)


def golden_files(folder: Path) -> list[bytes]:
    """The golden photographs of a folder, as they were taken.

    Where training has left none: the golden images as PNG files.
    """
    raw = Path(folder) / RAW_GOLDEN_FILE
    if raw.is_file():
        return read_raw_golden(raw)[0]
    images = golden_images(folder)
    return [cv2.imencode(".png", image[..., ::-1])[1].tobytes() for image in images]


def golden_images(folder: Path) -> np.ndarray:
    """The golden images of a folder, ``(n, H, W, 3)`` uint8."""
    with np.load(Path(folder) / preflight.GOLDEN_FILE, allow_pickle=False) as arrays:
        return arrays["images"]


def identity(artifacts: Path) -> dict[str, str]:
    """What decides a version's answers: the preprocessing record, and hashes of it, of
    the model, the labels and our code."""
    hashes = {
        "model_sha256": [artifacts / GRAPH_FILE],
        "preprocessing_sha256": [artifacts / preprocessing.FILE_NAME],
        "labels_sha256": [artifacts / model_config.LABELS_FILE],
        "code_sha256": sorted({*PYTHON_MODELS.glob("*.py"), *SHARED}),
    }
    record = Preprocessing.load(artifacts / preprocessing.FILE_NAME)
    return {
        **{name: sha256(*paths) for name, paths in hashes.items()},
        "preprocessing": json.dumps(asdict(record)),  # of use to clients
    }


def describe(artifacts: Path, metadata: dict[str, str], settings: Settings) -> dict:
    """A version's record without its number and time."""
    return {**asdict(settings), "metadata": metadata | identity(Path(artifacts))}


def sha256(*paths: Path) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()
