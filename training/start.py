"""The network that a training begins with, and of what origin its weights are."""

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path

import torch

from data_prep.errors import InputError
from data_prep.preprocessing import Preprocessing
from training import distributed
from training.config import RunConfig, TrainConfig
from training.data import Data
from training.hands.pictures import EvenLight
from training.hands.reader import PICTURE_SIZE
from training.interrupted import LAST_FILE, ORIGIN_FILE, read_origin
from training.loop import read_last
from training.models import build_model, load_pretrained, load_weights
from training.network import Classifier, pick_device


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
