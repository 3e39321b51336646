"""ClearML Datasets: how they are named, and which there are."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from data_prep import containers
from data_prep.errors import InputError
from data_prep.model_name import DEFAULT
from pipelines.tracking.connection import quiet_sdk

PROJECT = "ASL"
PREPARED = "ASL"
RAW = f"{PREPARED}_raw"  # of the model asl
COLLECTED = "collected"  # the folder in a raw Dataset of what pipelines.collect added


def prepared_name(name: str) -> str:
    """What the prepared Dataset of a model is called: "ASL", else as the model."""
    return PREPARED if name == DEFAULT else name


def raw_name(prepared: str) -> str:
    """What the raw Dataset is called that a prepared one is made from."""
    return f"{prepared}_raw"


def model_of(prepared: str) -> str:
    """The name of the model that a prepared Dataset is for, by the Dataset's name."""
    return DEFAULT if prepared == PREPARED else prepared


def model_of_raw(dataset_id: str, otherwise: str) -> str:
    """The name of the model that a raw Dataset is for; ``otherwise`` if it has gone."""
    from clearml import Task

    try:
        raw = Task.get_task(task_id=dataset_id).name
    except ValueError:
        return otherwise
    return model_of(raw.removesuffix(raw_name("")))


def newest_dataset(name: str = DEFAULT) -> str:
    """Find the newest complete version of a model's prepared Dataset; return its id.

    Raises:
        InputError: There is none.
    """
    found = newest(prepared_name(name))
    if found is None:
        option = "" if name == DEFAULT else f" --name {name}"
        raise InputError(
            f"there is no completed Dataset {prepared_name(name)} in ClearML; make one "
            f"with python -m data_prep.prepare{option}"
        )
    return found.id


def newest(name: str):
    """The newest complete Dataset of this name, None if there is none."""
    from clearml import Dataset

    with quiet_sdk():
        versions = Dataset.list_datasets(
            dataset_project=PROJECT, partial_name=f"^{name}$", only_completed=True
        )
    if not versions:
        return None
    last = max(versions, key=lambda version: str(version["created"]))
    return Dataset.get(dataset_id=last["id"], silence_alias_warnings=True)


def find_version(folders: Mapping[str, Path], name: str = DEFAULT) -> str | None:
    """The id of the last version of a model's raw Dataset if it holds exactly these
    folders."""
    last = newest(raw_name(prepared_name(name)))
    return last.id if last and holds_exactly(last.file_entries_dict, folders) else None


def holds_exactly(known: dict, folders: Mapping[str, Path]) -> bool:
    """Does a Dataset, given by its entries, hold exactly these folders?"""
    found = {}
    for name, path in folders.items():
        if path.is_dir():
            inside = containers.files_below(path)
            found |= {f"{name}/{p.relative_to(path).as_posix()}": p for p in inside}
        else:
            found[name] = path
    if {file: path.stat().st_size for file, path in found.items()} != {
        file: entry.size for file, entry in known.items()
    }:
        return False
    return all(known[file].hash == _sha256(path) for file, path in found.items())


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_model(dataset_id: str, name: str) -> None:
    """Check that a prepared Dataset is for the model of this name.

    Raises:
        InputError: It is another one's, or there is none.
    """
    from clearml import Task

    try:
        owner = model_of(Task.get_task(task_id=dataset_id).name)
    except ValueError:
        owner = name  # fetching it says what is wrong
    if owner != name:
        raise InputError(
            f"Dataset {dataset_id} was prepared for the model {owner}, not for {name}; "
            f"give --name {owner}, or prepare one with --name {name}"
        )


def note_use(task, dataset_id: str) -> None:
    """Record on a task that it used a Dataset, as the SDK does where it fetches one."""
    from clearml import Task

    name = Task.get_task(task_id=dataset_id).name
    task.set_parameter(f"Datasets/{name}", dataset_id)
