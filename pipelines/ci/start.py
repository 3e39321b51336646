"""Start the pipeline on agents, wait for its end, and report the result in Markdown.

    python -m pipelines.ci.start [--wait] [--report FILE] OPTIONS

OPTIONS are those of `pipelines.asl` that say what is run. Without --wait the report
only says where to look. It is what the workflow "pipeline" shows on a pull request.
"""

import argparse
import json
import time
from pathlib import Path

from data_prep.command_line import command_parser
from data_prep.errors import InputError, exit_2_on_input_error
from pipelines.orchestration import controller, run_options
from pipelines.tracking import trainings
from pipelines.tracking.task import ERROR, OUTPUTS
from training.reports import EVALUATION

POLL_SECONDS = 5.0
UNDER_WAY = ("created", "queued", "in_progress", "unknown")
SCORES = ("accuracy", "top3_accuracy", "macro_f1", "images")
WORST = 5  # classes that are shown
CONFIGURATION = "Pipeline"  # of a controller's task: its steps, and their tasks' ids


def arguments() -> argparse.ArgumentParser:
    parser = command_parser(
        "python -m pipelines.ci.start",
        description="Start the pipeline on agents; other options: see pipelines.asl.",
        allow_abbrev=False,
        example="--dataset-id ID --queue default --wait",
    )
    parser.add_argument("--wait", action="store_true", help="for the pipeline's end")
    parser.add_argument(
        "--report", type=Path, metavar="FILE", help="write what came of it, as Markdown"
    )
    return parser


def start(options: list[str]):
    """Enqueue the pipeline; return its controller's ClearML task.

    Args:
        options: Of `pipelines.asl`.

    Raises:
        InputError: They do not say what to run, or agents cannot get the code.
    """
    args = run_options.run_arguments().parse_args(options)
    run_options.make_absolute(args)
    run_options.check_source(args.raw, args.dataset_id)
    run_options.all_settings(args)  # misspelt ones are told before an agent has to
    task = controller.draft(args)  # only now is ClearML configured
    from clearml import Task

    Task.enqueue(task, queue_name=run_options.SERVICES)
    return task


def wait(task, poll: float = POLL_SECONDS) -> str:
    """Wait until a task has ended; return its status.

    Args:
        poll: Seconds between two looks.
    """
    while (status := task.get_status()) in UNDER_WAY:
        time.sleep(poll)
    task.reload()
    return str(status)


def step_tasks(controller) -> dict[str, str]:
    """Find the ClearML tasks of the steps that have run, or were taken from earlier."""
    nodes = controller.get_configuration_object_as_dict(CONFIGURATION) or {}
    return {name: node["executed"] for name, node in nodes.items() if node["executed"]}


def found(controller, step: str, name: str) -> dict | None:
    """Read a JSON artifact of a step; None if the pipeline did not come that far."""
    from clearml import Task

    task_id = step_tasks(controller).get(step)
    if task_id is None:
        return None
    try:
        path = trainings.artifact(Task.get_task(task_id=task_id), name)
    except InputError:
        return None
    return json.loads(path.read_text(encoding="utf-8"))


def report(status: str, page: str, reason: str, evaluation=None, candidates=None):
    """Write what came of a run as Markdown.

    Args:
        status: Of the controller's task, as ClearML calls it.
        page: Address of its page.
        reason: Why it failed, or "".
        evaluation: The step's evaluation.json (`training.evaluate`).
        candidates: Promotion's ``{"table": rows, "reason": text}``.
    """
    parts = [f"### Pipeline: {status}", f"[its page in ClearML]({page})"]
    if reason:
        parts.append(cell(reason))
    if evaluation:
        parts += ["#### The trained model", table(scores(evaluation))]
        parts += ["Its worst classes:", table(worst(evaluation))]
    if candidates:
        parts += ["#### Promotion", cell(candidates["reason"])]
        parts.append(table(candidates["table"]))
    return "\n\n".join(parts) + "\n"


def scores(evaluation: dict) -> list[list]:
    """Rows of the test split's scores and of each slice's, below headings."""
    rows = [["photographs", *SCORES]]
    everything = {"test split": evaluation["overall"], **evaluation["slices"]}
    for name, values in everything.items():
        rows.append([name, *(values.get(score, "") for score in SCORES)])
    return rows


def worst(evaluation: dict) -> list[list]:
    """Rows of the classes with the least recall, below headings."""
    columns = ("recall", "precision", "images")
    classes = [x for x in evaluation["per_class"].items() if x[1]["images"]]
    classes.sort(key=lambda entry: entry[1]["recall"])
    rows = [[name, *(x[column] for column in columns)] for name, x in classes[:WORST]]
    return [["class", *columns], *rows]


def table(rows: list[list]) -> str:
    """Write rows as a table; the first are its headings."""
    width = len(rows[0])
    lines = [[cell(value) for value in row] for row in rows]
    lines.insert(1, ["---"] * width)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def cell(value) -> str:
    """Write a value in one line that no character of it can break."""
    if isinstance(value, float):
        return f"{value:.4f}"
    text = " ".join(str(value).split())
    for character in "\\|<>[]`":
        text = text.replace(character, "\\" + character)
    return text


@exit_2_on_input_error
def main() -> None:
    args, options = arguments().parse_known_args()
    task = start(options)
    page = task.get_output_log_web_page()
    print(f"pipeline: {page}", flush=True)
    status, reason, results = "started", "", {}
    if args.wait:
        status = wait(task)
        if status not in trainings.ENDED_WELL:
            reason = task.get_parameter(f"{OUTPUTS}/{ERROR}")
            reason = reason or task.data.status_reason or task.data.status_message or ""
        results["evaluation"] = found(task, "evaluate", EVALUATION)
        results["candidates"] = found(task, "promote", "candidates")
    if args.report:
        text = report(status, page, reason, **results)
        args.report.write_text(text, encoding="utf-8")
    if status not in ("started", *trainings.ENDED_WELL):
        raise InputError(f"the pipeline ended as {status}: {reason} (see {page})")
    print(f"it is {status}")


if __name__ == "__main__":
    main()
