"""Which trainings ClearML knows, and which of them is the best.

A training is a task of the type "training" in the project; a clone or an agent's run
may carry another name, but its type does not change. The tag ``best`` is on the one
that `pipelines.promote` chose. A training that is archived or tagged ``rejected``
counts no more.
"""

import hashlib
import shutil
from pathlib import Path
from typing import Iterator

from data_prep.errors import InputError
from pipelines.tracking.connection import quiet_sdk
from pipelines.tracking.datasets import PROJECT, RAW

ENDED_WELL = ("completed", "published")
# The scalar, an epoch, whose best value orders trainings and guides searches: title and
# series. The test split must not: who is chosen by it has seen it.
METRIC = ("accuracy", "val")
BEST = "best"
REJECTED = "rejected"
TRIED = "fast-dev-run"  # a run that only tried the code
PAGE = 20  # trainings a query


def find_training(which: str):
    """Find a completed training task of the project.

    Args:
        which: "last" by time of completion; "best": the promoted one, or, where none
            is promoted, that of the highest validation accuracy; or an id.

    Raises:
        InputError: There is none, or it did not complete.
    """
    if which == "last":
        found = next(ordered("-completed"), None)
    elif which == BEST:
        found = promoted() or next(ordered(), None)
    else:
        return get(which)
    if found is None:
        raise InputError(
            f"no completed training task in project {PROJECT}; run python -m "
            "training.train first"
        )
    return found


def get(task_id: str):
    """Fetch one training by its id.

    Raises:
        InputError: There is none, or it did not complete.
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
    return task


def promoted():
    """The training that is tagged as the best one, None if there is none."""
    return next(ordered("-last_change", [BEST]), None)


def tagged_best() -> list:
    """All trainings that carry the tag, archived ones as well."""
    from clearml import Task

    return Task.get_tasks(
        project_name=PROJECT, tags=["__$all", BEST], task_filter={"type": ["training"]}
    )


def ordered(order: str = "", tags: list[str] | None = None) -> Iterator:
    """Give the project's completed trainings in the server's order, page by page.

    Args:
        order: A field, with "-" for the highest first; default: by validation accuracy.
        tags: All of them must be there.
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
        yield from tasks
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
    if raw_id := dataset.get_parameter(f"Datasets/{RAW}"):
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
