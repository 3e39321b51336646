"""The whole pipeline: validate -> prepare -> train -> deploy, each step a ClearML task.

    python -m pipelines.asl --raw DIR --local             on this machine
    python -m pipelines.asl --raw DIR --queue default       steps on agents
    python -m pipelines.asl --raw DIR --remote              its controller as well

Step options are set by --set, such as --set train.model=resnet18 prepare.image-size=96;
in the web UI they are the pipeline's parameters of the same names.
"""

import argparse
import os
import sys
from pathlib import Path

if not __package__:  # started as a script, by an agent or by hand
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data_prep.errors import InputError, exit_2_on_input_error
from data_prep.paths import ROOT
from pipelines import checkout
from pipelines.clearml_server.home import home_folder
from pipelines.task_edge import (
    ERROR,
    OUTPUTS,
    PROJECT,
    exit_code_for_agents,
    set_output,
)
from pipelines.tracking import ensure_clearml, is_configured

NAME = "asl"
SERVICES = "services"  # the queue of agents that run controllers

REQUIREMENTS = str(ROOT / "requirements.txt")
# step -> (script, task type, what it takes from earlier steps)
STEPS = {
    "validate": ("data_prep/validate.py", "qc", {"register": True}),
    "prepare": (
        "data_prep/prepare.py",
        "data_processing",
        {"dataset_id": "${validate.parameters.Outputs/dataset_id}"},
    ),
    "train": (
        "training/train.py",
        "training",
        {"dataset_id": "${prepare.parameters.Outputs/dataset_id}"},
    ),
    "deploy": ("pipelines/deploy.py", "inference", {"task": "${train.id}"}),
}


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Validate, prepare, train and deploy, as one ClearML pipeline."
    )
    # what
    parser.add_argument(
        "--raw", nargs="+", metavar="DIR", help="folders of class folders of images"
    )
    parser.add_argument(
        "--dataset-id", metavar="ID", default="", help="a raw ClearML Dataset instead"
    )
    parser.add_argument(
        "--set",
        nargs="+",
        metavar="STEP.OPTION=VALUE",
        default=[],
        help="options of steps, such as train.epochs=30",
    )
    # where
    place = parser.add_mutually_exclusive_group()
    place.add_argument(
        "--local", action="store_true", help="run the steps on this machine, one by one"
    )
    place.add_argument(
        "--remote",
        action="store_true",
        help=f"run the controller on an agent too, of the queue {SERVICES}, and do not "
        "wait for it",
    )
    parser.add_argument(
        "--queue",
        default="default",
        help="queue of the steps' agents (default default)",
    )
    return parser


def parse_settings(settings: list[str]) -> dict[str, dict[str, str]]:
    """Turn ["train.max-minutes=1", ...] into {"train": {"max_minutes": "1"}, ...}.

    Raises:
        InputError: One is not STEP.OPTION=VALUE, or names an unknown step.
    """
    options = {step: {} for step in STEPS}
    for setting in settings:
        name, equals, value = setting.partition("=")
        step, dot, option = name.partition(".")
        if not (equals and dot and option) or step not in STEPS:
            raise InputError(
                f"--set {setting} is not STEP.OPTION=VALUE with a step of "
                f"{', '.join(STEPS)}; for example --set train.epochs=30"
            )
        options[step][option.replace("-", "_")] = value
    return options


def run(
    raw: list[str],
    dataset_id: str,
    settings: dict[str, dict[str, str]],
    queue: str | None,
) -> dict[str, str]:
    """Run the pipeline and wait for its end.

    Args:
        raw: Raw folders, or none.
        dataset_id: Of raw images in ClearML, instead of folders.
        settings: As `parse_settings` returns them.
        queue: Of the agents that run the steps; None runs them here.

    Returns:
        The ClearML task id of each step.

    Raises:
        InputError: A step failed; its reason is in the message.
    """
    check_source(raw, dataset_id)
    ensure_clearml()
    if queue is not None:
        name_remote()
    from clearml import PipelineController, Task

    os.chdir(ROOT)  # ClearML starts local steps in the current folder
    pipeline = PipelineController(
        name=NAME,
        project=PROJECT,
        # Steps stay in the project itself, where deploy and people look for them.
        target_project=PROJECT,
        add_run_number=False,
        abort_on_failure=True,
        pool_frequency=0.02 if queue is None else 0.05,  # minutes between two looks
    )
    source = {"raw": raw} if raw else {"dataset_id": dataset_id}

    def factory(step):
        script, task_type, _ = STEPS[step]
        return lambda node: Task.create(
            project_name=PROJECT,
            task_name=step,
            task_type=task_type,
            script=script,
            requirements_file=REQUIREMENTS,
            add_task_init_call=False,
        )

    previous = []
    for step, (_, _, inputs) in STEPS.items():
        values = inputs | (source if step == "validate" else {}) | settings[step]
        pipeline.add_step(
            name=step,
            parents=previous,
            base_task_factory=factory(step),
            clone_base_task=False,
            parameter_override={f"Args/{key}": value for key, value in values.items()},
            execution_queue=queue,
            post_execute_callback=note_reason,
        )
        previous = [step]
    try:
        pipeline.start_locally(run_pipeline_steps_locally=queue is None)
    except KeyboardInterrupt:
        pipeline.stop(mark_aborted=True)  # the running step as well
        raise
    return outcome(pipeline)


def check_source(raw: list[str] | None, dataset_id: str) -> None:
    if bool(raw) == bool(dataset_id):
        raise InputError("give raw images either by --raw DIR or by --dataset-id ID")


def outcome(pipeline) -> dict[str, str]:
    """Read how the steps ended.

    Raises:
        InputError: One did not complete; the reason is in the message.
    """
    ids = {}
    for node in pipeline.get_pipeline_dag().values():
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


def note_reason(_, node) -> None:
    """Keep on the controller's task why a step failed: an agent ends the process soon.

    Called by the controller at the end of each step.
    """
    from clearml import Task

    if reason := why_incomplete(node):
        set_output(Task.current_task(), ERROR, reason)


def enqueue(args: argparse.Namespace) -> str:
    """Hand the whole pipeline to an agent; return the address of its page."""
    check_source(args.raw, args.dataset_id)
    ensure_clearml()
    name_remote()
    from clearml import PipelineController, Task

    os.chdir(ROOT)  # the script's path is relative
    values = {"dataset_id": args.dataset_id, "queue": args.queue}
    values |= {"raw": args.raw} if args.raw else {}
    values |= {"set": args.set} if args.set else {}
    pipeline = PipelineController.create(
        project_name=PROJECT,
        task_name=NAME,
        script="pipelines/asl.py",
        requirements_file=REQUIREMENTS,
        argparse_args=[(key, str(value)) for key, value in values.items() if value],
        add_run_number=False,
    )
    task = Task.get_task(task_id=pipeline.id)
    Task.enqueue(task, queue_name=SERVICES)
    return task.get_output_log_web_page()


def name_remote() -> None:
    """Make sure that tasks name a git remote, from which agents get the code.

    Raises:
        InputError: There is none that agents of another machine could reach.
    """
    if not checkout.remote() and is_configured(home_folder()):
        raise InputError(
            f"{ROOT} has no git remote, from which agents get the code; add one with "
            "git remote add origin ADDRESS, and push"
        )
    os.environ |= checkout.lend_remote(dict(os.environ))


def options() -> argparse.Namespace:
    """The command line's options; where an agent runs this, those of the task."""
    arguments().parse_args()  # --help and misspelt options, before anything is started
    ensure_clearml()
    from clearml import Task

    if not Task.running_locally():
        Task.init(auto_resource_monitoring=False)
    # Only now does ClearML see it: to record the options, or to replace them.
    args = arguments().parse_args()
    if args.raw and Task.running_locally():
        args.raw = [str(Path(folder).resolve()) for folder in args.raw]
    return args


@exit_2_on_input_error
def main() -> None:
    with exit_code_for_agents():
        args = options()
        settings = parse_settings(args.set)
        if args.remote:
            print(f"pipeline: {enqueue(args)}")
            return
        queue = None if args.local else args.queue
        ids = run(args.raw or [], args.dataset_id, settings, queue)
        for step, task_id in ids.items():
            print(f"{step}: {task_id}")


if __name__ == "__main__":
    main()
