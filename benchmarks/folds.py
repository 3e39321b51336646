"""How good a preset is: every photograph is tested once, on a model that never saw it.

    scripts/bench folds --preset flowers --raw DIR [--limit 100] [--set train.epochs=8]

The photographs are divided into folds of like size and like classes; near-duplicates
stay in one. For each fold a network is trained on the others with the training's own
loop, and asked about the fold. A part of the others, in the preset's proportion of
training to validation, chooses the best epoch. What frozen layers make of an image does
not depend on the fold, and is computed once for all.
"""

import argparse
import copy
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.train import machine
from data_prep import packed, preparation, prepare
from data_prep.command_line import command_parser
from data_prep.errors import InputError, exit_2_on_input_error
from data_prep.model_name import DEFAULT
from data_prep.parallel import cpu_count
from data_prep.preprocessing import FILE_NAME, Preprocessing
from data_prep.sources import find_images
from data_prep.splitting.splits import deal
from pipelines.orchestration import presets
from pipelines.orchestration.steps import STEPS
from pipelines.tracking.options import step_arguments
from training import frozen, train
from training.augment import augment
from training.config import RunConfig, TrainConfig
from training.data import Views, record_for
from training.evaluate import evaluate
from training.loop import fit, predict
from training.network import pick_device
from training.start import build_classifier
from training.torch_setup import keep_freed_memory

FOLDS = (3, 20)  # least and most


class Fold(NamedTuple):
    """What came of one fold.

    Attributes:
        number: From 1.
        accuracy: Share of its photographs that were named rightly.
        macro_f1: Mean F1 of the classes.
        recall: By class.
        images: How many were tested.
        processor_seconds: Of the training, on all cores, without the frozen layers.
    """

    number: int
    accuracy: float
    macro_f1: float
    recall: dict[str, float]
    images: int
    processor_seconds: float


class Learner(NamedTuple):
    """A network before its training, and what it is shown of each image.

    Attributes:
        network: Takes what `shown` holds.
        loaded: Names of its parameters that were loaded.
        shown: ``(N, ...)`` what training draws from.
        plain: ``(N, ...)`` the same without variation, to test on.
        transform: Varies one item of `shown`, called as `augment` is.
    """

    network: torch.nn.Module
    loaded: set[str]
    shown: np.ndarray
    plain: np.ndarray
    transform: object


def arguments() -> argparse.ArgumentParser:
    parser = command_parser(
        "scripts/bench folds",
        description="Measure the accuracy of a preset by cross-validation.",
        example="--preset flowers --raw flowers",
    )
    parser.add_argument(
        "--raw", nargs="+", required=True, metavar="DIR", help="what is learned"
    )
    presets.add_preset(parser)
    parser.add_argument("--folds", type=int, default=5, help="how many")
    parser.add_argument(
        "--only",
        nargs="+",
        type=int,
        default=[],
        metavar="N",
        help="these folds alone, from 1 (default: all)",
    )
    parser.add_argument(
        "--limit", type=int, default=0, help="photographs a class at most; 0: all"
    )
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="STEP.OPTION=VALUE",
        help="other options, such as train.epochs=8",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="write the figures as JSON, too"
    )
    return parser


@exit_2_on_input_error
def main() -> None:
    args = arguments().parse_args()
    if not FOLDS[0] <= args.folds <= FOLDS[1]:
        raise InputError(
            f"--folds is {args.folds}; it must be {FOLDS[0]} to {FOLDS[1]}"
        )
    wanted = args.only or list(range(1, args.folds + 1))
    if not set(wanted) <= set(range(1, args.folds + 1)):
        raise InputError(f"--only {wanted} must name folds, 1 to {args.folds}")
    settings = presets.resolved(
        presets.layers(presets.load(args.preset), DEFAULT, args.set, {})
    )
    options = step_arguments(STEPS["train"].script, settings["train"])
    configs = train.check(options)
    if configs[0].find_hand != "no":
        raise InputError(
            f"the preset {args.preset} reads hands, of which a training measures by "
            "itself how good it is for people left out; --set train.find-hand=no"
        )
    keep_freed_memory()
    with tempfile.TemporaryDirectory(prefix="asl-folds-") as temporary:
        scratch = Path(temporary)
        whole, ratios = prepare_whole(
            args.raw, settings["prepare"], args.limit, scratch
        )
        results = measure(whole, args.folds, wanted, ratios, configs, scratch)
    print(f"{summary(results)}; {machine()}")
    if args.out:
        rows = [fold._asdict() for fold in results]
        args.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def prepare_whole(
    raw: Sequence[str], settings: dict[str, str], limit: int, folder: Path
) -> tuple[Path, tuple[float, float]]:
    """Prepare all photographs as a preset says, but by groups and as one split.

    Returns:
        The prepared folder, and the preset's parts of training and validation.
    """
    args = step_arguments(STEPS["prepare"].script, settings)
    args.test_set, args.val_set = None, None
    options = prepare.check(args)
    images = find_images(raw, limit=limit).images
    pixels = prepare.choose_pixels(options.preprocessing, args, images)
    split = replace(options.split, method="group", ratios=(1, 0, 0))
    options = replace(options, preprocessing=pixels, split=split)
    preparation.prepare(images, folder / "whole", options, cpu_count())
    return folder / "whole", tuple(args.ratios[:2])


def measure(
    whole: Path,
    count: int,
    wanted: Sequence[int],
    ratios: tuple[float, float],
    configs: tuple[RunConfig, TrainConfig],
    scratch: Path,
) -> list[Fold]:
    """Train and test one fold after the other, and print what comes of each.

    Args:
        whole: Prepared folder whose training split has all images.
        count: Of folds.
        wanted: Numbers of those to measure, from 1.
        ratios: Training and validation, of what is not tested.
        configs: Of the training.
        scratch: For checkpoints.
    """
    rows = packed.read_manifest(whole)
    classes = packed.read_classes(whole)
    names = np.array([row.label for row in rows])
    groups = np.array([row.group for row in rows])
    _, labels = packed.load_split(whole, "train")
    print(f"{len(rows)} photographs of {len(classes)} classes", flush=True)
    learner = prepare_learner(whole, configs)
    fold_of = deal(names, groups, [1.0] * count, seed=0)
    results = []
    for number in wanted:
        busy = time.process_time()
        test = fold_of == number - 1
        rest = np.flatnonzero(~test)
        split = deal(names[rest], groups[rest], (*ratios, 0), seed=0)
        parts = rest[split == 0], rest[split == 1], np.flatnonzero(test)
        probabilities = train_fold(learner, labels, parts, configs[1], scratch)
        scores = evaluate(probabilities, labels[test], classes)
        results.append(
            Fold(
                number=number,
                accuracy=scores["overall"]["accuracy"],
                macro_f1=scores["overall"]["macro_f1"],
                recall={k: x["recall"] for k, x in scores["per_class"].items()},
                images=int(test.sum()),
                processor_seconds=round(time.process_time() - busy, 1),
            )
        )
        print(describe(results[-1], count), flush=True)
    return results


def prepare_learner(whole: Path, configs: tuple[RunConfig, TrainConfig]) -> Learner:
    """Build the network, and compute what its frozen layers make of all images."""
    run_config, train_config = configs
    images, labels = packed.load_split(whole, "train")
    classes = len(packed.read_classes(whole))
    record = record_for(run_config, Preprocessing.load(whole / FILE_NAME))
    torch.manual_seed(train_config.seed)
    classifier, loaded = build_classifier(run_config, classes, record)
    classifier.to(pick_device())
    if not train_config.frozen_layers:
        return Learner(classifier, loaded, images, images, augment)
    busy = time.process_time()
    frozen.check(classifier, loaded, train_config.frozen_layers)
    views = Views((images, labels), (images[:1], labels[:1]), augment, None, None)
    rest, views = frozen.prepare(classifier, views, train_config)
    print(
        f"the frozen layers took {time.process_time() - busy:.0f} s of one core's time",
        flush=True,
    )
    answers = views.train[0]  # of which the first view is the image as it is
    return Learner(rest, loaded, answers, answers[:, 0], frozen.pick)


def train_fold(
    learner: Learner,
    labels: np.ndarray,
    parts: tuple[np.ndarray, np.ndarray, np.ndarray],
    train_config: TrainConfig,
    scratch: Path,
) -> np.ndarray:
    """Train a copy of the network; return its answers to the test part.

    Args:
        parts: Rows to train on, to choose the epoch by, and to test.
    """
    taught, chosen_by, test = parts
    network = copy.deepcopy(learner.network)
    fit(
        network,
        train=(learner.shown[taught], labels[taught]),
        val=(learner.plain[chosen_by], labels[chosen_by]),
        train_config=train_config,
        folder=scratch,
        log=lambda *_: None,
        loaded=learner.loaded,
        transform=learner.transform,
    )
    return predict(network, learner.plain[test])


def describe(fold: Fold, count: int) -> str:
    """Say in a line what came of a fold."""
    weakest = min(fold.recall, key=fold.recall.__getitem__)
    return (
        f"fold {fold.number} of {count}: {100 * fold.accuracy:.2f} % of {fold.images} "
        f"right, macro F1 {fold.macro_f1:.4f}, weakest {weakest} "
        f"{100 * fold.recall[weakest]:.1f} %; {fold.processor_seconds:.0f} s of one "
        "core's time"
    )


def summary(folds: Sequence[Fold]) -> str:
    """Say in a line what came of all: mean, standard deviation, worst and best."""
    shares = [100 * fold.accuracy for fold in folds]
    spread = statistics.stdev(shares) if len(shares) > 1 else 0.0
    busy = statistics.mean(fold.processor_seconds for fold in folds)
    return (
        f"{len(folds)} folds: mean {statistics.mean(shares):.2f} %, standard deviation "
        f"{spread:.2f}, {min(shares):.2f} to {max(shares):.2f} %; {busy:.0f} s of one "
        "core's time each"
    )


if __name__ == "__main__":
    main()
