"""One training from prepared data to a folder of results; knows nothing of ClearML.

The folder afterwards::

    model.onnx            the graph that is served
    classes.txt           order of its outputs
    preprocessing.json    how to make its input
    golden_raw.npz        a few test photographs as taken, and torch's answers
    golden.npz            images (uint8 n,S,S,3), and the probabilities torch gave
    test_probabilities.npy  torch's answers to the whole test split (float32 N,classes)
    evaluation.json       scores on the test split (training/evaluate.py)
    history.json          one row an epoch
    checkpoint.pt         weights of the best epoch
    geometry.pt           weights of the network that sees hands' geometry (hand model)
    last.pt, origin.json  what --resume needs beside these two
    curves.png, confusion_matrix.png, predictions.png
    tensorboard/

After --int8 the probabilities are those of the quantised graph.
"""

import contextlib
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter

from data_prep.drawing.hand_poses import CLASSES
from data_prep.errors import InputError
from data_prep.model_name import DEFAULT
from data_prep.preprocessing import Preprocessing
from training import distributed, frozen, reports
from training.augment import augment, noise_pool
from training.baselines import baselines
from training.config import RunConfig, TrainConfig
from training.data import (
    Data,
    Views,
    describe_data,
    open_dataset,
    pick_photographs,
    sample_weights,
)
from training.graph import read_all_external, split_method
from training.hands.files import find_hand_networks
from training.hands.pictures import augment_picture, inner
from training.hands.training import train_geometry
from training.interrupted import LAST_FILE
from training.loop import BEST_FILE, fit, save
from training.network import Classifier, pick_device
from training.results import evaluate_model, export, graph_parameters, write_results
from training.start import start_network
from training.torch_setup import keep_freed_memory

LEAST_SIZE = 192  # of photographs in which hands are found, pixels


def train_dataset(
    dataset: Path,
    out: Path,
    run_config: RunConfig,
    train_config: TrainConfig,
    metadata: dict[str, str],
) -> dict | None:
    """Train, evaluate and export one model.

    Args:
        dataset: Prepared folder (data_prep/packed.py); only read.
        out: Folder for the results, made here.
        run_config: What to train.
        train_config: How to train.
        metadata: Kept in the graph; "name", "task_id" and "dataset_id" by convention.

    Returns:
        The content of ``evaluation.json``; None in the further processes of
        ``torchrun``.

    Raises:
        InputError: The dataset or an option is at fault, or training diverged.
    """
    started = time.monotonic()
    keep_freed_memory()
    first = distributed.rank() == 0
    if run_config.fast_dev_run:  # one step, at the full rate
        train_config = replace(train_config, epochs=1, warmup=0)
    data = open_dataset(dataset, run_config, train_config)
    if first:
        print(describe_data(data, metadata), flush=True)
    external = read_all_external(
        run_config.external if first else (), data.record, data.classes
    )
    find_hand = decide_to_find(run_config, data.classes, data.record)
    run_config = replace(run_config, find_hand=find_hand)
    if find_hand == "yes" and first:  # what is missing is said at once
        find_hand_networks(run_config.hand_networks)

    classifier, views, history = learn(
        data, out, run_config, train_config, metadata.get("dataset_id", "")
    )
    if not first:
        return None
    exported = export(classifier, data, views, out, run_config, train_config, metadata)
    result = evaluate_model(exported, data, external) | {
        "held_out_signers": views.hands.held_out if views.hands else None,
        "baselines": (
            {}
            if run_config.skip_baselines
            else baselines(data.splits["train"], data.splits["test"], train_config.seed)
        ),
        "model": run_config.model,
        "grey": run_config.grey,
        "find_hand": run_config.find_hand,
        "parameters": graph_parameters(out / reports.GRAPH_FILE),
        "precision": exported.precision,
        "int8": exported.int8,
        "name": metadata.get("name", DEFAULT),
        "dataset_id": metadata.get("dataset_id", ""),
        "split": "test",
        "split_method": split_method(dataset),
        "epochs": len(history),
        "seconds": round(time.monotonic() - started, 1),
    }
    write_results(out, result, history, exported.test_probabilities, data)
    return result


def learn(
    data: Data,
    out: Path,
    run_config: RunConfig,
    train_config: TrainConfig,
    dataset_id: str = "",
) -> tuple[Classifier, Views, list[dict]]:
    """Train a network, without evaluating and exporting it.

    Args:
        data: Of `open_dataset`.
        out: Folder for the checkpoints and TensorBoard, made here.
        run_config: What to train; ``find_hand`` is "yes" or "no".
        train_config: How to train.
        dataset_id: Noted in ``out`` for a run that takes this one up again.

    Returns:
        The classifier with the weights of the best epoch, what it was shown, and the
        history (`fit`).

    Raises:
        InputError: The run to resume does not fit, or training diverged.
    """
    torch.manual_seed(train_config.seed)
    classifier, loaded = start_network(data, out, run_config, train_config, dataset_id)
    views = make_views(data, run_config, train_config)
    history = train_network(classifier, loaded, views, out, run_config, train_config)
    return classifier, views, history


def make_views(data: Data, run_config: RunConfig, train_config: TrainConfig) -> Views:
    """Make what the network of pixels is shown: read the hands first, if they are to be
    found, and learn from their geometry."""
    train, val = data.splits["train"], data.splits["val"]
    hands = None
    transform: Callable = augment
    if run_config.find_hand == "yes":
        data = pick_photographs(data, run_config.most_per_class)
        hands = train_geometry(
            splits=data.splits,
            sources=data.sources,
            classes=data.classes,
            networks=run_config.hand_networks,
            seed=train_config.seed,
            device=pick_device(),
            share_of_steps=0.01 if run_config.fast_dev_run else 1.0,
        )
        train = hands.readings["train"].pictures, data.splits["train"][1]
        val = inner(hands.readings["val"].pictures), data.splits["val"][1]
        transform = augment_picture
    drawn = None
    if not run_config.fast_dev_run:
        drawn = sample_weights(data.sources["train"], train[1], train_config.balance)
    return Views(train, val, transform, drawn, hands)


def train_network(
    classifier: Classifier,
    loaded: set[str],
    views: Views,
    out: Path,
    run_config: RunConfig,
    train_config: TrainConfig,
) -> list[dict]:
    """Run the training loop, logged to TensorBoard by the first process.

    Returns:
        The history, a row an epoch (`fit`).
    """
    with contextlib.ExitStack() as stack:
        log: Any = None  # of the first process alone
        if distributed.rank() == 0:
            writer = stack.enter_context(SummaryWriter(str(out / "tensorboard")))
            grid = augmented_grid(views.train[0], views.transform, train_config)
            writer.add_image("training images/augmented", grid, dataformats="HWC")
            log = writer.add_scalar
        learner: torch.nn.Module = classifier
        if train_config.frozen_layers:
            frozen.check(classifier, loaded, train_config.frozen_layers)
            learner, views = frozen.prepare(classifier, views, train_config)
        history = fit(
            learner,
            train=views.train,
            val=views.val,
            train_config=train_config,
            folder=out,
            log=log,
            loaded=loaded,
            resume=Path(run_config.resume) / LAST_FILE if run_config.resume else None,
            transform=views.transform,
            sample_weights=views.sample_weights,
            what="pixels of hands" if views.hands else "",
        )
        if learner is not classifier and distributed.rank() == 0:
            save(out / BEST_FILE, classifier.state_dict())  # that of all layers
        return history


def decide_to_find(
    run_config: RunConfig, classes: list[str], record: Preprocessing
) -> str:
    """Resolve "auto": "yes" or "no".

    Raises:
        InputError: It is "yes" for images that are too small.
    """
    large = record.image_size >= LEAST_SIZE
    if run_config.find_hand == "yes" and not large:
        raise InputError(
            f"--find-hand yes needs images of {LEAST_SIZE} pixels or more, not "
            f"{record.image_size}; prepare them with --image-size 256"
        )
    if run_config.find_hand != "auto":
        return run_config.find_hand
    fits = set(classes) <= set(CLASSES) and large and record.resize_mode == "letterbox"
    return "yes" if fits else "no"


def augmented_grid(
    images, transform, train_config: TrainConfig, rows: int = 4, columns: int = 8
):
    """What the network gets to see: ``(rows * S, columns * S, 3)`` uint8 RGB."""
    rng = np.random.default_rng([train_config.seed, 2])
    noise = noise_pool(images.shape[1], train_config.seed)
    picks = rng.integers(len(images), size=(rows, columns))
    varied = [
        [
            transform(images[i], rng, noise, train_config.augment, train_config.flip)
            for i in row
        ]
        for row in picks
    ]
    return np.concatenate([np.concatenate(row, 1) for row in varied])
