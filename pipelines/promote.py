"""Choose the model that should serve, as the ClearML task ``promote``.

    python -m pipelines.promote [--name NAME] [--external DIR ...] [--dry-run]

Compares completed trainings of one model name, with the same classes and the same split
method. Three figures are compared, in this order: the accuracy on signers left out of
the training, where it was measured; other people's photographs, if given; the test
split of the newest prepared dataset. The best training wins if it is better than the
one promoted before by more than chance explains, and if every class has enough recall.
Its model is published; task and model are tagged ``best``, and nothing else of that
name is: so ``python -m pipelines.deploy --task best`` takes it. A training that is
archived, or tagged ``rejected``, does not take part.
"""

import argparse
import sys
from pathlib import Path

if not __package__:  # started as a script, by an agent or by hand
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data_prep import packed
from data_prep.answer import add_json, answering
from data_prep.command_line import command_parser
from data_prep.errors import InputError, exit_2_on_input_error
from data_prep.model_name import add_name
from data_prep.sources import find_images
from pipelines.promotion.lock import TYPE, only_promotion
from pipelines.text_table import listed, text_table
from pipelines.tracking import datasets, trainings
from pipelines.tracking.connection import ensure_clearml
from pipelines.tracking.dataset_copies import check_dataset
from pipelines.tracking.datasets import PROJECT
from pipelines.tracking.task import RESULT, set_output, step_task
from pipelines.tracking.uploads import upload_artifact

TABLE = "candidates"
PROMOTED = "promoted"  # on models: this one is, or was, the best


def arguments() -> argparse.ArgumentParser:
    parser = command_parser(
        "python -m pipelines.promote",
        description="Choose the model that should serve, publish it and tag it best.",
        example="--dry-run",
    )
    # What is compared
    add_name(parser, "whose trainings are compared")
    parser.add_argument(
        "--task", default="", help="a training to compare whatever its rank"
    )
    parser.add_argument(
        "--candidates",
        type=int,
        default=10,
        help="how many trainings, by validation accuracy, to compare (default 10)",
    )
    # On what
    parser.add_argument(
        "--dataset-id",
        metavar="ID",
        default="",
        help="prepared dataset whose test split is used (default: the newest)",
    )
    parser.add_argument(
        "--external",
        nargs="+",
        default=[],
        metavar="DIR",
        help="raw folders of other people's photographs, which then decide",
    )
    # Conditions
    parser.add_argument(
        "--min-gain",
        type=float,
        default=0.0,
        help="accuracy to gain on the current best, 0 to 1 (default 0: any)",
    )
    parser.add_argument(
        "--significance",
        type=float,
        default=0.05,
        help="largest p-value of a gain that counts, 0 to 1; 1: every gain (default "
        "0.05, of McNemar's test on the photographs that both have answered)",
    )
    parser.add_argument(
        "--min-recall",
        type=float,
        default=0.3,
        help="least recall of every class, 0 to 1; 0: none (default 0.3)",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="compare and tell, change nothing"
    )
    add_json(parser, "the winner, why, and the figures of all candidates")
    return parser


def check(args: argparse.Namespace) -> None:
    """Check the options.

    Raises:
        InputError: One is out of range.
    """
    for name in ("min_gain", "significance", "min_recall"):
        if not 0 <= (value := getattr(args, name)) <= 1:
            option = name.replace("_", "-")
            raise InputError(f"--{option} is {value:g}; it must be 0 to 1")
    if args.candidates < 1:
        raise InputError(f"--candidates is {args.candidates}; it must be 1 or more")


def look(args: argparse.Namespace) -> None:
    """Check that there is something to compare.

    Raises:
        InputError: There is no training, no dataset, or no folder of other people's
            photographs.
    """
    for folder in args.external:
        find_images([folder])
    ensure_clearml()
    trainings.find_training("last", args.name)
    if args.task:
        trainings.get(args.task, args.name)
    if args.dataset_id:
        check_dataset(args.dataset_id)
    else:
        datasets.newest_dataset(args.name)


@exit_2_on_input_error
def main() -> None:
    with (
        answering(arguments()) as answer,
        step_task("promote", arguments(), TYPE, check, look) as (task, args),
        only_promotion(task),
    ):
        promote(task, args, answer)


def promote(task, args: argparse.Namespace, answer: dict) -> None:
    """Compare, tell, and promote the winner.

    Args:
        answer: Is given the outcome, for programs.

    Raises:
        InputError: There is nothing to compare, or nothing fit to serve.
    """
    from pipelines.promotion import candidates
    from pipelines.promotion.comparison_set import ComparisonSet

    comparison = ComparisonSet(
        args.dataset_id or datasets.newest_dataset(args.name), tuple(args.external)
    )
    best = trainings.promoted(args.name)
    current = best.id if best else ""
    always = [best] if best else []
    if args.task and args.task != current:
        always.append(trainings.get(args.task, args.name))
    compared, left_out = gather(comparison, always, args.candidates, args.name)
    scores, seen, count = candidates.measure(
        compared, comparison.labels, comparison.classes
    )
    left_out |= seen
    if not scores:
        raise InputError(
            "no completed training can be compared on the test images of dataset "
            f"{comparison.dataset_id}: "
            + ("; ".join(left_out.values()) or "run python -m training.train first")
        )
    decision = candidates.decide(
        scores,
        current,
        min_gain=args.min_gain,
        min_recall=args.min_recall,
        significance=args.significance,
        why_not=left_out.get(current, ""),
    )
    table = candidates.rows(scores, left_out, current, decision.task_id)
    answer.update(
        winner=decision.task_id,
        earlier_best=current,
        reason=decision.reason,
        dataset_id=comparison.dataset_id,
        photographs=count,
        candidates=candidates.figures(scores),
        left_out=left_out,
    )
    print(text_table([candidates.HEADINGS, *table]))
    print(f"test: {count} photographs of dataset {comparison.dataset_id}")
    report(task, [list(candidates.HEADINGS), *table], decision.reason)
    if not decision.task_id:
        raise InputError(f"nothing is promoted: {decision.reason}")
    told = f"{decision.task_id} {'stays' if decision.task_id == current else 'wins'}"
    print(f"{told}: {decision.reason}")
    if decision.task_id == args.task:
        told = "the model of this run is the best"
    elif decision.task_id == current:
        told = "the model promoted before stays"
    set_output(task, RESULT, f"{told}: {decision.reason}")
    if decision.task_id != current and not args.dry_run:
        tag_best(trainings.get(decision.task_id, args.name), args.name)
    winner = trainings.get(
        current if args.dry_run and current else decision.task_id, args.name
    )
    set_output(task, "task_id", winner.id)
    dataset_id = winner.get_parameter("Outputs/dataset_id")
    set_output(task, "raw_dataset_id", trainings.raw_dataset(dataset_id))
    set_output(task, "reason", decision.reason)


def gather(
    comparison, always: list, limit: int, name: str
) -> tuple[list, dict[str, str]]:
    """Collect the candidates' answers about the photographs of the comparison set.

    Args:
        always: Trainings that are compared whatever their rank, in this order.
        limit: How many more, of the highest validation accuracy.
        name: Of the model whose trainings these are.

    Returns:
        The candidates; why others do not compare, by task: of ``always`` and of those
        whose files cannot be had.
    """
    from pipelines.promotion.candidates import Candidate
    from pipelines.promotion.comparison_set import evaluation_of, held_out_accuracies

    compared, left_out = [], {}

    def look_at(training, is_wanted: bool) -> None:
        if training.id in left_out or training.id in [c.task_id for c in compared]:
            return
        try:
            known = packed.read_names(trainings.artifact(training, "classes.txt"))
            if known != comparison.classes:
                if is_wanted:
                    left_out[training.id] = (
                        f"it knows other classes ({listed(known, 6)})"
                    )
                return
            evaluation = evaluation_of(training)
            method = evaluation.get("split_method", "")
            if method != comparison.split_method:
                if is_wanted:
                    left_out[training.id] = (
                        f"its images were divided by method {method or 'unknown'}, not "
                        f"{comparison.split_method or 'unknown'}"
                    )
                return
            compared.append(
                Candidate(
                    task_id=training.id,
                    model=training.get_parameter("Args/model") or "",
                    predicted=comparison.ask(training),
                    seen=comparison.seen_by(training),
                    external=comparison.external_right(training),
                    held_out=held_out_accuracies(evaluation),
                )
            )
        except InputError as error:
            left_out[training.id] = str(error)

    for training in always:
        look_at(training, True)
    wanted = len(compared) + limit
    for training in trainings.ordered(name=name):
        if len(compared) >= wanted:
            break
        look_at(training, False)
    return compared, left_out


def report(task, table: list[list[str]], reason: str) -> None:
    """Show the candidates on the ClearML task."""
    task.get_logger().report_table("candidates", "all", 0, table_plot=table)
    task.set_comment(reason)
    upload_artifact(task, TABLE, {"table": table, "reason": reason})


def tag_best(training, name: str) -> None:
    """Publish a training's model; tag both ``best``, and no others of that name any
    more."""
    from clearml import Model

    model = Model(training.get_parameter("Outputs/model_id"))
    model.publish()
    # ClearML's SDK cannot take a model's only tag away: one stays
    model.tags = sorted({*(model.tags or []), PROMOTED, trainings.BEST})
    training.add_tags([trainings.BEST])
    for other in trainings.tagged_best(name):
        if other.id != training.id:
            other.set_tags([t for t in other.get_tags() if t != trainings.BEST])
    for other in Model.query_models(
        project_name=PROJECT, tags=[trainings.BEST], include_archived=True
    ):
        if other.id != model.id and other.name == model.name:
            tags = {*other.tags, PROMOTED} - {trainings.BEST}
            other.tags = sorted(tags)


if __name__ == "__main__":
    main()
