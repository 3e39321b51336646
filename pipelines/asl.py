"""The whole pipeline: validate -> prepare -> train -> deploy, each step a ClearML task.

    python -m pipelines.asl --raw DIR --local         in this process's machine
    python -m pipelines.asl --raw DIR --queue default   on agents

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
from pipelines.task_edge import PROJECT
from pipelines.tracking import ensure_clearml

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
    parser.add_argument(
        "--local", action="store_true", help="run the steps on this machine, one by one"
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
    if bool(raw) == bool(dataset_id):
        raise InputError("give raw images either by --raw DIR or by --dataset-id ID")
    ensure_clearml()
    from clearml import PipelineController, Task

    os.chdir(ROOT)  # ClearML starts local steps in the current folder
    pipeline = PipelineController(
        name="asl",
        project=PROJECT,
        # Steps stay in the project itself, where deploy and people look for them.
        target_project=PROJECT,
        add_run_number=False,
        abort_on_failure=True,
        pool_frequency=0.02 if queue is None else 0.2,  # minutes between two looks
    )
    source = {"raw": raw} if raw else {"dataset_id": dataset_id}

    def factory(step):
        script, task_type, _ = STEPS[step]
        return lambda node: Task.create(
            project_name=PROJECT,
            task_name=step,
            task_type=task_type,
            script=script,
            requirements_file=str(ROOT / "requirements.txt"),
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
        )
        previous = [step]
    if queue is None:
        pipeline.start_locally(run_pipeline_steps_locally=True)
    else:
        pipeline.start_locally()
        pipeline.wait()
    return outcome(pipeline)


def outcome(pipeline) -> dict[str, str]:
    """Read how the steps ended.

    Raises:
        InputError: One failed.
    """
    from clearml import Task

    ids = {}
    for name, node in pipeline.get_pipeline_dag().items():
        # "executed" is set by success alone
        task_id = node.executed or (node.job and node.job.task_id())
        if not task_id:
            raise InputError(f"pipeline step {name} did not run")
        task = Task.get_task(task_id=task_id)
        status = task.get_status()
        if status not in ("completed", "published"):
            reason = task.data.status_reason or status
            raise InputError(f"pipeline step {name} failed: {reason}")
        ids[name] = task.id
    return ids


@exit_2_on_input_error
def main() -> None:
    args = arguments().parse_args()
    ids = run(
        [str(Path(folder).resolve()) for folder in args.raw or []],
        args.dataset_id,
        parse_settings(args.set),
        None if args.local else args.queue,
    )
    for step, task_id in ids.items():
        print(f"{step}: {task_id}")


if __name__ == "__main__":
    main()
