"""The ClearML side of a step: one task around a plain function.

    with step_task("prepare", parser) as (task, args):
        ...

The task's parameters are the parser's options. An override made in the web UI, by a
pipeline or by ``clearml-task`` is in ``args``, with the option's type.
"""

import argparse
import json
import logging
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Iterator, Sequence

from data_prep.command_line import OF_THE_COMMAND
from data_prep.errors import InputError, unwritable_is_input_error
from data_prep.paths import REQUIREMENTS
from pipelines.tracking import options
from pipelines.tracking.connection import (
    end_on_sigterm,
    ensure_clearml,
    report_from_threads,
)
from pipelines.tracking.datasets import PROJECT

OUTPUTS = "Outputs"  # the section of task parameters that later steps refer to
ERROR = "error"  # the output of a failed step: why


@contextmanager
def step_task(
    name: str,
    parser: argparse.ArgumentParser,
    task_type: str = "data_processing",
    check: Callable[[argparse.Namespace], object] = lambda args: None,
    look: Callable[[argparse.Namespace], object] = lambda args: None,
) -> Iterator[tuple]:
    """Run the body as the ClearML task ``name`` of the project.

    Args:
        check: Raises InputError where options do not go together or are out of range;
            called before anything is started.
        look: Raises InputError where something that the options name is missing; called
            before a task is made. A task that an agent or a pipeline runs is made
            already, and its options are not on the command line.

    Yields:
        The task, and the parsed options.

    A failing body leaves a failed task: with the one line of an InputError as its
    reason (and as its output ``error``), with the exception's otherwise. Ctrl-C leaves
    a stopped one.
    """
    args = parser.parse_args()
    check(args)
    if "CLEARML_TASK_ID" not in os.environ:
        look(args)
    ensure_clearml()
    report_from_threads()
    from clearml import Task

    with exit_code_for_agents():
        check_arrived(parser)
    pin_requirements()
    # that there is no git remote is told where agents need one (checkout.name_remote)
    logging.getLogger("clearml.Repository Detection").setLevel(logging.ERROR)
    task = Task.init(
        project_name=PROJECT,
        task_name=name,
        task_type=task_type,
        reuse_last_task_id=False,
        # torch.save would upload every checkpoint as a model
        auto_connect_frameworks={"pytorch": False, "matplotlib": False},
        auto_resource_monitoring=False,
        auto_connect_arg_parser=dict.fromkeys(OF_THE_COMMAND, False),
    )
    log_no_files_as_models()
    end_on_sigterm()
    with exit_code_for_agents():
        try:
            # Only now is argparse connected: a second time, for the overrides.
            args = parser.parse_args()
            check(args)
            with unwritable_is_input_error():
                yield task, args
        except BaseException as error:
            # Its watcher would take the coming change of status for an abort by
            # somebody else, and kill this process while it still tidies up.
            if task._dev_worker:
                task._dev_worker.unregister()
            if isinstance(error, KeyboardInterrupt):
                task.mark_stopped(status_message="interrupted")
            else:
                reason = str(error) if isinstance(error, InputError) else repr(error)
                # An agent replaces the status's reason by the exit code.
                set_output(task, ERROR, reason)
                task.mark_failed(status_reason=reason, status_message=reason)
            raise
        finally:
            task.close()  # leaves the status of a failed or stopped task as it is


def log_no_files_as_models() -> None:
    """Prevent ClearML from registering each file that a framework writes or reads.

    Task.init is told so, too; but in a task that ``clearml-task`` made it is called
    before ours, with every framework connected.
    """
    from clearml.binding.frameworks import WeightsFileHandler

    WeightsFileHandler.add_pre_callback(no_model)


def no_model(kind: str, model) -> None:
    """A callback whose answer None means that this file is left alone."""


def pin_requirements() -> None:
    """Let the coming task name the pinned requirements, not what imports suggest: an
    agent that runs a clone installs them."""
    from clearml import Task

    Task.force_requirements_env_freeze(requirements_file=REQUIREMENTS)


@contextmanager
def exit_code_for_agents() -> Iterator[None]:
    """End with 1 on an InputError if an agent runs this; it takes 2 for an abort."""
    try:
        yield
    except InputError as error:
        if "CLEARML_TASK_ID" not in os.environ:
            raise
        sys.exit(f"error: {error}")  # to standard error; the exit code is 1


def check_arrived(parser: argparse.ArgumentParser) -> None:
    """Check the options that a task was made with, if an agent or a pipeline runs it.

    ClearML would pass over misspelt ones, and end with a code that means an abort.

    Raises:
        InputError: One does not exist, or cannot have that value.
    """
    from clearml import Task

    if Task.running_locally():
        return
    task = Task.get_task(task_id=os.environ["CLEARML_TASK_ID"])
    sent = task.get_parameters()
    try:
        options.check(
            parser,
            {key[5:]: value for key, value in sent.items() if key.startswith("Args/")},
            "the task's option ",
        )
    except InputError as error:
        set_output(task, ERROR, str(error))
        raise


RESULT = "result"  # the output that says in a line what a step has come to
WARNINGS = "warnings"  # the output with those of a step, a JSON list of lines
MOST_WARNINGS = 5  # that are shown


def tell_result(task, text: str) -> None:
    """Print the result of a step, and keep it on the task, for the display.

    Args:
        text: One line.
    """
    print(text, flush=True)
    set_output(task, RESULT, text)


def tell_warnings(task, texts: Sequence[str], more_in: Path) -> None:
    """Print what people should know that does not stop the work, and keep it on the
    task: a pipeline shows it below the step's result, of an earlier run as well.

    Args:
        texts: One line each; of many, the first ones.
        more_in: The file that has all of them.
    """
    shown = first_of(texts, more_in)
    for text in shown:
        print(f"warning: {text}", file=sys.stderr, flush=True)
    set_output(task, WARNINGS, json.dumps(shown))


def first_of(texts: Sequence[str], more_in: Path) -> list[str]:
    """The first warnings, and a line that says where the others are."""
    shown = list(texts[:MOST_WARNINGS])
    if more := len(texts) - len(shown):
        shown.append(f"and {more} more in {more_in}")
    return shown


def warnings_of(task) -> list[str]:
    """What `tell_warnings` has kept on a task."""
    return json.loads(task.get_parameter(f"{OUTPUTS}/{WARNINGS}") or "[]")


def set_output(task, name: str, value: str) -> None:
    """Record a result that later pipeline steps use.

    They refer to it as ``${<step>.parameters.Outputs/<name>}``.
    """
    task.set_parameter(f"{OUTPUTS}/{name}", value)
