"""Before a training: will its model be deployed, or has what serves other classes?

deploy refuses a model of other classes than those that are served. That is known as
soon as the classes are, hours before.
"""

import json
from collections.abc import Iterable, Mapping

from data_prep import packed
from data_prep.sources import find_images
from pipelines import deploy
from pipelines.orchestration.steps import STEPS
from pipelines.serving import deployment
from pipelines.tracking import trainings
from pipelines.tracking.options import step_arguments


def check_classes(
    classes: Iterable[str], settings: Mapping[str, Mapping[str, str]], is_here: bool
) -> None:
    """Check that deploy will take a model of these classes.

    Args:
        settings: Options by step.
        is_here: Whether the steps run on this machine, so that its repository is the
            one; elsewhere what was promoted last is taken for what is served.

    Raises:
        InputError: It will refuse; the line says with which option it does not.
    """
    args = step_arguments(STEPS["deploy"].script, settings["deploy"])
    if args.allow_new_classes:
        return
    new = sorted(classes)
    if is_here:
        deployment.check_classes(new, deploy.place(args), args.name)
    elif training := trainings.promoted(args.name):
        served = packed.read_names(trainings.artifact(training, packed.CLASSES_FILE))
        whose = f"training {training.id}, promoted as {args.name},"
        deployment.require_same_classes(new, served, whose)


def check_raw(raw: list[str], settings: Mapping[str, Mapping[str, str]]) -> None:
    """Say at once what is wrong with folders of this machine, and with their classes.

    Raises:
        InputError: One holds no images, or deploy would refuse a model of them.
    """
    found = {image.label for image in find_images(raw).images}
    args = step_arguments(STEPS["prepare"].script, settings["prepare"])
    check_classes(found & set(args.classes or found), settings, is_here=True)


def prepared(task) -> list[str]:
    """The classes of what a task of the step prepare has left.

    Raises:
        InputError: Its file cannot be had.
    """
    return list(json.loads(trainings.artifact(task, "split").read_text())["classes"])
