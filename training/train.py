"""Train a model on the prepared dataset, as the ClearML task ``train``.

    python -m training.train --model small_resnet --epochs 20
    clearml-task --project ASL --name train --script training/train.py --queue default

Without --dataset-id it takes the newest completed dataset ``ASL``. Results lie in
``<data folder>/runs/<task id>``, and on the task: artifacts, the OutputModel, plots,
scalars and, for comparisons, single values.
"""

import argparse
import json
import sys
from dataclasses import fields
from pathlib import Path

if not __package__:  # started as a script, by an agent or by hand
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data_prep import registry
from data_prep.errors import InputError, exit_2_on_input_error
from data_prep.paths import data_home
from pipelines.task_edge import set_output, step_task


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="training.train", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    # data
    parser.add_argument(
        "--dataset-id", default="", help="prepared dataset (default: the newest)"
    )
    # model
    parser.add_argument(
        "--model",
        default="small_resnet",
        help="small_resnet, baseline_cnn or a torchvision classification model",
    )
    # schedule
    parser.add_argument("--epochs", type=int, default=20, help="passes over the data")
    parser.add_argument(
        "--max-minutes",
        type=float,
        default=0.0,
        help="time for the training loop, minutes; the schedule fits it (0: no limit)",
    )
    parser.add_argument("--batch-size", type=int, default=64, help="images a step")
    # optimisation
    parser.add_argument("--lr", type=float, default=3e-3, help="peak learning rate")
    parser.add_argument(
        "--weight-decay", type=float, default=0.05, help="of AdamW (0: none)"
    )
    parser.add_argument(
        "--warmup", type=float, default=0.04, help="share of the run, 0 to 1 (0: none)"
    )
    parser.add_argument(
        "--label-smoothing", type=float, default=0.1, help="0 to 1 (0: none)"
    )
    parser.add_argument(
        "--ema",
        type=float,
        default=0.998,
        help="averaging of weights, a step (0: none)",
    )
    parser.add_argument("--seed", type=int, default=0, help="same seed, same weights")
    return parser


@exit_2_on_input_error
def main() -> None:
    with step_task("train", arguments(), "training") as (task, args):
        for name in ("epochs", "batch_size"):
            if getattr(args, name) < 1:
                option = name.replace("_", "-")
                raise InputError(f"--{option} is {getattr(args, name)}; at least 1")
        # After Task.init, so that ClearML sees torch and TensorBoard being imported.
        from training.optimisation import Recipe
        from training.run import train_dataset

        dataset_id = args.dataset_id or newest_dataset()
        dataset = registry.local_copy(dataset_id, registry.PREPARED)
        recipe = Recipe(**{f.name: getattr(args, f.name) for f in fields(Recipe)})
        out = data_home() / "runs" / task.id
        metadata = {"task_id": task.id, "dataset_id": dataset_id}
        result = train_dataset(dataset, out, args.model, recipe, metadata)
        report(task, out, result)
        overall = result["overall"]
        print(
            f"test accuracy {overall['accuracy']:.4f}, macro F1 "
            f"{overall['macro_f1']:.4f} on {overall['images']} images; results: {out}"
        )


def newest_dataset() -> str:
    """Find the newest complete version of the prepared dataset; return its id.

    Raises:
        InputError: There is none.
    """
    from clearml import Dataset

    try:
        return Dataset.get(
            dataset_project=registry.PROJECT,
            dataset_name=registry.PREPARED,
            only_completed=True,
        ).id
    except ValueError:
        raise InputError(
            f"there is no completed Dataset {registry.PREPARED} in ClearML; make one "
            "with python -m data_prep.prepare"
        ) from None


def report(task, out: Path, result: dict) -> None:
    """Put the results on the ClearML task."""
    from clearml import OutputModel

    from training.run import DEPLOYABLES, PICTURES, TEST_PROBABILITIES

    logger = task.get_logger()
    for name in ("accuracy", "macro_f1", "weighted_f1", "top3_accuracy", "loss"):
        logger.report_single_value(f"test {name}", result["overall"][name])
    labels = result["confusion"]["labels"]
    logger.report_confusion_matrix(
        "confusion matrix",
        "test",
        matrix=result["confusion"]["matrix"],
        xaxis="predicted",
        yaxis="true",
        xlabels=labels,
        ylabels=labels,
        yaxis_reversed=True,
    )
    columns = ("precision", "recall", "f1", "images")
    rows = [
        [name, *(round(scores[c], 4) for c in columns)]
        for name, scores in result["per_class"].items()
    ]
    logger.report_table(
        "scores by class", "test", table_plot=[["class", *columns], *rows]
    )
    for name in PICTURES:
        logger.report_image("pictures", Path(name).stem, 0, local_path=str(out / name))
    # Tasks made by clearml-task ignore the argument of Task.init.
    task.output_uri = task.output_uri or True
    for name in (*DEPLOYABLES, "evaluation.json", "history.json", TEST_PROBABILITIES):
        task.upload_artifact(name, artifact_object=out / name)
    model = OutputModel(
        task=task,
        name="asl_classifier",
        framework="ONNX",
        label_enumeration={name: i for i, name in enumerate(labels)},
        comment=json.dumps(result["overall"]),
    )
    model.update_weights(str(out / "model.onnx"), auto_delete_file=False)
    set_output(task, "dataset_id", result["dataset_id"])
    set_output(task, "model_id", model.id)
    set_output(task, "accuracy", result["overall"]["accuracy"])


if __name__ == "__main__":
    main()
