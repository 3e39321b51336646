"""Look for better training options, as the ClearML task ``search``.

    python -m pipelines.search --trials 20 [--queue default --workers 2 | --local]

Each trial is a training of its own, with a child's link to the search. Optuna chooses
the options by the best validation accuracy so far. It never sees the test split. Trials
are trainings like any other, so pipelines.promote compares them on that split.
A range is LOW:HIGH, LOW:HIGH:log or A,B,C. Needs requirements-search.txt.
"""

import argparse
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

if not __package__:  # started as a script, by an agent or by hand
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data_prep.answer import add_json, answering
from data_prep.command_line import command_parser
from data_prep.errors import InputError, exit_2_on_input_error
from data_prep.paths import ROOT
from pipelines.orchestration import steps
from pipelines.text_table import text_table
from pipelines.tracking import checkout
from pipelines.tracking.agents import check_agents
from pipelines.tracking.connection import ensure_clearml
from pipelines.tracking.options import check, parser_of
from pipelines.tracking.task import set_output, step_task
from pipelines.tracking.trainings import METRIC

SPACE = (
    "lr=0.0005:0.01:log",
    "weight-decay=0.005:0.2:log",
    "augment=0.3:1.5",
    "label-smoothing=0:0.2",
    "batch-size=32,64,128",
)


def arguments() -> argparse.ArgumentParser:
    parser = command_parser(
        "python -m pipelines.search",
        description="Look for better training options by many trainings.",
        example="--trials 20",
    )
    # What is tried
    parser.add_argument(
        "--space",
        nargs="+",
        metavar="OPTION=RANGE",
        default=list(SPACE),
        help=f"options that vary (default {' '.join(SPACE)})",
    )
    parser.add_argument(
        "--set",
        nargs="+",
        metavar="OPTION=VALUE",
        default=[],
        help="options that are the same in all trials, such as epochs=10",
    )
    parser.add_argument(
        "--trials", type=int, default=20, help="trainings in all (default 20)"
    )
    # Where
    parser.add_argument(
        "--local", action="store_true", help="train on this machine, without agents"
    )
    parser.add_argument(
        "--queue", default="default", help="queue of the agents (default default)"
    )
    parser.add_argument(
        "--workers", type=int, default=1, help="trainings at a time (default 1)"
    )
    add_json(parser, "the trials, the best first")
    return parser


def parse_space(space: list[str]) -> dict[str, dict]:
    """Read ranges such as "lr=0.001:0.01:log" or "batch-size=32,64".

    Returns:
        By option, as training.train spells it in Python: {"low", "high", "log",
        "whole" for whole numbers} or {"values"}.

    Raises:
        InputError: One is misspelt.
    """
    found: dict[str, dict] = {}
    trained = parser_of(steps.STEPS["train"].script)
    for text in space:
        name, _, values = text.partition("=")
        known: dict[str, Any] = {}
        try:
            if ":" in values:
                low, high, *log = values.split(":")
                known = {"low": float(low), "high": float(high), "log": log == ["log"]}
                fits = known["low"] < known["high"] and log in ([], ["log"])
                fits = fits and (known["low"] > 0 or not log)
            else:
                known = {"values": values.split(",")}
                fits = all(known["values"])
        except ValueError:
            fits = False
        if not name or not fits:
            raise InputError(
                f"--space {text} is not OPTION=LOW:HIGH, OPTION=LOW:HIGH:log (above 0) "
                "or OPTION=A,B,C"
            )
        name = name.replace("-", "_")
        for value in known.get("values") or values.split(":")[:2]:
            check(trained, {name: value}, "--space ")
        if "values" not in known:
            known["whole"] = type(trained.get_default(name)) is int
        if known.get("whole") and known["log"]:
            raise InputError(f"--space {text}: whole numbers take LOW:HIGH or A,B,C")
        found[name] = known
    return found


def parse_options(options: list[str]) -> dict[str, str]:
    """Read fixed options such as "epochs=10".

    Raises:
        InputError: One is misspelt.
    """
    return steps.parse_settings([f"train.{option}" for option in options])["train"]


def hyper_parameters(space: dict[str, dict]) -> list:
    """The ranges as ClearML's optimizer takes them."""
    import math

    from clearml.automation import (
        DiscreteParameterRange,
        LogUniformParameterRange,
        UniformIntegerParameterRange,
        UniformParameterRange,
    )

    ranges = []
    for name, known in space.items():
        name = f"Args/{name}"
        if "values" in known:
            ranges.append(DiscreteParameterRange(name, known["values"]))
        elif known["whole"]:
            bounds = int(known["low"]), int(known["high"])
            ranges.append(UniformIntegerParameterRange(name, *bounds))
        elif known["log"]:
            low, high = math.log10(known["low"]), math.log10(known["high"])
            ranges.append(LogUniformParameterRange(name, low, high))
        else:
            ranges.append(UniformParameterRange(name, known["low"], known["high"]))
    return ranges


def search(base, space: dict[str, dict], args: argparse.Namespace) -> list[dict]:
    """Run the trials and wait for them.

    Args:
        base: Draft of a training, which trials are clones of.

    Returns:
        Of each completed trial: task_id, accuracy (the best of its epochs on the
        validation split, 0 to 1), options; the best first.
    """
    from clearml.automation import HyperParameterOptimizer
    from clearml.automation.optuna import OptimizerOptuna

    optimizer = HyperParameterOptimizer(
        base_task_id=base.id,
        hyper_parameters=hyper_parameters(space),
        objective_metric_title=METRIC[0],
        objective_metric_series=METRIC[1],
        objective_metric_sign="max_global",
        optimizer_class=OptimizerOptuna,
        max_number_of_concurrent_tasks=args.workers,
        execution_queue=args.queue,
        auto_connect_task=False,  # the options are connected already
        total_max_jobs=args.trials,
        max_iteration_per_job=None,
        pool_period_min=1 / 30,
    )
    optimizer.set_report_period(0.1)  # minutes; the end waits for the last report
    if not (optimizer.start_locally() if args.local else optimizer.start()):
        raise RuntimeError("ClearML's optimizer did not start; its log says why")
    try:
        optimizer.wait()
    finally:
        optimizer.stop()  # the running trials as well
    found = optimizer.get_top_experiments_details(
        top_k=args.trials, only_completed=True
    )
    return [describe(trial, space) for trial in found]


def describe(trial: dict, space: dict[str, dict]) -> dict:
    accuracy = trial["metrics"]["/".join(METRIC)]
    values = trial["hyper_parameters"]
    return {
        "task_id": trial["task_id"],
        "accuracy": accuracy["max_value"],
        "options": {name: values[f"Args/{name}"] for name in space},
    }


def check_options(args: argparse.Namespace) -> tuple[dict[str, dict], dict[str, str]]:
    """Read the options: the ranges, and what is the same in all trials.

    Raises:
        InputError: One is misspelt or out of range, or Optuna is missing.
    """
    if args.trials < 1 or args.workers < 1:
        raise InputError("--trials and --workers must be at least 1")
    space, fixed = parse_space(args.space), parse_options(args.set)
    if importlib.util.find_spec("optuna") is None:
        raise InputError(
            "the search needs Optuna: .venv/bin/pip install -r "
            f"{ROOT / 'requirements-search.txt'}"
        )
    return space, fixed


def look(args: argparse.Namespace) -> None:
    """Check that somebody will run the trials.

    Raises:
        InputError: No agent listens to the queue.
    """
    if not args.local:
        ensure_clearml()
        check_agents(args.queue)


@exit_2_on_input_error
def main() -> None:
    with (
        answering(arguments()) as answer,
        step_task("search", arguments(), "optimizer", check_options, look) as (
            task,
            args,
        ),
    ):
        space, fixed = check_options(args)
        os.chdir(ROOT)  # the script's path is relative
        if not args.local:
            checkout.name_remote()
        base = steps.make_task("train")
        base.set_parameters({f"Args/{key}": value for key, value in fixed.items()})
        trials = search(base, space, args)
        if not trials:
            raise InputError("no trial has completed; see their consoles in ClearML")
        answer["trials"] = trials
        report(task, trials, space)


def report(task, trials: list[dict], space: dict[str, dict]) -> None:
    """Print the trials, and put them on the ClearML task."""
    table = [["task", "validation accuracy", *space]] + [
        [t["task_id"], f"{t['accuracy']:.4f}", *map(str, t["options"].values())]
        for t in trials
    ]
    print(text_table(table))
    task.get_logger().report_table("trials", "all", 0, table_plot=table)
    best = trials[0]
    set_output(task, "task_id", best["task_id"])
    options = " ".join(f"train.{k}={v}" for k, v in best["options"].items())
    print(f"best: {best['task_id']}; to train like it: --set {options}")


if __name__ == "__main__":
    main()
