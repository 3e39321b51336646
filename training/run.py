"""One training from prepared data to a folder of results; knows nothing of ClearML.

The folder afterwards::

    model.onnx            the graph that is served
    classes.txt           order of its outputs
    preprocessing.json    how to make its input
    golden.npz            images (uint8 n,S,S,3), and the probabilities torch gave
    test_probabilities.npy  torch's answers to the whole test split (float32 N,classes)
    evaluation.json       scores on the test split (training/evaluate.py)
    history.json          one row an epoch
    checkpoint.pt         weights of the best epoch
    last.pt               what --resume needs
    curves.png, confusion_matrix.png, predictions.png
    tensorboard/

After --int8 the probabilities are those of the quantised graph.
"""

import functools
import json
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter

from data_prep import packed, preprocessing
from data_prep.errors import InputError
from data_prep.preprocessing import Preprocessing
from training import distributed
from training.augment import augment, noise_pool
from training.evaluate import evaluate, score_slice, slice_rows
from training.export import export_onnx, golden_inputs
from training.floors import floors
from training.graph import answer, read_external, split_method
from training.loop import LAST_FILE, fit, predict
from training.models import build_model, load_pretrained, load_weights
from training.network import Classifier, pick_device
from training.optimisation import Recipe
from training.pictures import plot_confusion, plot_curves, plot_predictions
from training.quantize import quantize
from training.torch_setup import keep_freed_memory

# What a model repository is made from (pipelines/deploy.py).
DEPLOYABLES = ("model.onnx", "classes.txt", preprocessing.FILE_NAME, "golden.npz")
TEST_PROBABILITIES = "test_probabilities.npy"
PICTURES = ("curves.png", "confusion_matrix.png", "predictions.png")


@dataclass(frozen=True)
class Choices:
    """What is trained, and what is done beside training.

    Attributes:
        model: A name that `build_model` knows.
        grey: Whether the network sees brightness only.
        pretrained: Start from the zoo's weights.
        weights: Start from this state dict; "" for none.
        resume: Folder of an interrupted run to take up; "" for none.
        external: Raw folders of other people's photographs to score; () for none.
        int8: Try to serve a quantised graph.
        floors: Score the simplest models, too.
        fast_dev_run: One batch of each split and one epoch, to try the code.
    """

    model: str = "small_resnet"
    grey: bool = False
    pretrained: bool = False
    weights: str = ""
    resume: str = ""
    external: tuple[str, ...] = ()
    int8: bool = False
    floors: bool = True
    fast_dev_run: bool = False


def train_dataset(
    dataset: Path, out: Path, choices: Choices, recipe: Recipe, metadata: dict[str, str]
) -> dict | None:
    """Train, evaluate and export one model.

    Args:
        dataset: Prepared folder (data_prep/packed.py); only read.
        out: Folder for the results, made here.
        choices: What to train.
        recipe: How to train.
        metadata: Kept in the graph; "task_id" and "dataset_id" by convention.

    Returns:
        The content of ``evaluation.json``; None in the further processes of
        ``torchrun``.

    Raises:
        InputError: The dataset or a choice is at fault, or training diverged.
    """
    started = time.monotonic()
    keep_freed_memory()
    classes = packed.read_classes(dataset)
    record = Preprocessing.load(dataset / preprocessing.FILE_NAME)
    train, val, test = read_splits(dataset, choices, recipe)
    outside = {f: read_external(f, record, classes) for f in choices.external}
    if choices.fast_dev_run:
        recipe = replace(recipe, epochs=1)
    torch.manual_seed(recipe.seed)
    classifier, loaded = build_classifier(choices, len(classes), record)
    classifier.to(pick_device())
    out.mkdir(parents=True, exist_ok=True)

    with SummaryWriter(str(out / "tensorboard")) as writer:
        grid = augmented_grid(train[0], recipe)
        writer.add_image("training images/augmented", grid, dataformats="HWC")
        resume = Path(choices.resume) / LAST_FILE if choices.resume else None
        history = fit(
            *(classifier, train, val, recipe, out, writer.add_scalar, loaded, resume)
        )
    if distributed.rank():
        return None

    images, labels = test
    shutil.copyfile(dataset / "classes.txt", out / "classes.txt")
    record.save(out / preprocessing.FILE_NAME)
    golden = golden_inputs(images, labels)
    graph = out / "model.onnx"
    expected = export_onnx(classifier, graph, golden, metadata)
    quantised = quantize(graph, train[0], val, recipe.seed) if choices.int8 else None
    if quantised and quantised["kept"]:
        ask = functools.partial(answer, graph)
        expected = ask(golden)
    else:
        ask = functools.partial(predict, classifier)
    np.savez(out / "golden.npz", images=golden, probabilities=expected)

    probabilities = ask(images)
    np.save(out / TEST_PROBABILITIES, probabilities)
    rows = [row for row in packed.read_manifest(dataset) if row.split == "test"]
    sources = [row.source for row in rows[: len(labels)]]
    result = evaluate(probabilities, labels, classes, slice_rows(images, sources))
    for folder, (pixels, truth) in outside.items():
        name = f"external={Path(folder).name}"
        result["slices"][name] = score_slice(ask(pixels).argmax(1), truth)
    result |= {
        "floors": floors(train, test, recipe.seed) if choices.floors else {},
        "model": choices.model,
        "grey": choices.grey,
        "parameters": sum(p.numel() for p in classifier.network.parameters()),
        "precision": "int8" if quantised and quantised["kept"] else "float32",
        "int8": quantised,
        "dataset_id": metadata.get("dataset_id", ""),
        "split": "test",
        "split_method": split_method(dataset),
        "epochs": len(history),
        "seconds": round(time.monotonic() - started, 1),
    }
    plot_curves(history).savefig(out / "curves.png")
    plot_confusion(result["confusion"]).savefig(out / "confusion_matrix.png")
    plot_predictions(images, labels, probabilities, classes).savefig(
        out / "predictions.png"
    )
    (out / "history.json").write_text(json.dumps(history, indent=1) + "\n")
    (out / "evaluation.json").write_text(json.dumps(result, indent=1) + "\n")
    return result


def read_splits(dataset: Path, choices: Choices, recipe: Recipe) -> list[tuple]:
    """Open the three splits: ``(images, labels)`` each.

    Raises:
        InputError: One is missing or empty.
    """
    splits = []
    for name in packed.SPLITS:
        images, labels = packed.load_split(dataset, name)
        if not len(labels):
            raise InputError(
                f"the {name} split of {dataset} is empty; prepare it from more images "
                "or with other --ratios"
            )
        if choices.fast_dev_run:
            images, labels = images[: recipe.batch_size], labels[: recipe.batch_size]
        splits.append((images, labels))
    return splits


def build_classifier(choices: Choices, classes: int, record: Preprocessing):
    """Build the network with its first weights.

    Returns:
        The classifier, and the names of the parameters that were loaded.
    """
    channels = 1 if choices.grey else 3
    network = build_model(choices.model, classes, record.image_size, channels)
    names, fresh = {name for name, _ in network.named_parameters()}, None
    if choices.weights:
        fresh = load_weights(network, Path(choices.weights))
    elif choices.pretrained:
        fresh = load_pretrained(network, choices.model)
    loaded = set() if fresh is None else names - set(fresh)
    return Classifier(network, record, choices.grey), loaded


def augmented_grid(images: np.ndarray, recipe: Recipe, rows: int = 4, columns: int = 8):
    """What the network gets to see: ``(rows * S, columns * S, 3)`` uint8 RGB."""
    rng = np.random.default_rng([recipe.seed, 2])
    noise = noise_pool(images.shape[1], recipe.seed)
    picks = rng.integers(len(images), size=(rows, columns))
    varied = [
        [augment(images[i], rng, noise, recipe.augment, recipe.flip) for i in row]
        for row in picks
    ]
    return np.concatenate([np.concatenate(row, 1) for row in varied])
