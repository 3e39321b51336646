"""Copies of ClearML Datasets on this machine, checked to be whole."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from data_prep.errors import InputError
from data_prep.paths import data_home
from data_prep.sources import Listing, find_images
from pipelines.tracking.connection import quiet_sdk

UPLOADED = ".dataset"  # ends the name of a note beside a folder: as which Dataset


def find_raw(
    folders: Sequence[str] | None, dataset_id: str | None, classes=(), limit: int = 0
) -> Listing:
    """List the images that a step's ``--raw`` or ``--dataset-id`` asks for.

    The paths and sources in the listing are the same for both.

    Raises:
        InputError: Neither or both are given, or there is nothing in them.
    """
    if bool(folders) == bool(dataset_id):
        raise InputError(
            "give raw images either by --raw DIR or by --raw-dataset-id ID of a "
            "ClearML Dataset" + (", not by both" if folders else "")
        )
    if folders:
        return find_images(folders, classes, limit)
    return find_images([local_copy(dataset_id or "")], classes, limit, names=[""])


def check_dataset(dataset_id: str) -> str:
    """Check that there is a Dataset of this id; return its name.

    Raises:
        InputError: There is none.
    """
    from clearml import Task

    with no_dataset_is_input_error(dataset_id), quiet_sdk():
        return Task.get_task(task_id=dataset_id).name


@contextmanager
def no_dataset_is_input_error(dataset_id: str) -> Iterator[None]:
    """Say what to do where there is no such Dataset."""
    try:
        yield
    except ValueError as error:
        raise InputError(
            f"there is no ClearML Dataset {dataset_id} ({error}); list them in the web "
            "UI or register one with python -m data_prep.validate --register"
        ) from None


def local_copy(dataset_id: str) -> Path:
    """Fetch a Dataset to this machine, read-only by convention: a shared cache, or the
    folder that it was uploaded from.

    The running task records, by the Dataset's name, that it used it.

    Raises:
        InputError: No such Dataset, or its files cannot all be written here.
    """
    from clearml import Dataset

    name = check_dataset(dataset_id)
    with no_dataset_is_input_error(dataset_id), quiet_sdk():
        dataset = Dataset.get(dataset_id=dataset_id, alias=name)
    if folder := uploaded_here(dataset):
        return folder
    try:
        folder = Path(dataset.get_local_copy())
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"Dataset {dataset_id} cannot be copied to this machine ({reason}); is the "
            "file server running, and is there room on the disk?"
        ) from None
    check_whole(dataset_id, [*dataset.file_entries, *dataset.link_entries], folder)
    return folder


def uploaded_here(dataset) -> Path | None:
    """Find the prepared folder that this machine uploaded as a Dataset, if it is still
    there and all its files have their sizes: a copy would be the same again."""
    for note in (data_home() / "runs").glob(f"*/*{UPLOADED}"):
        folder = note.with_name(note.name.removesuffix(UPLOADED))
        if note.read_text() == dataset.id and not lacking(dataset.file_entries, folder):
            return folder
    return None


def check_whole(dataset_id: str, entries: Sequence, folder: Path) -> None:
    """Check that a copy of a Dataset has all its files, with their sizes.

    The SDK logs what it could not write, as on a full disk, and goes on without it.

    Args:
        entries: What the Dataset says of its files: relative_path; size in bytes, None
            if nobody knows it.

    Raises:
        InputError: Some are missing or too short.
    """
    missing = lacking(entries, folder)
    if not missing:
        return
    wanted = sum(entry.size or 0 for entry in missing)
    free = shutil.disk_usage(folder).free
    remedy = (
        "make room there and run the command again"
        if free < 2 * wanted  # the archive, and what is unpacked from it
        else "run the command again; if that does not help, make the Dataset anew"
    )
    raise InputError(
        f"the copy of Dataset {dataset_id} in {folder} lacks {len(missing)} of its "
        f"{len(entries)} files, such as {missing[-1].relative_path}; they take "
        f"{wanted / 1e6:,.0f} MB, and {free / 1e6:,.0f} MB are free: {remedy}"
    )


def lacking(entries: Sequence, folder: Path) -> list:
    """Those of a Dataset's entries whose files a folder lacks, the largest last."""
    missing = []
    for entry in entries:
        path = folder / entry.relative_path
        if not path.is_file() or entry.size not in (None, path.stat().st_size):
            missing.append(entry)
    return sorted(missing, key=lambda entry: entry.size or 0)
