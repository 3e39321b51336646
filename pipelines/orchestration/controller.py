"""The pipeline's controller: run in this process, or made a task for an agent."""

import argparse
import os

from data_prep.errors import InputError
from data_prep.paths import REQUIREMENTS, ROOT
from data_prep.progress import warn
from pipelines.clearml_server.home import home_folder
from pipelines.orchestration import class_check, run_report, step_cache, steps
from pipelines.orchestration.run_display import RunDisplay
from pipelines.orchestration.run_options import PARAMETERS, SERVICES, check_source
from pipelines.tracking.agents import check_agents
from pipelines.tracking.checkout import name_remote
from pipelines.tracking.connection import (
    end_on_sigterm,
    ensure_clearml,
    is_configured,
    report_from_threads,
)
from pipelines.tracking.datasets import PROJECT
from pipelines.tracking.options import as_list
from pipelines.tracking.task import ERROR, OUTPUTS, RESULT, set_output, warnings_of

NAME = "asl"


def run(
    raw: list[str],
    dataset_id: str,
    settings: dict[str, dict[str, str]],
    queue: str | None,
    leave_out: tuple[str, ...] = (),
    display: RunDisplay | None = None,
) -> dict[str, str]:
    """Run the pipeline and wait for its end.

    Args:
        raw: Raw folders, or none.
        dataset_id: Of raw images in ClearML, instead of folders.
        settings: Options by step, as `steps.parse_settings` returns them.
        queue: Of the agents that run the steps; None runs them here.
        leave_out: Steps at the end that are not wanted.
        display: Told of each step; None for one that hides nothing.

    Returns:
        The ClearML task id of each step.

    Raises:
        InputError: A step failed, or deploy would refuse the model; the reason is in
            the message.
    """
    check_source(raw, dataset_id)
    ensure_clearml()
    report_from_threads()
    if queue is not None:
        check_agents(queue)
        name_remote()
    from clearml import PipelineController
    from clearml.automation import ClearmlJob

    display = display or RunDisplay()

    # scripts/agents, on the embedded server, shares our model repository
    is_here = queue is None or not is_configured(home_folder())
    refused, begun = [], []

    def before(pipeline, node, parameters: dict) -> bool:
        if not can_run(node, parameters):
            return False
        if node.name == "train" and (
            reason := why_undeployable(pipeline, settings, is_here)
        ):
            refused.append(reason)
            return False
        begun.append(node.name)
        display.start(node.name)
        return True

    def after(_, node) -> None:
        display.end(node.name, note(node))

    os.chdir(ROOT)  # ClearML starts local steps in the current folder
    ClearmlJob.register_hashing_callback(step_cache.compare_by_content)
    pipeline = PipelineController(
        name=NAME,
        project=PROJECT,
        # Steps stay in the project itself, where deploy and people look for them.
        target_project=PROJECT,
        add_run_number=False,
        abort_on_failure=True,
        pool_frequency=0.005 if queue is None else 0.02,  # minutes between two looks
    )
    end_on_sigterm()
    source = {"raw": all_raw(raw, settings)} if raw else {"dataset_id": dataset_id}
    previous = []
    for name in (name for name in steps.STEPS if name not in leave_out):
        options = (source if name == "validate" else {}) | settings[name]
        parameters = steps.parameters(name, options)
        pipeline.add_step(
            name=name,
            parents=previous,
            base_task_factory=lambda node: steps.make_task(node.name),
            clone_base_task=False,
            parameter_override=parameters,
            cache_executed_step=step_cache.CONTENT in parameters,
            execution_queue=queue,
            pre_execute_callback=before,
            post_execute_callback=after,
        )
        previous = [name]
    try:
        pipeline.start_locally(run_pipeline_steps_locally=queue is None)
    except KeyboardInterrupt:
        pipeline.stop(mark_aborted=True)  # the running step as well
        if not begun:
            raise
        raise KeyboardInterrupt(
            f"in the step {begun[-1]}; the same command goes on with it, and takes the "
            "steps before it from this run"
        ) from None
    for reason in refused:
        pipeline.task.mark_failed(status_reason=reason, force=True)
        raise InputError(reason)
    return outcome(pipeline)


def all_raw(raw: list[str], settings: dict[str, dict]) -> list[str]:
    """Raw folders, and the sets that are splits, which are checked like the others."""
    prepare = settings["prepare"]
    given = (as_list(prepare.get(name)) for name in ("val_set", "test_set"))
    return [*raw, *(folder for folders in given for folder in folders)]


def can_run(node, parameters: dict) -> bool:
    """Leave verification out where the model's raw photographs are not known."""
    known = node.name != "verify" or parameters["Args/dataset_id"]
    if not known:
        print(
            "verify is left out: the promoted model's dataset was not prepared from a "
            "registered raw Dataset"
        )
    return bool(known)


def why_undeployable(pipeline, settings: dict[str, dict], is_here: bool) -> str:
    """Say why deploy would refuse a model of the classes that prepare has found, and
    keep it on the controller's task; "" if it would not.

    Args:
        is_here: As `class_check.check_classes` takes it.
    """
    from clearml import Task

    prepare = Task.get_task(pipeline.get_pipeline_dag()["prepare"].job.task_id())
    try:
        class_check.check_classes(class_check.prepared(prepare), settings, is_here)
    except InputError as error:
        set_output(Task.current_task(), ERROR, str(error))
        return str(error)
    return ""


def outcome(pipeline) -> dict[str, str]:
    """Read how the steps ended.

    Raises:
        InputError: One did not complete; the reason is in the message.
    """
    ids = {}
    for node in pipeline.get_pipeline_dag().values():
        if node.name == "verify" and node.skip_job and "deploy" in ids:
            continue
        if reason := why_incomplete(node):
            raise InputError(reason)
        ids[node.name] = node.job.task_id()
    return ids


def why_incomplete(node) -> str:
    """Say why a step has not completed, "" if it has."""
    from clearml import Task

    if node.job is None:
        return f"pipeline step {node.name} did not run"
    task = Task.get_task(task_id=node.job.task_id())
    status = task.get_status()
    if status in ("completed", "published"):
        return ""
    reason = task.get_parameter(f"{OUTPUTS}/{ERROR}")
    reason = reason or task.data.status_reason or task.data.status_message
    word = "was stopped" if status == "stopped" else status
    return f"pipeline step {node.name} {word}: {reason} (task {task.id})"


def note(node) -> str:
    """Keep on the controller's task what a step shows, or why it failed: an agent ends
    the process soon after.

    Returns:
        What it came to, in a line.
    """
    from clearml import Task

    task = Task.current_task()
    if reason := why_incomplete(node):
        set_output(task, ERROR, reason)
        return "failed"
    # afresh: the controller's own copy is from before the step ran
    step = Task.get_task(task_id=node.job.task_id())
    for text in warnings_of(step):
        warn(text)
    try:
        run_report.show(node.name, step, task.get_logger())
    except InputError as error:  # a picture less does not end the run
        warn(str(error))
    result = step.get_parameter(f"{OUTPUTS}/{RESULT}") or "done"
    return f"{result} (as in an earlier run)" if node.job.is_cached_task() else result


def enqueue(args: argparse.Namespace) -> str:
    """Hand the whole pipeline to an agent; return the address of its page."""
    check_source(args.raw, args.dataset_id)
    from clearml import Task

    task = draft(args)
    Task.enqueue(task, queue_name=SERVICES)
    return task.get_output_log_web_page()


def draft(args: argparse.Namespace):
    """Create the controller's ClearML task, for an agent to run."""
    ensure_clearml()
    name_remote()
    from clearml import PipelineController, Task

    os.chdir(ROOT)  # the script's path is relative
    values = {key: getattr(args, key) for key in PARAMETERS}
    pipeline = PipelineController.create(
        project_name=PROJECT,
        task_name=NAME,
        script="pipelines/asl.py",
        requirements_file=REQUIREMENTS,
        argparse_args=[(key, str(value)) for key, value in values.items() if value],
        add_run_number=False,
    )
    return Task.get_task(task_id=pipeline.id)
