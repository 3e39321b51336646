"""Run and score the exported graph without torch."""

import functools
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data_prep import packed, preprocessing
from data_prep.errors import InputError
from data_prep.image_file import BrokenImage
from data_prep.preprocessing import Preprocessing
from data_prep.sources import find_images, name_folders

PROBABILITIES = "probabilities"  # the output that every model has
CHECKED = 64  # photographs by which answers that were kept are known to be a graph's
# Largest difference to torch, as a probability. Hand models pass points through many
# layers: a hundred thousandth of a point can move a probability by a ten thousandth.
PARITY = 1e-3


def onnx_predict(path: Path, images: np.ndarray, batch_size: int = 64) -> np.ndarray:
    """Run an ONNX file on ``(N, S, S, 3)`` uint8 images; give ``(N, classes)``."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    parts = [
        session.run([PROBABILITIES], {name: np.array(images[i : i + batch_size])})[0]
        for i in range(0, len(images), batch_size)
    ]
    return np.concatenate(parts)


def read_external(folder: str | Path, record: Preprocessing, classes: list[str]):
    """Read a raw folder of other people's photographs, as far as the classes are known.

    Returns:
        ``(N, S, S, 3)`` uint8 images and ``(N,)`` int64 labels.

    Raises:
        InputError: There are none, or one is broken.
    """
    images = find_images([folder]).images
    known = [image for image in images if image.label in classes]
    if not known:
        raise InputError(
            f"--external {folder} has no class folder named as one of the classes "
            f"({', '.join(classes[:4])}, ...)"
        )
    if len(known) < len(images):
        print(
            f"{folder}: {len(images) - len(known)} photographs of classes that the "
            "model does not know are left out"
        )
    pixels = []
    for image in known:
        try:
            pixels.append(record.apply(image.read()))
        except BrokenImage as error:
            raise InputError(
                f"{image.path} of --external: {error}; remove it"
            ) from None
    return np.array(pixels), np.array([classes.index(image.label) for image in known])


def read_all_external(
    folders: Sequence[str], record: Preprocessing, classes: list[str]
) -> dict[str, tuple]:
    """Read several such folders; name of the slice -> as `read_external` returns it."""
    return {
        f"external={name}": read_external(folder, record, classes)
        for name, folder in name_folders(folders).items()
    }


def score(
    graph: Path,
    dataset: Path,
    external: Sequence[str] = (),
    known: np.ndarray | None = None,
) -> tuple[dict, tuple]:
    """Score an ONNX file on the test split of the dataset that it was trained on.

    Args:
        dataset: Prepared folder (data_prep/packed.py); only read.
        known: What training has answered to the test split, ``(N, classes)``. The file
            is then asked about CHECKED photographs only, and about all of them if it
            answers otherwise.
        external: Raw folders of other people's photographs, each a slice of its own.

    Returns:
        The content of ``evaluation.json``, and what it was computed from: images
        ``(N, S, S, 3)`` uint8, labels ``(N,)`` int64, probabilities ``(N, classes)``.

    Raises:
        InputError: As `read_external`.
    """
    from training.evaluate import evaluate, score_slice, slice_rows

    classes = packed.read_classes(dataset)
    record = Preprocessing.load(dataset / preprocessing.FILE_NAME)
    ask = functools.partial(onnx_predict, graph)
    images, labels = packed.load_split(dataset, "test")
    probabilities = known
    if known is None or not answers_alike(ask, images, known):
        probabilities = ask(images)
    manifest = packed.read_manifest(dataset)
    slices = slice_rows(images, *describe_split(manifest, "test", len(labels)))
    result = evaluate(probabilities, labels, classes, slices)
    for name, (pixels, truth) in read_all_external(external, record, classes).items():
        result["slices"][name] = score_slice(ask(pixels).argmax(1), truth)
    result |= {"split": "test", "split_method": split_method(dataset)}
    return result, (images, labels, probabilities)


def answers_alike(ask, images: np.ndarray, known: np.ndarray) -> bool:
    """Does a graph give the known answers, ``(N, classes)``, to images spread over a
    split?"""
    if len(known) != len(images):  # a trial run answered a part only
        return False
    rows = np.unique(np.linspace(0, len(images) - 1, CHECKED).astype(int))
    return bool(np.abs(ask(images[rows]) - known[rows]).max() <= PARITY)


def describe_split(
    manifest: list[packed.ManifestRow], split: str, count: int
) -> tuple[list, list]:
    """What the manifest says of the first images of a split.

    Returns:
        Two lists, an item an image: its source, and whether its group has other images.
    """
    sizes = Counter(row.group for row in manifest)
    rows = [row for row in manifest if row.split == split][:count]
    return [row.source for row in rows], [sizes[row.group] > 1 for row in rows]


def split_method(dataset: Path) -> str:
    """By which method prepare made the splits; "" where it did not say."""
    path = dataset / "split.json"
    return json.loads(path.read_text()).get("method", "") if path.exists() else ""
