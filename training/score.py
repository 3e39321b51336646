"""Score a trained model as it will be served, as the ClearML task ``evaluate``.

    python -m training.score --task last|best|ID [--name NAME] [--external DIR ...]

Asks the training's ONNX file, in ONNX Runtime, about the test split of its dataset and
about other people's photographs. Scores, confusion matrix, sample predictions and
``evaluation.json`` are left on the task and in ``<data folder>/runs/<task id>``.
"""

import argparse
import json
import sys
from pathlib import Path

if not __package__:  # started as a script, by an agent or by hand
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from data_prep.answer import add_json, answering
from data_prep.command_line import command_parser
from data_prep.errors import exit_2_on_input_error
from data_prep.model_name import add_name
from data_prep.paths import data_home
from data_prep.sources import find_images
from training.reports import (
    EVALUATION,
    GRAPH_FILE,
    PICTURES,
    TEST_PROBABILITIES,
    report_evaluation,
    right_of_test,
    weakest_classes,
)


def arguments() -> argparse.ArgumentParser:
    parser = command_parser(
        "python -m training.score",
        description="Score a trained model's ONNX file on held-out photographs.",
        example="--task best",
    )
    add_name(parser, "that is scored")
    parser.add_argument(
        "--task", default="last", help="training task: last (default), best or an id"
    )
    parser.add_argument(
        "--external",
        nargs="+",
        default=[],
        metavar="DIR",
        help="raw folders of other people's photographs, scored as slices of their own",
    )
    add_json(parser, "evaluation.json and its folder")
    return parser


@exit_2_on_input_error
def main(tracking) -> None:
    """Run the step.

    Args:
        tracking: The package `pipelines.tracking`.
    """

    def find(args: argparse.Namespace):
        for folder in args.external:  # photographs, before anything is fetched
            find_images([folder])
        tracking.ensure_clearml()
        return tracking.find_training(args.task, args.name)

    with (
        answering(arguments()) as answer,
        tracking.step_task("evaluate", arguments(), "testing", look=find) as (
            task,
            args,
        ),
    ):
        training = find(args)
        dataset_id = training.get_parameter("Outputs/dataset_id")
        out = data_home() / "runs" / task.id
        dataset = tracking.local_copy(dataset_id)
        graph = tracking.artifact(training, GRAPH_FILE)
        known = None
        if TEST_PROBABILITIES in training.artifacts:
            known = np.load(tracking.artifact(training, TEST_PROBABILITIES))
        result = evaluate_graph(graph, dataset, args.external, out, known)
        result |= {"task_id": training.id, "dataset_id": dataset_id}
        answer.update(result, report=str(out))
        (out / EVALUATION).write_text(json.dumps(result, indent=1) + "\n")
        report(task, out, result, tracking)
        tracking.set_output(task, "training_task", training.id)
        weakest = ", ".join(weakest_classes(result["per_class"]))
        right = right_of_test(result["overall"])
        tracking.tell_result(task, f"{right}; weakest classes {weakest}")
        for name, scores in {"test": result["overall"], **result["slices"]}.items():
            print(f"{name}: accuracy {scores['accuracy']:.4f} on {scores['images']}")


def evaluate_graph(
    graph: Path,
    dataset: Path,
    external: list[str],
    out: Path,
    known: np.ndarray | None = None,
) -> dict:
    """Score an ONNX file on a prepared folder; write pictures to ``out``.

    Args:
        known: As `training.graph.score` takes it.

    Returns:
        The content of evaluation.json.

    Raises:
        InputError: An external folder is no use.
    """
    from training.graph import score
    from training.pictures import plot_confusion, plot_predictions

    result, (images, labels, probabilities) = score(graph, dataset, external, known)
    out.mkdir(parents=True, exist_ok=True)
    plot_confusion(result["confusion"]).savefig(out / PICTURES[0])
    classes = result["confusion"]["labels"]
    plot_predictions(images, labels, probabilities, classes).savefig(out / PICTURES[1])
    return result


def report(task, out: Path, result: dict, tracking) -> None:
    """Put the results on the ClearML task."""
    logger = task.get_logger()
    report_evaluation(logger, result)
    for name in PICTURES:
        logger.report_image("pictures", Path(name).stem, 0, local_path=str(out / name))
    for name in (EVALUATION, *PICTURES):
        tracking.upload_artifact(task, name, out / name)


if __name__ == "__main__":
    from pipelines import tracking

    main(tracking)
