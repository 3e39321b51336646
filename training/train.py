"""Train a model on the prepared dataset, as the ClearML task ``train``.

    python -m training.train --model small_resnet --epochs 20
    torchrun --standalone --nproc-per-node 2 training/train.py
    clearml-task --project ASL --name train --script training/train.py --queue default

Without --dataset-id it takes the newest completed dataset ``ASL``. Results lie in
``<data folder>/runs/<task id>``, and on the task: artifacts, the OutputModel, plots,
scalars and, for comparisons, single values.
"""

import argparse
import json
import os
import sys
from pathlib import Path

if not __package__:  # started as a script, by an agent or by hand
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data_prep.errors import exit_2_on_input_error
from data_prep.paths import data_home
from training.config import RunConfig, TrainConfig, add_options, from_options
from training.golden import RAW_GOLDEN_FILE
from training.reports import (
    DEPLOYABLES,
    EVALUATION,
    TEST_PROBABILITIES,
    report_evaluation,
)


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="training.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    parser.add_argument(
        "--dataset-id", default="", help="prepared dataset (default: the newest)"
    )
    add_options(parser, RunConfig)
    add_options(parser, TrainConfig)
    return parser


def check(args: argparse.Namespace) -> tuple[RunConfig, TrainConfig]:
    """Make of the command line what a training takes.

    Raises:
        InputError: An option is out of range, or a model or its package unknown.
    """
    run_config, train_config = (
        from_options(kind, vars(args)) for kind in (RunConfig, TrainConfig)
    )
    return run_config, train_config


@exit_2_on_input_error
def main(tracking) -> None:
    """Run the step.

    Args:
        tracking: The package `pipelines.tracking`.
    """
    if int(os.environ.get("RANK", 0)):  # a further process of torchrun
        train(None)
        return
    with tracking.step_task("train", arguments(), "training", check) as (task, args):
        dataset_id = args.dataset_id or tracking.newest_dataset()
        order = {
            "configs": check(args),
            "dataset": tracking.local_copy(dataset_id, tracking.PREPARED),
            "out": data_home() / "runs" / task.id,
            "metadata": {"task_id": task.id, "dataset_id": dataset_id},
        }
        if args.fast_dev_run:
            task.add_tags([tracking.TRIED])
        result = train(order)
        report(task, order["out"], result, tracking.set_output)
        overall = result["overall"]
        print(
            f"test accuracy {overall['accuracy']:.4f}, macro F1 "
            f"{overall['macro_f1']:.4f} on {overall['images']} images"
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


def train(order: dict | None) -> dict | None:
    """Train as ordered; further processes of torchrun learn the order from the first.

    Returns:
        The content of evaluation.json, in the first process.
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


def report(task, out: Path, result: dict, set_output) -> None:
    """Put the results on the ClearML task."""
    from clearml import OutputModel

    from training.run import PICTURES

    if result["find_hand"] == "yes":
        connect_hand_networks(task)
    logger = task.get_logger()
    report_evaluation(logger, result)
    for name, accuracy in result["baselines"].items():
        logger.report_single_value(f"baseline {name}", accuracy)
    for name in PICTURES:
        logger.report_image("pictures", Path(name).stem, 0, local_path=str(out / name))
    # Tasks made by clearml-task ignore the argument of Task.init.
    task.output_uri = task.output_uri or True
    for name in (*DEPLOYABLES, EVALUATION, "history.json", TEST_PROBABILITIES):
        task.upload_artifact(name, artifact_object=out / name)
    if (out / RAW_GOLDEN_FILE).exists():
        task.upload_artifact(RAW_GOLDEN_FILE, artifact_object=out / RAW_GOLDEN_FILE)
    model = OutputModel(
        task=task,
        name="asl_classifier",
        framework="ONNX",
        label_enumeration={
            name: i for i, name in enumerate(result["confusion"]["labels"])
        },
        comment=json.dumps(result["overall"]),
    )
    model.update_weights(str(out / "model.onnx"), auto_delete_file=False)
    set_output(task, "dataset_id", result["dataset_id"])
    set_output(task, "model_id", model.id)
    set_output(task, "accuracy", result["overall"]["accuracy"])


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
