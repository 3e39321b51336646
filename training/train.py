"""Train a model on the prepared dataset, as the ClearML task ``train``.

    python -m training.train --model small_resnet --epochs 20
    torchrun --standalone --nproc-per-node 2 training/train.py
    clearml-task --project ASL --name train --script training/train.py --queue default

Without --dataset-id it takes the newest completed dataset of the model that --name
names; for the default name, asl, that is the Dataset ``ASL``. Results lie in
``<data folder>/runs/<task id>``, and on the task: artifacts, the OutputModel, plots,
scalars and, for comparisons, single values.
"""

import argparse
import functools
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

if not __package__:  # started as a script, by an agent or by hand
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data_prep.answer import add_json, answering
from data_prep.command_line import command_parser
from data_prep.errors import InputError, exit_2_on_input_error
from data_prep.model_name import add_name
from data_prep.paths import data_home
from training.config import RunConfig, TrainConfig, add_options, from_options
from training.golden import RAW_GOLDEN_FILE
from training.hands.files import find_hand_networks
from training.interrupted import find_interrupted, how_to_go_on, options_of
from training.reports import (
    DEPLOYABLES,
    EVALUATION,
    GRAPH_FILE,
    TEST_PROBABILITIES,
    report_evaluation,
    right_of_test,
)


def arguments() -> argparse.ArgumentParser:
    parser = command_parser(
        "python -m training.train",
        description=__doc__,
        example="--model small_resnet --epochs 20",
    )

    add_name(parser, "that is trained")
    parser.add_argument(
        "--dataset-id",
        default="",
        help="prepared dataset (default: the newest of that name)",
    )
    add_options(parser, RunConfig)
    add_options(parser, TrainConfig)
    add_json(parser, "evaluation.json and the folder of the results")
    return parser


def check(args: argparse.Namespace) -> tuple[RunConfig, TrainConfig]:
    """Turn the command line into the configuration of a training.

    Raises:
        InputError: An option is out of range, or a model or its package unknown.
    """
    run_config, train_config = (
        from_options(kind, vars(args)) for kind in (RunConfig, TrainConfig)
    )
    if run_config.resume:
        folder = find_interrupted(run_config.resume, data_home() / "runs")
        run_config = replace(run_config, resume=str(folder))
    return run_config, train_config


def find_dataset(args: argparse.Namespace, tracking) -> str:
    """The id of the prepared Dataset to learn from.

    Raises:
        InputError: There is none, or it is another model's, or what --weights or
            --hand-networks names is not there.
    """
    if args.hand_networks:
        find_hand_networks(args.hand_networks)
    if args.weights and not Path(args.weights).is_file():
        raise InputError(
            f"--weights {args.weights}: there is no such file; give a state dict saved "
            "by torch.save"
        )
    tracking.ensure_clearml()
    dataset_id = args.dataset_id or tracking.newest_dataset(args.name)
    tracking.check_dataset(dataset_id)
    tracking.check_model(dataset_id, args.name)
    return dataset_id


def with_options_of_interrupted(
    parser: argparse.ArgumentParser,
) -> argparse.ArgumentParser:
    """Let the options of the training that ``--resume`` names be the defaults."""
    resume = parser.parse_known_args()[0].resume
    if resume:
        run = find_interrupted(resume, data_home() / "runs")
        kept = options_of(run)
        del kept["resume"]
        parser.set_defaults(**kept)
    return parser


@exit_2_on_input_error
def main(tracking) -> None:
    """Run the step.

    Args:
        tracking: The package `pipelines.tracking`.
    """
    if int(os.environ.get("RANK", 0)):  # a further process of torchrun
        train(None)
        return
    parser = with_options_of_interrupted(arguments())
    find = functools.partial(find_dataset, tracking=tracking)
    with (
        answering(parser) as answer,
        tracking.step_task("train", parser, "training", check, find) as (task, args),
    ):
        dataset_id = find(args)
        order = {
            "configs": check(args),
            "dataset": tracking.local_copy(dataset_id),
            "out": data_home() / "runs" / task.id,
            "metadata": {
                "name": args.name,
                "task_id": task.id,
                "dataset_id": dataset_id,
            },
        }
        if args.fast_dev_run:
            task.add_tags([tracking.TRIED])
        try:
            result = train(order)
        except KeyboardInterrupt:
            print(f"\n{how_to_go_on(order['out'])}".rstrip(), file=sys.stderr)
            raise
        answer.update(result, task_id=task.id, results=str(order["out"]))
        report(task, order["out"], result, args.name, tracking)
        overall, epochs = result["overall"], describe_epochs(result, args)
        print(
            f"test accuracy {overall['accuracy']:.4f}, macro F1 "
            f"{overall['macro_f1']:.4f} on {overall['images']} images"
        )
        tracking.tell_result(
            task,
            f"{right_of_test(overall)}; {epochs}",
        )
        for name, scores in result["slices"].items():
            print(f"  {name}: {scores['accuracy']:.4f} on {scores['images']}")
        if result["held_out_signers"]:
            left_out = result["held_out_signers"]
            print(
                f"signers left out: mean {left_out['mean']:.4f}, worst "
                f"{left_out['worst']:.4f} of {len(left_out['sources'])} sources"
            )
        for name, accuracy in result["baselines"].items():
            print(f"  baseline {name}: {accuracy:.4f}")
        print(f"results: {order['out']}")


def describe_epochs(result: dict, args: argparse.Namespace) -> str:
    """Say how many epochs there were of those planned, and why not all."""
    done, planned = result["epochs"], 1 if args.fast_dev_run else args.epochs
    text = f"{done} of {planned} epochs"
    if done == planned:
        return text
    if args.max_minutes:
        return f"{text}, then the {args.max_minutes:g} min were over"
    return f"{text}, the last {args.patience} no better"


def train(order: Any) -> Any:
    """Train; further processes of torchrun get their configuration from the first one.

    Returns:
        The content of evaluation.json, a dictionary; None in further processes.
    """
    # Late, so that --help is quick, and ClearML sees TensorBoard being imported.
    from training import distributed
    from training.run import train_dataset

    with distributed.process_group():
        order = distributed.share(order)
        run_config, train_config = order["configs"]
        return train_dataset(
            dataset=order["dataset"],
            out=order["out"],
            run_config=run_config,
            train_config=train_config,
            metadata=order["metadata"],
        )


def report(task, out: Path, result: dict, name: str, tracking) -> None:
    """Put the results on the ClearML task."""
    from training.results import PICTURES

    if result["find_hand"] == "yes":
        connect_hand_networks(task)
    logger = task.get_logger()
    report_evaluation(logger, result)
    for baseline, accuracy in result["baselines"].items():
        logger.report_single_value(f"baseline {baseline}", accuracy)
    for file in PICTURES:
        logger.report_image("pictures", Path(file).stem, 0, local_path=str(out / file))
    for file in (*DEPLOYABLES, EVALUATION, "history.json", TEST_PROBABILITIES):
        tracking.upload_artifact(task, file, out / file)
    if (out / RAW_GOLDEN_FILE).exists():
        tracking.upload_artifact(task, RAW_GOLDEN_FILE, out / RAW_GOLDEN_FILE)
    labels = result["confusion"]["labels"]
    model_id = tracking.upload_model(
        task,
        out / GRAPH_FILE,
        name=f"{name}_classifier",
        labels={label: i for i, label in enumerate(labels)},
        comment=json.dumps(result["overall"]),
    )
    tracking.set_output(task, "dataset_id", result["dataset_id"])
    tracking.set_output(task, "model_id", model_id)
    tracking.set_output(task, "accuracy", result["overall"]["accuracy"])


def connect_hand_networks(task) -> None:
    """Name the pretrained networks as input models of the task: where they come from,
    their hash and their licence."""
    from clearml import InputModel

    from training.hands.files import FILES, LICENCE, ORIGIN, WHEEL

    for name, (digest, inside) in FILES.items():
        model = InputModel.import_model(
            weights_url=f"{ORIGIN}#{inside}",
            name=Path(name).stem,
            framework="TensorFlow",
            comment=f"from the package {WHEEL}, sha256 {digest}; {LICENCE}",
        )
        task.connect(model)


if __name__ == "__main__":
    from pipelines import tracking

    main(tracking)
