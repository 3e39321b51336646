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
import functools
import hashlib
import json
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import torch
from torch.utils.tensorboard import SummaryWriter

from data_prep import packed, preprocessing
from data_prep.drawing.hand_poses import CLASSES
from data_prep.errors import InputError
from data_prep.preprocessing import Preprocessing
from training import distributed, reports
from training.augment import augment, noise_pool
from training.evaluate import evaluate, score_slice, slice_rows
from training.export import export_onnx, golden_inputs
from training.floors import floors
from training.golden import RAW_GOLDEN_FILE, write_raw_golden
from training.graph import answer, describe_split, read_all_external, split_method
from training.hands.files import find_hand_networks
from training.hands.model import HandModel, Letters
from training.hands.pictures import EvenLight, inner, vary_picture
from training.hands.reader import PICTURE_SIZE
from training.hands.readings import read_photographs, reader_graph
from training.hands.training import train_geometry
from training.loop import LAST_FILE, fit, predict, read_last
from training.models import build_model, load_pretrained, load_weights
from training.network import Classifier, pick_device
from training.optimisation import Recipe
from training.pictures import plot_confusion, plot_curves, plot_predictions
from training.quantize import quantize
from training.torch_setup import keep_freed_memory

PICTURES = ("curves.png", *reports.PICTURES)
ORIGIN_FILE = "origin.json"
LEAST_SIZE = 192  # of photographs in which hands are found, pixels


@dataclass(frozen=True)
class Choices:
    """What is trained, and what is done beside training.

    Attributes:
        model: A name that `build_model` knows.
        grey: Whether the network sees brightness only.
        find_hand: Whether the hand is found first, and its geometry read: "yes", "no",
            or "auto" for yes where the classes are hand signs and the images were
            letterboxed to `LEAST_SIZE` or more.
        hand_networks: Folder of the networks that find it; "" for the fetched ones.
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
    find_hand: str = "no"
    hand_networks: str = ""
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
    first = distributed.rank() == 0
    train, val, test = read_splits(dataset, choices, recipe)
    outside = read_all_external(choices.external if first else (), record, classes)
    if choices.fast_dev_run:
        recipe = replace(recipe, epochs=1, warmup=0)  # one step, at the full rate
    choices = replace(choices, find_hand=decide_to_find(choices, classes, record))
    if choices.find_hand == "yes" and first:  # what is missing is said at once
        find_hand_networks(choices.hand_networks)
    origin = describe_origin(dataset, choices)
    resume = Path(choices.resume) / LAST_FILE if choices.resume else None
    if resume:  # what cannot be resumed is said at once
        read_last(resume, recipe)
        earlier = check_origin(resume.parent, origin)
        choices = replace(choices, weights="", pretrained=False)  # all are in LAST_FILE
    torch.manual_seed(recipe.seed)
    classifier, loaded = build_classifier(choices, len(classes), record)
    if resume:
        loaded = set(earlier["loaded"])
    classifier.to(pick_device())
    out.mkdir(parents=True, exist_ok=True)
    if first:
        kept = origin | {"loaded": sorted(loaded)}
        (out / ORIGIN_FILE).write_text(json.dumps(kept, indent=1) + "\n")
    manifest, weights = packed.read_manifest(dataset), None
    sources = {
        name: describe_split(manifest, name, len(labels))[0]
        for name, (_, labels) in zip(packed.SPLITS, (train, val, test))
    }
    seen, judged, vary, hands = train, val, augment, None
    if choices.find_hand == "yes":
        hands = train_geometry(
            splits=dict(zip(packed.SPLITS, (train, val, test))),
            sources=sources,
            classes=classes,
            networks=choices.hand_networks,
            seed=recipe.seed,
            device=pick_device(),
            share_of_steps=0.01 if choices.fast_dev_run else 1.0,
        )
        seen = hands.readings["train"].pictures, train[1]
        judged = inner(hands.readings["val"].pictures), val[1]
        vary = vary_picture
    if not choices.fast_dev_run:
        weights = draw_weights(sources["train"], seen[1], recipe.balance)
    with contextlib.ExitStack() as stack:
        log = None
        if first:
            writer = stack.enter_context(SummaryWriter(str(out / "tensorboard")))
            grid = augmented_grid(seen[0], vary, recipe)
            writer.add_image("training images/augmented", grid, dataformats="HWC")
            log = writer.add_scalar
        history = fit(
            classifier,
            train=seen,
            val=judged,
            recipe=recipe,
            folder=out,
            log=log,
            loaded=loaded,
            resume=resume,
            vary=vary,
            weights=weights,
        )
    if not first:
        return None

    images, labels = test
    shutil.copyfile(dataset / "classes.txt", out / "classes.txt")
    record.save(out / preprocessing.FILE_NAME)
    golden = golden_inputs(images, labels)
    graph = out / "model.onnx"
    letters = hands.save(classifier, out) if hands else None
    model = HandModel.load(letters, choices.hand_networks) if hands else classifier
    expected = export_onnx(model, graph, golden, metadata)
    quantised = quantize(graph, train[0], val, recipe.seed) if choices.int8 else None
    if quantised and quantised["kept"]:
        ask = functools.partial(answer, graph)
        expected = ask(golden)
    else:
        ask = functools.partial(ask_torch, letters or classifier, choices)
    np.savez(out / "golden.npz", images=golden, probabilities=expected)
    if samples := packed.read_samples(dataset):
        answers = ask(np.stack([record.apply(sample) for sample in samples]))
        write_raw_golden(out / RAW_GOLDEN_FILE, samples, answers)

    if hands and not (quantised and quantised["kept"]):  # it has been read already
        probabilities = letters.predict_probabilities(hands.readings["test"])
    else:
        probabilities = ask(images)
    np.save(out / reports.TEST_PROBABILITIES, probabilities)
    slices = slice_rows(images, *describe_split(manifest, "test", len(labels)))
    result = evaluate(probabilities, labels, classes, slices)
    for name, (pixels, truth) in outside.items():
        result["slices"][name] = score_slice(ask(pixels).argmax(1), truth)
    result |= {
        "held_out_signers": hands.held_out if hands else None,
        "floors": floors(train, test, recipe.seed) if choices.floors else {},
        "model": choices.model,
        "grey": choices.grey,
        "find_hand": choices.find_hand,
        "parameters": graph_parameters(graph),
        "precision": "int8" if quantised and quantised["kept"] else "float32",
        "int8": quantised,
        "dataset_id": metadata.get("dataset_id", ""),
        "split": "test",
        "split_method": split_method(dataset),
        "epochs": len(history),
        "seconds": round(time.monotonic() - started, 1),
    }
    figures = (
        plot_curves(history),
        plot_confusion(result["confusion"]),
        plot_predictions(images, labels, probabilities, classes),
    )
    for name, figure in zip(PICTURES, figures):
        figure.savefig(out / name)
    (out / "history.json").write_text(json.dumps(history, indent=1) + "\n")
    (out / reports.EVALUATION).write_text(json.dumps(result, indent=1) + "\n")
    return result


def describe_origin(dataset: Path, choices: Choices) -> dict:
    """What must be the same for a run to be taken up again."""
    manifest = (dataset / "manifest.csv").read_bytes()
    return {
        "dataset": hashlib.sha256(manifest).hexdigest(),
        "model": choices.model,
        "grey": choices.grey,
        "find_hand": choices.find_hand,
    }


def check_origin(run: Path, origin: dict) -> dict:
    """Read what an interrupted run has kept of its origin.

    Raises:
        InputError: Nothing, or it is of another origin.
    """
    try:
        kept = json.loads((run / ORIGIN_FILE).read_text())
    except (OSError, ValueError):
        raise InputError(
            f"{run / ORIGIN_FILE} is missing or damaged; --resume must name the folder "
            "of an interrupted training"
        ) from None
    for key, value in origin.items():
        if kept.get(key) != value:
            raise InputError(
                f"{run} was trained with another {key} ({kept.get(key)}, not {value}); "
                "resume with the same, a dataset by --dataset-id"
            )
    return kept


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
            count = min(recipe.batch_size, len(labels))
            # of all classes, which lie in order; of test, verify knows the first alone
            last = count - 1 if name == "test" else len(labels) - 1
            rows = np.linspace(0, last, count).astype(int)
            images, labels = images[rows], labels[rows]
        splits.append((images, labels))
    return splits


def decide_to_find(choices: Choices, classes: list[str], record: Preprocessing) -> str:
    """Resolve "auto": "yes" or "no".

    Raises:
        InputError: It is none of the three, or "yes" for images that are too small.
    """
    if choices.find_hand not in ("yes", "no", "auto"):
        raise InputError(f"--find-hand is {choices.find_hand}; choose yes, no or auto")
    large = record.image_size >= LEAST_SIZE
    if choices.find_hand == "yes" and not large:
        raise InputError(
            f"--find-hand yes needs images of {LEAST_SIZE} pixels or more, not "
            f"{record.image_size}; prepare them with --image-size 256"
        )
    if choices.find_hand != "auto":
        return choices.find_hand
    fits = set(classes) <= set(CLASSES) and large and record.resize_mode == "letterbox"
    return "yes" if fits else "no"


def build_classifier(choices: Choices, classes: int, record: Preprocessing):
    """Build the network of pixels with its first weights.

    Returns:
        The classifier, of photographs or of pictures of hands; and the names of the
        parameters of its backbone that were loaded.
    """
    channels = 1 if choices.grey else 3
    of_hands = choices.find_hand == "yes"
    size = PICTURE_SIZE if of_hands else record.image_size
    network = build_model(choices.model, classes, size, channels)
    names, fresh = {name for name, _ in network.named_parameters()}, None
    if choices.weights:
        fresh = load_weights(network, Path(choices.weights))
    elif choices.pretrained:
        fresh = load_pretrained(network, choices.model)
    loaded = set() if fresh is None else names - set(fresh)
    linear = [n for n, m in network.named_modules() if isinstance(m, torch.nn.Linear)]
    # the head is no backbone, even if it fits
    loaded = {name for name in loaded if name.rpartition(".")[0] not in linear[-1:]}
    if of_hands:
        network = torch.nn.Sequential(EvenLight(), network)
        loaded = {f"1.{name}" for name in loaded}
    return Classifier(network, record, choices.grey), loaded


def ask_torch(
    model: Classifier | Letters, choices: Choices, images: np.ndarray
) -> np.ndarray:
    """Probabilities ``(N, classes)`` of uint8 photographs that were not read yet."""
    if isinstance(model, Classifier):
        return predict(model, images)
    graph = reader_graph(choices.hand_networks, images.shape[1])
    return model.predict_probabilities(read_photographs(images, graph, "read"))


def graph_parameters(graph: Path) -> int:
    """Count the numbers that a graph has learned."""
    weights = onnx.load(graph).graph.initializer
    return sum(
        int(np.prod(weight.dims))
        for weight in weights
        if weight.data_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.INT8)
    )


def draw_weights(sources: list[str], labels: np.ndarray, balance: float):
    """Say how often to draw each image, ``(N,)``; None for equally often.

    The weight is the product of the sizes of the image's source and of its class,
    relative to the mean ones, to the power of ``-balance``.
    """
    weights = np.ones(len(labels))
    for values in (np.array(sources), labels):
        _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
        weights *= (counts[inverse] / counts.mean()) ** -balance
    return None if np.allclose(weights, weights[0]) else weights


def augmented_grid(images, vary, recipe: Recipe, rows: int = 4, columns: int = 8):
    """What the network gets to see: ``(rows * S, columns * S, 3)`` uint8 RGB."""
    rng = np.random.default_rng([recipe.seed, 2])
    noise = noise_pool(images.shape[1], recipe.seed)
    picks = rng.integers(len(images), size=(rows, columns))
    varied = [
        [vary(images[i], rng, noise, recipe.augment, recipe.flip) for i in row]
        for row in picks
    ]
    return np.concatenate([np.concatenate(row, 1) for row in varied])
