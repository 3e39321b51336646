"""Send the golden images through a server, before and after it serves a version.

`check_parts` asks the parts of a version under their own names. No client knows these,
so a version that fails there has never answered a client. `check_served` asks the
models that clients ask.
"""

from pathlib import Path

import numpy as np
import onnxruntime

from data_prep import packed
from data_prep.errors import InputError
from data_prep.figures import beside
from data_prep.preprocessing import FILE_NAME, Preprocessing
from pipelines.repository import model_parts, preflight, versions
from pipelines.repository.graph_check import INPUT, PROBABILITIES
from pipelines.repository.layout import CLASSIFIER, DECODE, FUSED
from pipelines.repository.model_config import LABELS_FILE
from pipelines.serving.client import TritonClient
from training.reports import GRAPH_FILE

# Largest difference of a probability. Half precision, and GPUs, round otherwise.
TOLERANCES = {"fp32": 2e-3, "fp16": 2e-2}


def check_parts(urls: dict[str, str], repository: Path, record: dict) -> None:
    """Compare what a version's loaded parts answer with what they should.

    Args:
        urls: ``host:port`` by protocol, "grpc" and perhaps "http".

    Raises:
        InputError: One does not answer, or answers something else.
    """
    folders = versions.folders_of(repository, record)
    tolerance = TOLERANCES[record["precision"]]
    files, pixels, expected = golden(folders)
    with np.load(folders[CLASSIFIER] / preflight.GOLDEN_FILE) as arrays:
        tensors, torchs = arrays["images"], arrays["probabilities"]
    for protocol, url in urls.items():
        for kind, folder in folders.items():
            with TritonClient(url, protocol, folder.name) as ask:
                if kind == CLASSIFIER:
                    compare(ask(tensors), torchs, tolerance, folder.name, protocol)
                    compare(ask(pixels), expected, tolerance, folder.name, protocol)
                else:
                    right = {DECODE: pixels, FUSED: expected}[kind]
                    compare(ask(files), right, tolerance, folder.name, protocol)
                if kind == FUSED:
                    compare_labels(ask, files[0], folder / LABELS_FILE)


def check_served(urls: dict[str, str], repository: Path, record: dict) -> None:
    """Compare what clients are answered with what the version should answer.

    Raises:
        InputError: It answers something else.
    """
    folders, name = versions.folders_of(repository, record), versions.name_of(record)
    files, _, expected = golden(folders)
    for protocol, url in urls.items():
        with TritonClient(url, protocol, name) as ask:
            tolerance = TOLERANCES[record["precision"]]
            compare(ask(files), expected, tolerance, name, protocol)
            compare_labels(ask, files[0], folders[CLASSIFIER] / LABELS_FILE)


def golden(folders: dict[str, Path]) -> tuple[list[bytes], np.ndarray, np.ndarray]:
    """Make files of the golden images, their pixels and their probabilities.

    The expected values are computed here, by the record and the graph, not read: as
    files the images are cropped and resized once more. Where training has left raw
    photographs, these are the files.
    """
    files = model_parts.golden_files(folders[CLASSIFIER])
    maker = folders.get(FUSED) or folders[DECODE]
    record = Preprocessing.load(maker / "1" / FILE_NAME)
    pixels = np.stack([record.apply(data) for data in files])
    session = onnxruntime.InferenceSession(
        folders[CLASSIFIER] / "1" / GRAPH_FILE,
        providers=["CPUExecutionProvider"],
    )
    (expected,) = session.run([PROBABILITIES], {INPUT: pixels})
    return files, pixels, expected


def compare(
    answers: np.ndarray,
    expected: np.ndarray,
    tolerance: float,
    model: str,
    protocol: str,
) -> None:
    if answers.shape != expected.shape:
        raise InputError(
            f"{model} answers the golden images by {protocol} with {answers.shape} "
            f"values instead of {expected.shape}"
        )
    difference = float(np.abs(answers.astype(float) - expected).max())
    if not difference <= tolerance:  # so that NaN fails too
        raise InputError(
            f"{model} answers the golden images by {protocol} otherwise than it "
            f"should: the difference is {beside(difference, tolerance, kind='g')} "
            f"({tolerance} at most)"
        )


def compare_labels(ask: TritonClient, file: bytes, path: Path) -> None:
    expected = packed.read_names(path)
    named = ask.labels(file)
    if named != expected:
        raise InputError(
            f"{ask.model} names its outputs {', '.join(named[:4])}, ... instead of "
            f"{', '.join(expected[:4])}, ..."
        )
