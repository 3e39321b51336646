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
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import torch
from torch.utils.tensorboard import SummaryWriter

from data_prep import packed, preprocessing
from data_prep.drawing.hand_poses import CLASSES
from data_prep.errors import InputError
from data_prep.model_name import DEFAULT
from data_prep.preprocessing import Preprocessing
from training import distributed, frozen, reports
from training.augment import augment, noise_pool
from training.baselines import baselines
from training.config import BACKBONE, RunConfig, TrainConfig
from training.efficientnet_lite import MEAN, STD
from training.evaluate import evaluate, score_slice, slice_rows
from training.export import export_onnx, golden_inputs
from training.golden import RAW_GOLDEN_FILE, write_raw_golden
from training.graph import describe_split, onnx_predict, read_all_external, split_method
from training.hands.files import find_hand_networks
from training.hands.model import HandModel, Letters
from training.hands.picked import (
    PickedPhotographs,
    most_of_a_source,
    pick_evenly,
)
from training.hands.pictures import EvenLight, augment_picture, inner
from training.hands.reader import PICTURE_SIZE
from training.hands.readings import read_photographs, reader_graph
from training.hands.training import HandTraining, train_geometry
from training.interrupted import ORIGIN_FILE, read_origin
from training.loop import BEST_FILE, LAST_FILE, fit, predict, read_last, save
from training.models import build_model, load_pretrained, load_weights
from training.network import Classifier, pick_device
from training.pictures import plot_confusion, plot_curves, plot_predictions
from training.quantize import quantize
from training.torch_setup import keep_freed_memory

PICTURES = ("curves.png", *reports.PICTURES)
LEAST_SIZE = 192  # of photographs in which hands are found, pixels


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


@dataclass(frozen=True)
class Exported:
    """A graph that was written, and how to ask what it holds.

    Attributes:
        predict: Probabilities ``(N, classes)`` of uint8 photographs.
        test_probabilities: Those of the test split.
        int8: Outcome of the quantisation; None where it was not asked for.
    """

    predict: Callable[[np.ndarray], np.ndarray]
    test_probabilities: np.ndarray
    int8: dict | None

    @property
    def precision(self) -> str:
        return "int8" if self.int8 and self.int8["kept"] else "float32"


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


def start_network(
    data: Data,
    out: Path,
    run_config: RunConfig,
    train_config: TrainConfig,
    dataset_id: str,
) -> tuple[Classifier, set[str]]:
    """Build the network of pixels, and note in ``out`` of what origin this run is.

    Returns:
        It, on the device to train on; and the names of the parameters of its backbone
        that were loaded.

    Raises:
        InputError: The run to resume does not fit.
    """
    origin, earlier = describe_origin(data.folder, run_config), None
    if run_config.resume:
        read_last(Path(run_config.resume) / LAST_FILE, train_config)
        earlier = check_origin(Path(run_config.resume), origin)
        if not train_config.frozen_layers:  # all weights are in LAST_FILE
            run_config = replace(run_config, weights="", pretrained=False)
    classifier, loaded = build_classifier(run_config, len(data.classes), data.record)
    if earlier:
        loaded = set(earlier["loaded"])
    out.mkdir(parents=True, exist_ok=True)
    if distributed.rank() == 0:
        kept = origin | {
            "loaded": sorted(loaded),
            "options": asdict(run_config)
            | asdict(train_config)
            | {"dataset_id": dataset_id},
        }
        (out / ORIGIN_FILE).write_text(json.dumps(kept, indent=1) + "\n")
    return classifier.to(pick_device()), loaded


def make_views(data: Data, run_config: RunConfig, train_config: TrainConfig) -> Views:
    """Make what the network of pixels is shown: read the hands first, if they are to be
    found, and learn from their geometry."""
    hands, transform = None, augment
    if run_config.find_hand == "yes":
        data = pick_photographs(data, run_config.most_per_class)
    train, val = data.splits["train"], data.splits["val"]
    if run_config.find_hand == "yes":
        hands = train_geometry(
            splits=data.splits,
            sources=data.sources,
            classes=data.classes,
            networks=run_config.hand_networks,
            seed=train_config.seed,
            device=pick_device(),
            share_of_steps=0.01 if run_config.fast_dev_run else 1.0,
        )
        train = hands.readings["train"].pictures, train[1]
        val = inner(hands.readings["val"].pictures), val[1]
        transform = augment_picture
    drawn = None
    if not run_config.fast_dev_run:
        drawn = sample_weights(data.sources["train"], train[1], train_config.balance)
    return Views(train, val, transform, drawn, hands)


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
        log = None
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
        )
        if learner is not classifier and distributed.rank() == 0:
            save(out / BEST_FILE, classifier.state_dict())  # that of all layers
        return history


def export(
    classifier: Classifier,
    data: Data,
    views: Views,
    out: Path,
    run_config: RunConfig,
    train_config: TrainConfig,
    metadata: dict[str, str],
) -> Exported:
    """Write the graph that is served, and what is needed to use and check it."""
    images, labels = data.splits["test"]
    shutil.copyfile(data.folder / packed.CLASSES_FILE, out / packed.CLASSES_FILE)
    data.record.save(out / preprocessing.FILE_NAME)
    golden, graph = golden_inputs(images, labels), out / reports.GRAPH_FILE
    letters = views.hands.save(classifier, out) if views.hands else None
    model = HandModel.load(letters, run_config.hand_networks) if letters else classifier
    expected = export_onnx(model, graph, golden, metadata)
    int8 = None
    if run_config.int8:
        photographs = data.splits["train"][0]
        int8 = quantize(graph, photographs, data.splits["val"], train_config.seed)
    quantised = int8 and int8["kept"]
    if quantised:
        ask = functools.partial(onnx_predict, graph)
        expected = ask(golden)
    else:
        ask = functools.partial(ask_torch, letters or classifier, run_config)
    np.savez(out / "golden.npz", images=golden, probabilities=expected)
    if samples := packed.read_samples(data.folder):
        answers = ask(np.stack([data.record.apply(sample) for sample in samples]))
        write_raw_golden(out / RAW_GOLDEN_FILE, samples, answers)
    if letters and not quantised:  # these photographs have been read already
        probabilities = letters.predict_probabilities(views.hands.readings["test"])
    else:
        probabilities = ask(images)
    return Exported(ask, probabilities, int8)


def evaluate_model(
    exported: Exported,
    data: Data,
    external: dict[str, tuple[np.ndarray, np.ndarray]],
) -> dict:
    """Score the test split, its slices, and other people's photographs."""
    images, labels = data.splits["test"]
    manifest = packed.read_manifest(data.folder)
    slices = slice_rows(images, *describe_split(manifest, "test", len(labels)))
    result = evaluate(exported.test_probabilities, labels, data.classes, slices)
    for name, (pixels, truth) in external.items():
        predicted = exported.predict(pixels).argmax(1)
        result["slices"][name] = score_slice(predicted, truth)
    return result


def write_results(
    out: Path, result: dict, history: list[dict], probabilities: np.ndarray, data: Data
) -> None:
    """Write scores and pictures; ``evaluation.json`` last, as the sign of the end."""
    np.save(out / reports.TEST_PROBABILITIES, probabilities)
    images, labels = data.splits["test"]
    figures = (
        plot_curves(history),
        plot_confusion(result["confusion"]),
        plot_predictions(images, labels, probabilities, data.classes),
    )
    for name, figure in zip(PICTURES, figures):
        figure.savefig(out / name)
    (out / "history.json").write_text(json.dumps(history, indent=1) + "\n")
    (out / reports.EVALUATION).write_text(json.dumps(result, indent=1) + "\n")


def describe_origin(dataset: Path, run_config: RunConfig) -> dict:
    """What must be the same for a run to be taken up again."""
    manifest = (dataset / "manifest.csv").read_bytes()
    return {
        "dataset": hashlib.sha256(manifest).hexdigest(),
        "model": run_config.model,
        "grey": run_config.grey,
        "find_hand": run_config.find_hand,
    }


def check_origin(run: Path, origin: dict) -> dict:
    """Read what an interrupted run has kept of its origin.

    Raises:
        InputError: Nothing, or it is of another origin.
    """
    kept = read_origin(run)
    for key, value in origin.items():
        if kept.get(key) != value:
            raise InputError(
                f"{run} was trained with another {key} ({kept.get(key)}, not {value}); "
                "resume with the same, a dataset by --dataset-id"
            )
    return kept


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


def build_classifier(run_config: RunConfig, classes: int, record: Preprocessing):
    """Build the network of pixels with its first weights.

    Returns:
        The classifier, of photographs or of pictures of hands; and the names of the
        parameters of its backbone that were loaded.
    """
    channels = 1 if run_config.grey else 3
    of_hands = run_config.find_hand == "yes"
    size = PICTURE_SIZE if of_hands else record.image_size
    network = build_model(run_config.model, classes, size, channels)
    names, fresh = {name for name, _ in network.named_parameters()}, None
    if run_config.weights:
        fresh = load_weights(network, Path(run_config.weights))
    elif run_config.pretrained:
        fresh = load_pretrained(network, run_config.model)
    loaded = set() if fresh is None else names - set(fresh)
    linear = [n for n, m in network.named_modules() if isinstance(m, torch.nn.Linear)]
    # the head is no backbone, even if it fits
    loaded = {name for name in loaded if name.rpartition(".")[0] not in linear[-1:]}
    if of_hands:
        network = torch.nn.Sequential(EvenLight(), network)
        loaded = {f"1.{name}" for name in loaded}
    return Classifier(network, record, run_config.grey), loaded


def ask_torch(
    model: Classifier | Letters, run_config: RunConfig, images: np.ndarray
) -> np.ndarray:
    """Probabilities ``(N, classes)`` of uint8 photographs that were not read yet."""
    if isinstance(model, Classifier):
        return predict(model, images)
    graph = reader_graph(run_config.hand_networks, images.shape[1])
    return model.predict_probabilities(read_photographs(images, graph, "read hands"))


def graph_parameters(graph: Path) -> int:
    """Count the numbers that a graph has learned."""
    weights = onnx.load(graph).graph.initializer
    return sum(
        int(np.prod(weight.dims))
        for weight in weights
        if weight.data_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.INT8)
    )


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
