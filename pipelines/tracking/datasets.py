"""ClearML Datasets: raw folders in, prepared folders in, local copies out."""

import hashlib
import importlib.util
import shutil
import zipfile
from pathlib import Path, PurePosixPath
from typing import Iterable, Iterator, Mapping, Sequence

from data_prep import containers
from data_prep.errors import InputError
from data_prep.model_name import DEFAULT
from data_prep.paths import data_home
from data_prep.sources import Listing, find_images
from pipelines.tracking.connection import quiet_sdk

PROJECT = "ASL"
PREPARED = "ASL"
RAW = f"{PREPARED}_raw"  # of the model asl
UPLOADED = ".dataset"  # ends the name of a note beside a folder: as which Dataset
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
    from clearml import Dataset

    raw = raw_name(prepared_name(name))
    parent = _newest(raw)
    entries = parent.file_entries_dict if parent else {}
    known = {k: x for k, x in entries.items() if not _is_under(k, [COLLECTED])}
    if not any(_is_under(file, [*folders, COLLECTED]) for file in entries):
        parent = None
    elif _same(known, folders):
        return parent.id
    dataset = Dataset.create(
        dataset_name=raw,
        dataset_project=PROJECT,
        parent_datasets=[parent.id] if parent else None,
    )
    for name, path in folders.items():
        if not path.is_dir():
            inside = PurePosixPath(name).parent.as_posix()
            dataset.add_files(str(path), dataset_path=None if inside == "." else inside)
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
    return _finish(dataset, output_uri)


def collect_raw(folder: Path, name: str = DEFAULT) -> tuple[str, set[str]]:
    """Add class folders to what was collected in a model's raw Dataset: a new version.

    Returns:
        The new version's id, and the classes that have been collected so far.
    """
    from clearml import Dataset

    raw = raw_name(prepared_name(name))
    parent = _newest(raw)
    dataset = Dataset.create(
        dataset_name=raw,
        dataset_project=PROJECT,
        parent_datasets=[parent.id] if parent else None,
    )
    dataset.add_files(str(folder), dataset_path=COLLECTED)
    files = [PurePosixPath(x) for x in dataset.list_files()]
    classes = {x.parent.name for x in files if x.parts[0] == COLLECTED}
    return _finish(dataset, None), classes


def forget_raw(stems: Iterable[str], name: str = DEFAULT) -> str | None:
    """Make a version of a model's raw Dataset without some files, a child of the last.

    Args:
        stems: Names of the files, without folder and suffix.
        name: Of the model.

    Returns:
        Its id; None if the newest has none of them.
    """
    from clearml import Dataset

    raw = raw_name(prepared_name(name))
    parent, wanted = _newest(raw), set(stems)
    if parent is None:
        return None
    files = [x for x in parent.list_files() if PurePosixPath(x).stem in wanted]
    if not files:
        return None
    dataset = Dataset.create(
        dataset_name=raw, dataset_project=PROJECT, parent_datasets=[parent.id]
    )
    for file in files:
        dataset.remove_files(file)
    return _finish(dataset, None)


def linked_folders(folder: Path) -> Iterator[tuple[str, str]]:
    """Find the links to folders: path of each in ``folder``, and where it leads."""
    for current, folders, _ in containers.walk(folder):
        for path in (Path(current, name) for name in folders):
            if path.is_symlink():
                yield path.relative_to(folder).as_posix(), str(path.resolve())


def find_version(folders: Mapping[str, Path], name: str = DEFAULT) -> str | None:
    """The id of the last version of a model's raw Dataset if it holds exactly these
    folders."""
    last = _newest(raw_name(prepared_name(name)))
    return last.id if last and _same(last.file_entries_dict, folders) else None


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
    from clearml import Dataset, Task

    prepared = prepared_name(name)
    of = raw_name(prepared)
    raw = Task.get_task(task_id=raw_id) if raw_id else None
    dataset = Dataset.create(
        dataset_name=prepared,
        dataset_project=PROJECT,
        dataset_tags=[f"{of} {raw_id}"] if raw else None,
        description=(
            f"Prepared from {of} {raw_id}: {raw.get_output_log_web_page()}"
            if raw
            else f"Prepared from folders that are no version of {of}"
        ),
    )
    if raw:
        task = Task.get_task(task_id=dataset.id)
        task.set_parameter(f"Datasets/{of}", raw_id)
    dataset.add_files(str(folder))
    dataset_id = _finish(dataset, output_uri)
    Path(f"{folder}{UPLOADED}").write_text(dataset_id)
    return dataset_id


def uploaded_here(dataset) -> Path | None:
    """Find the prepared folder that this machine uploaded as a Dataset, if it is still
    there and all its files have their sizes: a copy would be the same again."""
    for note in (data_home() / "runs").glob(f"*/*{UPLOADED}"):
        folder = note.with_name(note.name.removesuffix(UPLOADED))
        if note.read_text() == dataset.id and not lacking(dataset.file_entries, folder):
            return folder
    return None


def local_copy(dataset_id: str) -> Path:
    """Fetch a Dataset to this machine, read-only by convention: a shared cache, or the
    folder that it was uploaded from.

    The running task records, by the Dataset's name, that it used it.

    Raises:
        InputError: No such Dataset, or its files cannot all be written here.
    """
    from clearml import Dataset, Task

    try:
        name = Task.get_task(task_id=dataset_id).name
        with quiet_sdk():
            dataset = Dataset.get(dataset_id=dataset_id, alias=name)
    except ValueError as error:
        raise InputError(
            f"there is no ClearML Dataset {dataset_id} ({error}); list them in the web "
            "UI or register one with python -m data_prep.validate --register"
        ) from None
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


def newest_dataset(name: str = DEFAULT) -> str:
    """Find the newest complete version of a model's prepared Dataset; return its id.

    Raises:
        InputError: There is none.
    """
    newest = _newest(prepared_name(name))
    if newest is None:
        option = "" if name == DEFAULT else f" --name {name}"
        raise InputError(
            f"there is no completed Dataset {prepared_name(name)} in ClearML; make one "
            f"with python -m data_prep.prepare{option}"
        )
    return newest.id


def _newest(name: str):
    """The newest complete Dataset of this name, None if there is none."""
    from clearml import Dataset

    versions = Dataset.list_datasets(
        dataset_project=PROJECT, partial_name=f"^{name}$", only_completed=True
    )
    if not versions:
        return None
    last = max(versions, key=lambda version: str(version["created"]))
    return Dataset.get(dataset_id=last["id"], silence_alias_warnings=True)


def _same(known: dict, folders: Mapping[str, Path]) -> bool:
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


def _is_under(file: str, names: Iterable[str]) -> bool:
    return any(file == name or file.startswith(f"{name}/") for name in names)


def _finish(dataset, output_uri: str | None) -> str:
    # Not deflated: photographs are compressed already, and prepared pixels shrink to
    # half, but at some 25 MB/s of a core. Only a slow network would make up for that.
    dataset.upload(
        output_url=output_uri or None,
        show_progress=False,
        compression=zipfile.ZIP_STORED,
    )
    dataset.finalize()
    return dataset.id
