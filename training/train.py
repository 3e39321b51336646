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
from dataclasses import fields
from pathlib import Path

if not __package__:  # started as a script, by an agent or by hand
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data_prep.errors import exit_2_on_input_error
from data_prep.paths import data_home
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

    def option(name, default, text, **more):
        kind = {} if isinstance(default, bool) else {"type": type(default)}
        if isinstance(default, bool):
            more["action"] = "store_true"
        else:
            more["default"] = default
            text += f" (default {default})" if default != "" else ""
        parser.add_argument(name, help=text, **kind, **more)

    # data
    option("--dataset-id", "", "prepared dataset (default: the newest)")
    parser.add_argument(
        "--external",
        nargs="+",
        default=[],
        metavar="DIR",
        help="raw folders of other people's photographs, scored as slices of their own",
    )
    # model
    option(
        "--model",
        "small_resnet",
        "small_resnet, baseline_cnn, five_block_cnn, mlp, any torchvision "
        "classification model, or timm:NAME",
    )
    option("--grey", False, "let the network see brightness only")
    option(
        "--find-hand",
        "no",
        "find the hand first, and read its geometry; auto: where the classes are hand "
        "signs and the images were letterboxed",
        choices=("yes", "no", "auto"),
    )
    option(
        "--hand-networks",
        "",
        "folder of the networks that find hands (default: fetched once with pip)",
        metavar="DIR",
    )
    option("--pretrained", False, "start from the zoo's weights (downloads them)")
    option("--weights", "", "start from this state dict", metavar="FILE")
    option("--backbone-lr", 1.0, "rate of loaded weights, share of --lr; 0: frozen")
    # schedule
    option("--epochs", 20, "passes over the data")
    option("--max-minutes", 0.0, "budget that the schedule fits, minutes; 0: none")
    option("--patience", 0, "epochs without a better one before the end; 0: no end")
    option("--batch-size", 64, "images a step, over all processes")
    option("--fast-dev-run", False, "one batch of each split, to try the code")
    option("--resume", "", "go on where this run was interrupted", metavar="RUN_DIR")
    # optimisation
    option("--optimizer", "muon", "muon, adamw, adam or sgd (Nesterov momentum 0.9)")
    option("--lr", 3e-3, "peak learning rate")
    option("--warmup", 0.04, "share of the run with a rising rate; 0: none")
    option("--weight-decay", 0.05, "not on biases and batch norm; 0: none")
    option("--grad-clip", 0.0, "largest norm of the gradient; 0: no limit")
    option("--label-smoothing", 0.1, "share of the target over all classes; 0: none")
    option("--contrastive", 0.0, "weight of a supervised contrastive loss; 0: none")
    option("--ema", 0.998, "averaging of the weights, a step; 0: none")
    option("--augment", 1.0, "strength of random variation of images; 0: none")
    option("--flip", False, "mirror half of the images (swaps right and left hands)")
    option("--balance", 0.0, "draw large sources and classes less often; 1: evenly")
    option("--seed", 0, "same seed, same weights (on one machine's CPU)")
    # results
    option("--int8", False, "serve a quantised graph if it costs at most 0.3 points")
    option("--no-floors", False, "skip the two simplest models")
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
    with tracking.step_task("train", arguments(), "training") as (task, args):
        dataset_id = args.dataset_id or tracking.newest_dataset()
        order = {
            "args": vars(args),
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
        for name, accuracy in result["floors"].items():
            print(f"  floor {name}: {accuracy:.4f}")
        print(f"results: {order['out']}")


def train(order: dict | None) -> dict | None:
    """Train as ordered; further processes of torchrun learn the order from the first.

    Returns:
        The content of evaluation.json, in the first process.
    """
    # Late, so that --help is quick, and ClearML sees TensorBoard being imported.
    from training import distributed
    from training.optimisation import Recipe
    from training.run import Choices, train_dataset

    with distributed.process_group():
        order = distributed.share(order)
        args = order["args"]
        args = args | {
            "floors": not args["no_floors"],
            "external": tuple(args["external"] or ()),
        }
        choices, recipe = (
            kind(**{f.name: args[f.name] for f in fields(kind)})
            for kind in (Choices, Recipe)
        )
        return train_dataset(
            order["dataset"], order["out"], choices, recipe, order["metadata"]
        )


def report(task, out: Path, result: dict, set_output) -> None:
    """Put the results on the ClearML task."""
    from clearml import OutputModel

    from training.run import PICTURES

    if result["find_hand"] == "yes":
        connect_hand_networks(task)
    logger = task.get_logger()
    report_evaluation(logger, result)
    for name, accuracy in result["floors"].items():
        logger.report_single_value(f"floor {name}", accuracy)
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
