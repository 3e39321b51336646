"""Find trainings in ClearML: the last, the best, or one by its id.

A training is a task of the type "training" in the project; a clone or an agent's run
may carry another name, but its type does not change. The tag ``best`` is on the one
that `pipelines.promote` chose. A training that is archived or tagged ``rejected``
is ignored. Each belongs to the model of one name (`data_prep.model_name`), which
its options say.
"""

import hashlib
import shutil
from pathlib import Path
from typing import Iterator

from data_prep.errors import InputError
from data_prep.model_name import DEFAULT
from pipelines.tracking.connection import quiet_sdk
from pipelines.tracking.datasets import PROJECT, raw_name

ENDED_WELL = ("completed", "published")
# The scalar, an epoch, whose best value orders trainings and guides searches: title and
# series. The test split must not: who is chosen by it has seen it.
METRIC = ("accuracy", "val")
BEST = "best"
REJECTED = "rejected"
TRIED = "fast-dev-run"  # a run that only tried the code
PAGE = 20  # trainings a query


def find_training(which: str, name: str = DEFAULT):
    """Find a completed training task of a model.

    Args:
        name: Of the model.
        which: "last" by time of completion; "best": the promoted one, or, where none
            is promoted, that of the highest validation accuracy; or an id.

    Raises:
        InputError: There is none, or it did not complete.
    """
    if which == "last":
        found = next(ordered("-completed", name=name), None)
    elif which == BEST:
        found = promoted(name) or next(ordered(name=name), None)
    else:
        return get(which, name)
    if found is None:
        of = option = ""
        if name != DEFAULT:
            of, option = f" of {name}", f" --name {name}"
        raise InputError(
            f"no completed training task{of} in project {PROJECT}; run python -m "
            f"training.train{option} first"
        )
    return found


def name_of(training) -> str:
    """The name of the model that a task of the project is about."""
    return training.get_parameter("Args/name") or DEFAULT


def get(task_id: str, name: str = DEFAULT):
    """Fetch one training of a model by its id.

    Raises:
        InputError: There is none, it did not complete, or it is another model's.
    """
    from clearml import Task

    try:
        with quiet_sdk():
            task = Task.get_task(task_id=task_id)
    except ValueError:
        task = None
    if task is None:
        raise InputError(
            f"there is no task '{task_id}' in ClearML; give last, best or an id"
        )
    if task.get_status() not in ENDED_WELL:
        raise InputError(
            f"task {task_id} is {task.get_status()}; only a completed training can be "
            "used"
        )
    if name_of(task) != name:
        raise InputError(
            f"task {task_id} is a training of {name_of(task)}, not of {name}; give "
            f"--name {name_of(task)}"
        )
    return task


def promoted(name: str = DEFAULT):
    """A model's training that is tagged as the best one, None if there is none."""
    return next(ordered("-last_change", [BEST], name), None)


def tagged_best(name: str = DEFAULT) -> list:
    """All trainings of a model that carry the tag, archived ones as well."""
    from clearml import Task

    found = Task.get_tasks(
        project_name=PROJECT, tags=["__$all", BEST], task_filter={"type": ["training"]}
    )
    return [training for training in found if name_of(training) == name]


def ordered(
    order: str = "", tags: list[str] | None = None, name: str = DEFAULT
) -> Iterator:
    """Give a model's completed trainings in the server's order, page by page.

    Args:
        order: A field, with "-" for the highest first; default: by validation accuracy.
        tags: All of them must be there.
        name: Of the model.
    """
    from clearml import Task

    if not order:
        title, series = (hashlib.md5(name.encode()).hexdigest() for name in METRIC)
        order = f"-last_metrics.{title}.{series}.max_value"
    for page in range(10**6):
        tasks = Task.get_tasks(
            project_name=PROJECT,
            tags=["__$all", *(tags or []), "__$not", REJECTED, "__$not", TRIED],
            allow_archived=False,
            task_filter={
                "type": ["training"],
                "status": list(ENDED_WELL),
                "order_by": [order],
                "page": page,
                "page_size": PAGE,
            },
        )
        yield from (task for task in tasks if name_of(task) == name)
        if len(tasks) < PAGE:
            return


def artifact(task, name: str) -> Path:
    """Fetch a file that a training left; a local copy, which must not be changed.

    Raises:
        InputError: It is missing, or lies on another machine's disk.
    """
    found = task.artifacts.get(name)
    if found is None:
        raise InputError(
            f"task {task.id} has no artifact {name}; it is not a training of this "
            "project, or did not finish"
        )
    local = found.get_local_copy(raise_on_error=False)
    if local is None or not Path(local).is_file():
        remedy = (
            "train again with an output_uri that every machine can reach"
            if found.url.startswith("file://")
            else "is the file server running?"
        )
        raise InputError(f"cannot fetch {name} from {found.url}; {remedy}")
    return Path(local)


def fetch(task, names: tuple[str, ...], folder: Path) -> Path:
    """Copy a training's artifacts into ``folder``.

    Raises:
        InputError: As `artifact`.
    """
    for name in names:
        shutil.copyfile(artifact(task, name), folder / name)
    return folder


def raw_dataset(dataset_id: str) -> str:
    """Find the raw ClearML Dataset that a prepared one was made from.

    Returns:
        Its id; "" if it was made from folders, or nobody knows.
    """
    from clearml import Task

    try:
        dataset = Task.get_task(task_id=dataset_id)
    except ValueError:  # it was deleted
        return ""
    # a Dataset's task has its name
    if raw_id := dataset.get_parameter(f"Datasets/{raw_name(dataset.name)}"):
        return raw_id
    # Datasets of earlier versions do not say; the step that made them does
    makers = Task.get_tasks(
        project_name=PROJECT,
        task_filter={
            "type": ["data_processing"],
            "_all_": {
                "fields": ["hyperparams.Outputs.dataset_id.value"],
                "pattern": f"^{dataset_id}$",
            },
            "page": 0,
            "page_size": 1,
        },
    )
    return (makers[0].get_parameter("Args/dataset_id") or "") if makers else ""
