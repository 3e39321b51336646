"""What a training works on: a prepared dataset, opened, and what is shown of it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from data_prep import packed, preprocessing
from data_prep.errors import InputError
from data_prep.preprocessing import Preprocessing
from training import distributed
from training.config import BACKBONE, RunConfig, TrainConfig
from training.efficientnet_lite import MEAN, STD
from training.graph import describe_split
from training.hands.picked import (
    PickedPhotographs,
    most_of_a_source,
    pick_evenly,
)
from training.hands.training import HandTraining


@dataclass(frozen=True)
class Data:
    """A prepared dataset, opened.

    Attributes:
        folder: Where it lies; only read.
        classes: Names of the labels, in their order.
        record: How its images were made.
        splits: ``(N, S, S, 3)`` uint8 images and ``(N,)`` int64 labels, by split.
        sources: Of each image, by split.
    """

    folder: Path
    classes: list[str]
    record: Preprocessing
    splits: dict[str, tuple[np.ndarray, np.ndarray]]
    sources: dict[str, list[str]]


@dataclass(frozen=True)
class Views:
    """What the network of pixels is shown: photographs, or pictures of hands.

    Attributes:
        train: Images and labels to learn from.
        val: The same; judges each epoch.
        transform: The augmentation, called as `augment` is.
        sample_weights: ``(N,)`` how often to draw each image; None for equally often.
        hands: What the geometry of hands has taught; None where no hand is found.
    """

    train: tuple[np.ndarray, np.ndarray]
    val: tuple[np.ndarray, np.ndarray]
    transform: Callable
    sample_weights: np.ndarray | None
    hands: HandTraining | None


def open_dataset(
    dataset: Path, run_config: RunConfig, train_config: TrainConfig
) -> Data:
    """Open a prepared folder.

    Raises:
        InputError: It is damaged, or a split is empty.
    """
    splits = read_splits(dataset, run_config, train_config)
    record = Preprocessing.load(dataset / preprocessing.FILE_NAME)
    manifest = packed.read_manifest(dataset)
    return Data(
        folder=dataset,
        classes=packed.read_classes(dataset),
        record=record_for(run_config, record),
        splits=splits,
        sources={
            name: describe_split(manifest, name, len(labels))[0]
            for name, (_, labels) in splits.items()
        },
    )


def record_for(run_config: RunConfig, record: Preprocessing) -> Preprocessing:
    """The preprocessing record of a model: published weights want pixels their way."""
    if run_config.model == BACKBONE:
        return replace(record, mean=3 * (MEAN,), std=3 * (STD,))
    return record


def read_splits(
    dataset: Path, run_config: RunConfig, train_config: TrainConfig
) -> dict[str, tuple]:
    """Open the three splits: ``(images, labels)`` each, by name.

    Raises:
        InputError: One is missing or empty.
    """
    splits = {}
    for name in packed.SPLITS:
        images, labels = packed.load_split(dataset, name)
        if not len(labels):
            raise InputError(
                f"the {name} split of {dataset} is empty; prepare it from more images "
                "or with other --ratios"
            )
        if run_config.fast_dev_run:
            count = min(train_config.batch_size, len(labels))
            # of all classes, which lie in order; of test, verify knows the first alone
            last = count - 1 if name == "test" else len(labels) - 1
            rows = np.linspace(0, last, count).astype(int)
            images, labels = images[rows], labels[rows]
        splits[name] = images, labels
    return splits


def describe_data(data: Data, metadata: dict[str, str]) -> str:
    """Say in a line what a training works on."""
    counts = ", ".join(f"{name} {len(y)}" for name, (_, y) in data.splits.items())
    sources = sorted(set(data.sources["train"]))
    shown = ", ".join(sources[:5]) + (", ..." if len(sources) > 5 else "")
    return (
        f"training {metadata.get('name') or 'a model'} on dataset "
        f"{metadata.get('dataset_id') or data.folder}: {counts} images of "
        f"{data.record.image_size} pixels ({data.record.resize_mode}), "
        f"{len(data.classes)} classes, {len(sources)} sources ({shown})"
    )


def pick_photographs(data: Data, most: int) -> Data:
    """Leave out what a reading of hands would learn nothing from; test stays whole.

    Args:
        data: The dataset.
        most: Photographs of each class and source; 0: `most_of_a_source`.
    """
    splits, sources = dict(data.splits), dict(data.sources)
    most = most or most_of_a_source(len(set(sources["train"])))
    for name in ("train", "val"):
        images, labels = splits[name]
        from_whom = np.array(sources[name], dtype=object)
        rows = pick_evenly(labels, from_whom, most)
        splits[name] = PickedPhotographs(images, rows), labels[rows]
        sources[name] = list(from_whom[rows])
    total, read = (len(x["train"][1]) for x in (data.splits, splits))
    if read < total and distributed.rank() == 0:
        print(
            f"hands are read in {read} of {total} photographs: {most} of each class "
            "and source (--most-per-class)",
            flush=True,
        )
    return replace(data, splits=splits, sources=sources)


def sample_weights(sources: list[str], labels: np.ndarray, balance: float):
    """Say how often to draw each image, ``(N,)``; None for equally often.

    The weight is the product of the sizes of the image's source and of its class,
    relative to the mean ones, to the power of ``-balance``.
    """
    weights = np.ones(len(labels))
    for values in (np.array(sources), labels):
        _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
        weights *= (counts[inverse] / counts.mean()) ** -balance
    return None if np.allclose(weights, weights[0]) else weights
