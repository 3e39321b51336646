"""New versions of ClearML Datasets: raw folders in, prepared folders in."""

import importlib.util
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from data_prep import containers
from data_prep.errors import InputError
from data_prep.figures import counted
from data_prep.model_name import DEFAULT
from pipelines.tracking.connection import check_connection
from pipelines.tracking.dataset_copies import UPLOADED
from pipelines.tracking.datasets import (
    COLLECTED,
    PROJECT,
    holds_exactly,
    newest,
    prepared_name,
    raw_name,
)
from pipelines.tracking.uploads import must_arrive


def register_raw(
    folders: Mapping[str, Path], output_uri: str | None = None, name: str = DEFAULT
) -> str:
    """Bring raw folders, archives or tables into a model's raw ClearML Dataset.

    If its last version holds one of them already, the new version is a child of that:
    it stores only what was added or changed, and forgets what is gone, but for what
    was collected from the request log. Nothing new makes no version.

    Args:
        folders: Each under its name in the Dataset.
        name: Of the model.

    Returns:
        The id of the version that holds exactly these folders, and what was collected.
    """
    raw = raw_name(prepared_name(name))
    parent = newest(raw)
    entries = parent.file_entries_dict if parent else {}
    known = {k: x for k, x in entries.items() if not _is_under(k, [COLLECTED])}
    if not any(_is_under(file, [*folders, COLLECTED]) for file in entries):
        parent = None
    elif holds_exactly(known, folders):
        return parent.id
    with new_version(raw, output_uri, parent) as dataset:
        for name, path in folders.items():
            if not path.is_dir():
                inside = PurePosixPath(name).parent.as_posix()
                place = None if inside == "." else inside
                dataset.add_files(str(path), dataset_path=place)
                continue
            if parent:
                dataset.sync_folder(str(path), dataset_path=name)
            else:
                dataset.add_files(str(path), dataset_path=name)
            for link, real in linked_folders(path):  # ClearML passes over them
                dataset.add_files(real, dataset_path=f"{name}/{link}")
        if parent:
            for file in dataset.list_files():
                if not _is_under(file, [*folders, COLLECTED]):
                    dataset.remove_files(file)
    return dataset.id


def collect_raw(folder: Path, name: str = DEFAULT) -> tuple[str, set[str]]:
    """Add class folders to what was collected in a model's raw Dataset: a new version.

    Returns:
        The new version's id, and the classes that have been collected so far.
    """
    raw = raw_name(prepared_name(name))
    parent = newest(raw)
    with new_version(raw, None, parent) as dataset:
        dataset.add_files(str(folder), dataset_path=COLLECTED)
        files = [PurePosixPath(x) for x in dataset.list_files()]
    classes = {x.parent.name for x in files if x.parts[0] == COLLECTED}
    return dataset.id, classes


def forget_raw(stems: Iterable[str], name: str = DEFAULT) -> str | None:
    """Make a version of a model's raw Dataset without some files, a child of the last.

    Args:
        stems: Names of the files, without folder and suffix.
        name: Of the model.

    Returns:
        Its id; None if the newest has none of them.
    """
    raw = raw_name(prepared_name(name))
    parent, wanted = newest(raw), set(stems)
    if parent is None:
        return None
    files = [x for x in parent.list_files() if PurePosixPath(x).stem in wanted]
    if not files:
        return None
    with new_version(raw, None, parent) as dataset:
        for file in files:
            dataset.remove_files(file)
    return dataset.id


def linked_folders(folder: Path) -> Iterator[tuple[str, str]]:
    """Find the links to folders: path of each in ``folder``, and where it leads."""
    for current, folders, _ in containers.walk(folder):
        for path in (Path(current, name) for name in folders):
            if path.is_symlink():
                yield path.relative_to(folder).as_posix(), str(path.resolve())


def upload_prepared(
    folder: str | Path,
    output_uri: str | None = None,
    raw_id: str | None = None,
    name: str = DEFAULT,
) -> str:
    """Upload a prepared folder as a new version of a model's prepared Dataset.

    Args:
        raw_id: The Dataset that it was prepared from. It becomes a parameter of the new
            one's task, a tag to filter by, and its description a link. It is no parent:
            that would mix its files into the new Dataset.
        name: Of the model.

    Returns:
        The Dataset's id.
    """
    from clearml import Task

    prepared = prepared_name(name)
    of = raw_name(prepared)
    raw = Task.get_task(task_id=raw_id) if raw_id else None
    with new_version(
        prepared,
        output_uri,
        dataset_tags=[f"{of} {raw_id}"] if raw else None,
        description=(
            f"Prepared from {of} {raw_id}: {raw.get_output_log_web_page()}"
            if raw
            else f"Prepared from folders that are no version of {of}"
        ),
    ) as dataset:
        if raw:
            task = Task.get_task(task_id=dataset.id)
            task.set_parameter(f"Datasets/{of}", raw_id)
        dataset.add_files(str(folder))
    Path(f"{folder}{UPLOADED}").write_text(dataset.id)
    return dataset.id


def check_destination(output_uri: str | None) -> None:
    """Make sure, before any work is done, that Datasets can be written there.

    Raises:
        InputError: A folder cannot be made, or a store's package, its address or the
            keys to it are missing or wrong.
    """
    if not output_uri:
        return
    if output_uri.startswith("file://"):  # must exist beforehand
        try:
            Path(output_uri.removeprefix("file://")).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"--output-uri {output_uri} cannot be made ({error.strerror}); choose "
                "another folder"
            ) from None
        return
    check_connection(
        "the store of --output-uri", output_uri, "start it, or choose another place"
    )
    if output_uri.startswith("s3://") and importlib.util.find_spec("boto3") is None:
        raise InputError(
            f"--output-uri {output_uri} needs boto3: pip install boto3, or choose "
            "another place"
        )
    from clearml.storage.helper import StorageHelper

    try:
        store = StorageHelper.get(output_uri)
        if not store:
            raise ValueError("no access")
        store.check_write_permissions(output_uri)
    except ValueError as error:
        raise InputError(
            f"--output-uri {output_uri} cannot be written ({error}); check the address "
            "and the keys for it, in sdk.aws.s3 of clearml.conf or AWS_ACCESS_KEY_ID "
            "and AWS_SECRET_ACCESS_KEY"
        ) from None


@contextmanager
def new_version(
    name: str, output_uri: str | None, parent=None, **more: Any
) -> Iterator[Any]:
    """Make a version of a Dataset: it is filled within the block, and whole after it.

    Where that fails it is marked as failed: otherwise ClearML would show for ever that
    it is being made.

    Args:
        parent: The version that it has all files of to begin with; None: of none.
        more: Handed on to the SDK.
    """
    from clearml import Dataset, Task

    dataset = Dataset.create(
        dataset_name=name,
        dataset_project=PROJECT,
        parent_datasets=[parent.id] if parent else None,
        **more,
    )
    try:
        yield dataset
        _finish(dataset, output_uri)
    except BaseException as error:
        reason = str(error) or "interrupted"
        Task.get_task(task_id=dataset.id).mark_failed(status_reason=reason)
        raise


def _is_under(file: str, names: Iterable[str]) -> bool:
    return any(file == name or file.startswith(f"{name}/") for name in names)


def _finish(dataset, output_uri: str | None) -> None:
    # Not deflated: photographs are compressed already, and prepared pixels shrink to
    # half, but at some 25 MB/s of a core. Only a slow network would make up for that.
    files = dataset.list_files()
    with must_arrive(f"Dataset {dataset.name}"):
        dataset.upload(
            output_url=output_uri or None,
            show_progress=False,
            compression=zipfile.ZIP_STORED,
        )
        if gone := sorted({*files} - {*dataset.list_files()}):
            count = counted(len(gone), "file is", "files are")
            raise ValueError(f"{count} gone, such as {gone[0]}")
        dataset.finalize()
