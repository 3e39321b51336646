"""ClearML Datasets: raw folders in, prepared folders in, local copies out."""

from pathlib import Path
from typing import Sequence

from data_prep.errors import InputError
from data_prep.sources import Listing, find_images

PROJECT = "ASL"
RAW = "ASL_raw"
PREPARED = "ASL"


def register_raw(folders: Sequence[str | Path], output_uri: str | None = None) -> str:
    """Upload raw folders as a new version of the Dataset ``ASL_raw``.

    Each folder becomes one of the Dataset's, under its own name.

    Returns:
        The Dataset's id.
    """
    from clearml import Dataset

    dataset = Dataset.create(dataset_name=RAW, dataset_project=PROJECT)
    for folder in folders:
        path = Path(folder).expanduser().resolve()
        dataset.add_files(str(path), dataset_path=path.name)
    return _finish(dataset, output_uri)


def upload_prepared(folder: str | Path, output_uri: str | None = None) -> str:
    """Upload a prepared folder as a new version of the Dataset ``ASL``.

    Returns:
        The Dataset's id.
    """
    from clearml import Dataset

    dataset = Dataset.create(dataset_name=PREPARED, dataset_project=PROJECT)
    dataset.add_files(str(folder))
    return _finish(dataset, output_uri)


def local_copy(dataset_id: str, alias: str) -> Path:
    """Fetch a Dataset to this machine, read-only by convention: a shared cache.

    Args:
        alias: By what name the running task records that it used the Dataset.

    Raises:
        InputError: No such Dataset.
    """
    from clearml import Dataset

    try:
        dataset = Dataset.get(dataset_id=dataset_id, alias=alias)
    except ValueError as error:
        raise InputError(
            f"there is no ClearML Dataset {dataset_id} ({error}); list them in the web "
            "UI or register one with python -m data_prep.validate --register"
        ) from None
    return Path(dataset.get_local_copy())


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
            "give raw images either by --raw DIR or by --dataset-id ID of a ClearML "
            "Dataset" + (", not by both" if folders else "")
        )
    if folders:
        return find_images(folders, classes, limit)
    return find_images([local_copy(dataset_id, RAW)], classes, limit, names=[""])


def _finish(dataset, output_uri: str | None) -> str:
    dataset.upload(output_url=output_uri or None, show_progress=False)
    dataset.finalize()
    return dataset.id
