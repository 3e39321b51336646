"""The pipeline's steps: scripts, options, and what each takes from earlier ones."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from data_prep.errors import InputError
from data_prep.paths import REQUIREMENTS
from pipelines.orchestration import step_cache
from pipelines.promotion import lock
from pipelines.tracking.datasets import PROJECT
from pipelines.tracking.options import check, check_step, parser_of

BEST = "${promote.parameters.Outputs/task_id}"


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        script: Path in the repository.
        type: Of its ClearML task.
        inputs: Options that earlier steps decide.
    """

    script: str
    type: str
    inputs: dict = field(default_factory=dict)


STEPS = {
    "validate": Step("data_prep/validate.py", "qc", {"register": True}),
    "prepare": Step(
        "data_prep/prepare.py",
        "data_processing",
        {"dataset_id": "${validate.parameters.Outputs/dataset_id}"},
    ),
    "train": Step(
        "training/train.py",
        "training",
        {"dataset_id": "${prepare.parameters.Outputs/dataset_id}"},
    ),
    "evaluate": Step("training/score.py", "testing", {"task": "${train.id}"}),
    "promote": Step(
        "pipelines/promote.py",
        lock.TYPE,
        {
            "task": "${train.id}",
            "dataset_id": "${prepare.parameters.Outputs/dataset_id}",
        },
    ),
    "deploy": Step("pipelines/deploy.py", "inference", {"task": BEST}),
    "verify": Step(
        "pipelines/verify.py",
        "testing",
        {
            "task": BEST,
            "dataset_id": "${promote.parameters.Outputs/raw_dataset_id}",
        },
    ),
}


def read_settings(settings: list[str]) -> dict[str, dict]:
    """Turn ["train.max-minutes=1", ...] into {"train": {"max_minutes": "1"}, ...}.

    All steps are keys. A colon may replace the equals sign, because clearml-task allows
    only one equals sign in an argument of a pipeline.

    Raises:
        InputError: One is not STEP.OPTION=VALUE, or the step has no such option, or not
            of such a value.
    """
    options: dict[str, dict] = {step: {} for step in STEPS}
    for setting in settings:
        name, *value = re.split("[=:]", setting, maxsplit=1)
        step, dot, option = name.partition(".")
        if not (value and dot and option) or step not in STEPS:
            raise InputError(
                f"--set {setting} is not STEP.OPTION=VALUE with a step of "
                f"{', '.join(STEPS)}; for example --set train.epochs=30"
            )
        given = {option.replace("-", "_"): value[0]}
        parser = parser_of(STEPS[step].script)
        options[step] |= check(parser, given, f"--set {step}.")
    return options


def parse_settings(
    settings: list[str], defaults: Mapping[str, dict] = MappingProxyType({})
) -> dict[str, dict]:
    """As `read_settings`; what these do not set comes from `defaults`.

    Raises:
        InputError: Also where values do not go together.
    """
    given = read_settings(settings)
    options = {step: defaults.get(step, {}) | given[step] for step in STEPS}
    for step in (step for step in STEPS if given[step]):
        check_step(STEPS[step].script, options[step], f"--set {step}.")
    return options


def parameters(name: str, options: dict) -> dict[str, str]:
    """The ClearML parameters of a step that is given these options."""
    step = STEPS[name]
    options = step.inputs | options
    known = {f"Args/{key}": value for key, value in options.items()}
    if digest := step_cache.digest(step.script, options):
        known[step_cache.CONTENT] = digest
    return known


def make_task(name: str):
    """Create the ClearML task of a step, of the code as it is here."""
    from clearml import Task

    step = STEPS[name]
    return Task.create(
        project_name=PROJECT,
        task_name=name,
        task_type=step.type,
        script=step.script,
        requirements_file=REQUIREMENTS,
        add_task_init_call=False,
    )
