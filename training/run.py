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
    curves.png, confusion_matrix.png, predictions.png
    tensorboard/
"""

import json
import shutil
import time
from pathlib import Path

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter

from data_prep import packed, preprocessing
from data_prep.errors import InputError
from data_prep.preprocessing import Preprocessing
from training.augment import augment, noise_pool
from training.evaluate import evaluate, plot_confusion, plot_curves, plot_predictions
from training.export import export_onnx, golden_inputs
from training.loop import fit, predict
from training.models import build_model
from training.network import Classifier, pick_device
from training.optimisation import Recipe
from training.torch_setup import keep_freed_memory

# What a model repository is made from (pipelines/deploy.py).
DEPLOYABLES = ("model.onnx", "classes.txt", preprocessing.FILE_NAME, "golden.npz")
TEST_PROBABILITIES = "test_probabilities.npy"
PICTURES = ("curves.png", "confusion_matrix.png", "predictions.png")


def train_dataset(
    dataset: Path, out: Path, model: str, recipe: Recipe, metadata: dict[str, str]
) -> dict:
    """Train, evaluate and export one model.

    Args:
        dataset: Prepared folder (data_prep/packed.py); only read.
        out: Folder for the results, made here.
        model: A name that `build_model` knows.
        recipe: How to train.
        metadata: Kept in the graph; "task_id" and "dataset_id" by convention.

    Returns:
        The content of ``evaluation.json``.

    Raises:
        InputError: The dataset or the model name is at fault, or training diverged.
    """
    started = time.monotonic()
    keep_freed_memory()
    classes = packed.read_classes(dataset)
    record = Preprocessing.load(dataset / preprocessing.FILE_NAME)
    train, val, test = (packed.load_split(dataset, s) for s in packed.SPLITS)
    for name, (_, labels) in zip(packed.SPLITS, (train, val, test)):
        if not len(labels):
            raise InputError(
                f"the {name} split of {dataset} is empty; prepare it from more images "
                "or with other --ratios"
            )
    torch.manual_seed(recipe.seed)
    network = build_model(model, len(classes), record.image_size)
    out.mkdir(parents=True, exist_ok=True)
    classifier = Classifier(network, record).to(pick_device())

    with SummaryWriter(str(out / "tensorboard")) as writer:
        writer.add_image(
            "training images/augmented",
            augmented_grid(train[0], recipe.seed),
            dataformats="HWC",
        )
        history = fit(classifier, train, val, recipe, out, writer.add_scalar)

    images, labels = test
    probabilities = predict(classifier, images)
    sources = [
        row.source for row in packed.read_manifest(dataset) if row.split == "test"
    ]
    result = evaluate(probabilities, labels, classes, sources)
    np.save(out / TEST_PROBABILITIES, probabilities)

    golden = golden_inputs(images, labels)
    shutil.copyfile(dataset / "classes.txt", out / "classes.txt")
    record.save(out / preprocessing.FILE_NAME)
    expected = export_onnx(classifier, out / "model.onnx", golden, metadata)
    np.savez(out / "golden.npz", images=golden, probabilities=expected)

    plot_curves(history).savefig(out / "curves.png")
    plot_confusion(result["confusion"]).savefig(out / "confusion_matrix.png")
    plot_predictions(images, labels, probabilities, classes).savefig(
        out / "predictions.png"
    )
    result |= {
        "model": model,
        "parameters": sum(p.numel() for p in network.parameters()),
        "dataset_id": metadata.get("dataset_id", ""),
        "split": "test",
        "epochs": len(history),
        "seconds": round(time.monotonic() - started, 1),
    }
    (out / "history.json").write_text(json.dumps(history, indent=1) + "\n")
    (out / "evaluation.json").write_text(json.dumps(result, indent=1) + "\n")
    return result


def augmented_grid(images: np.ndarray, seed: int, rows: int = 4, columns: int = 8):
    """What the network gets to see: ``(rows * S, columns * S, 3)`` uint8 RGB."""
    rng = np.random.default_rng([seed, 2])
    noise = noise_pool(images.shape[1], seed)
    picks = rng.integers(len(images), size=(rows, columns))
    return np.concatenate(
        [
            np.concatenate([augment(images[i], rng, noise) for i in row], 1)
            for row in picks
        ]
    )
