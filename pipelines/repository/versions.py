"""The Triton model repository: where versions are added and one of them is current.

    <repository>/
        asl/                config.pbtxt   1/README   7/deployment.json
        asl_classifier/     config.pbtxt   1/README
        asl_classifier_7/   config.pbtxt   classes.txt  golden.npz  warmup/pixels
                            1/model.onnx
        asl_fused_7/        config.pbtxt   classes.txt  warmup/photograph
                            1/model.py, model.onnx, ...
        current.json        a copy of the current version's deployment.json
        .lock               held by whoever changes any of this
        .last-version       the last number given to a version
        flowers/, flowers_fused_3/, current.flowers.json, .last-version.flowers, ...
                            the same of a model of another name
        .server-*.json      where a server of it answers; see `running_server`
        .server-*.key       what loading models there takes; see `server_keys`

(asl_decode_7 instead of asl_fused_7 where that is the shape. To Triton all models have
the version 1; see `model_config`.)
A version is complete once its deployment.json is there: then it has been accepted, and
only such versions can become current, by a deployment, a rollback or a repair. It is
withdrawn while it is newer than the current one. If another version is deployed then,
it stays withdrawn for ever, and the file asl/7/withdrawn says so.
"""

import fcntl
import json
import os
import shutil
import sys
import tempfile
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Iterator

from data_prep.errors import InputError
from data_prep.model_name import DEFAULT
from pipelines.repository import model_config, model_parts, preflight
from pipelines.repository.graph_check import check_graph
from pipelines.repository.layout import (
    CURRENT_FILE,
    DEPLOYMENT_FILE,
    NUMBER_FILE,
    deployed_names,
    known_names,
    numbers,
    part_folders,
    served_names,
    state_file,
)
from pipelines.repository.model_config import CONFIG_FILE, Settings
from training.reports import GRAPH_FILE

WITHDRAWN_FILE = "withdrawn"
LOCK_FILE = ".lock"
STAGING = ".staging-"
README = "Triton's one version of this model; the version served is in config.pbtxt.\n"


def render(
    artifacts: Path,
    repository: Path,
    metadata: dict[str, str],
    settings: Settings = Settings(),
    name: str = DEFAULT,
) -> int:
    """Check a trained model, add it as the next version and make it the current one.

    A server that runs is not told; `deployment.deploy` does all of it.

    Args:
        artifacts: Folder with ``model.onnx``, ``classes.txt``, ``preprocessing.json``
            and ``golden.npz``.
        repository: Is created if missing.
        metadata: Where the model comes from (task id, dataset id, accuracy, ...);
            becomes part of the configs and of ``deployment.json``.

    Returns:
        The version number, one above the highest so far.

    Raises:
        InputError: The files do not fit each other or the target; nothing has changed.
    """
    preflight.check(Path(artifacts))
    with lock(repository):
        repair(repository)
        record = add(artifacts, repository, metadata, settings, name)
        set_current(repository, record)
    return record["version"]


@contextmanager
def lock(repository: Path, wait: bool = True) -> Iterator[bool]:
    """Keep others from changing a repository; waits until they have finished.

    The lock is released when the process that holds it ends, however that happens.

    Yields:
        Whether it had to wait for others.

    Raises:
        BlockingIOError: Others are at work, and ``wait`` is false.
    """
    try:
        Path(repository).mkdir(parents=True, exist_ok=True)
        file = open(Path(repository) / LOCK_FILE, "a")
    except OSError as error:
        raise InputError(
            f"{repository} cannot be written ({error.strerror}); name another folder "
            "with --repository"
        ) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            waited = False
        except BlockingIOError:
            if not wait:
                raise
            fcntl.flock(file, fcntl.LOCK_EX)
            waited = True
        yield waited


def add(
    artifacts: Path,
    repository: Path,
    metadata: dict[str, str],
    settings: Settings,
    name: str = DEFAULT,
) -> dict:
    """Put the parts of a checked model in place; what is served stays as it is.

    Returns:
        The record of the new version, which `commit` completes.
    """
    artifacts, repository = Path(artifacts), Path(repository)
    version = next_number(repository, name)
    described = model_parts.describe(artifacts, metadata, settings)
    shapes = check_graph(artifacts / GRAPH_FILE)
    said = described["metadata"] | {"precision": settings.precision}
    parts = model_config.parts(shapes, version, said, settings, name)
    try:
        for kind, config in parts.items():
            with staged(repository / config.name) as folder:
                (folder / "1").mkdir()
                model_parts.fill(kind, artifacts, folder, settings)
                write_text(folder / CONFIG_FILE, model_config.to_text(config))
    except BaseException as error:
        remove(repository, version, name)
        if isinstance(error, OSError):
            raise InputError(f"{repository}: {error}; make room there") from None
        raise
    return {
        "name": name,
        "version": version,
        "deployed": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        **described,
    }


def name_of(record: dict) -> str:
    """The name of a version's model; records from before models had names have none."""
    return record.get("name", DEFAULT)


def folders_of(repository: Path, record: dict) -> dict[str, Path]:
    """Find the folders of the parts of a version, by kind."""
    return part_folders(repository, record["version"], name_of(record))


def next_number(repository: Path, name: str) -> int:
    """Give a number to a new version, never one twice.

    The server may still be busy loading parts of a deployment that was killed, and can
    hang in that when their files have gone; their names must not be used again.
    """
    path = state_file(repository, NUMBER_FILE, name)
    last = int(path.read_text(encoding="utf-8")) if path.is_file() else 0
    number = max([*numbers(repository, name), last]) + 1
    write_text(path, f"{number}\n")
    return number


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """Give a folder to be filled, that becomes ``target`` at the end of the block."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=STAGING) as temporary:
        folder = Path(temporary) / target.name
        folder.mkdir()
        yield folder
        os.replace(folder, target)


def commit(repository: Path, record: dict) -> None:
    """Declare a version complete, if it is not: its parts are there and trusted."""
    name = name_of(record)
    folder = Path(repository) / name / str(record["version"])
    if record["version"] not in versions(repository, name):
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / DEPLOYMENT_FILE, record)


def set_current(repository: Path, record: dict) -> None:
    """Note a version as the current one, and pass requests on to it.

    The note is written first: if this process is killed then, `repair` does the rest.
    """
    commit(repository, record)
    name, version = name_of(record), record["version"]
    before = current_number(repository, name)
    for skipped in versions(repository, name):
        if before < skipped < version:
            (Path(repository) / name / str(skipped) / WITHDRAWN_FILE).touch()
    write_json(state_file(repository, CURRENT_FILE, name), record)
    route_to(repository, version, name)


def route_to(repository: Path, version: int, name: str = DEFAULT) -> None:
    """Write the configs of what clients call; `current` stays as it is."""
    described = {
        kind: model_config.from_text((folder / CONFIG_FILE).read_text("utf-8"))
        for kind, folder in part_folders(repository, version, name).items()
    }
    for called, config in model_config.served(described, version, name).items():
        only = Path(repository) / called / str(model_config.SERVED_NUMBER)
        only.mkdir(parents=True, exist_ok=True)
        if not (only / "README").is_file():
            # an empty folder would not survive a copy to a bucket
            write_text(only / "README", README)
        write_text(only.parent / CONFIG_FILE, model_config.to_text(config))


def repair(repository: Path) -> None:
    """Undo what killed deployments began: all current versions are served, whole.

    If the files of one have gone, the newest one before it becomes the current one. The
    caller holds the lock, so nobody is at work on what is removed here.
    """
    repository = Path(repository)
    names = known_names(repository)
    served = [called for name in names for called in served_names(name)]
    for folder in (repository, *(repository / called for called in served)):
        for leftover in folder.glob(f"{STAGING}*"):
            shutil.rmtree(leftover)
    for name in names:
        complete = versions(repository, name)
        for version in numbers(repository, name):
            if version not in complete:
                remove(repository, version, name)
        now = current_number(repository, name)
        if now in complete:
            route_to(repository, now, name)
        elif now:
            fall_back(repository, now, name)


def fall_back(repository: Path, lost: int, name: str) -> None:
    """Make the newest version current, rather one that has not been withdrawn."""
    complete, bad = versions(repository, name), withdrawn(repository, name)
    if complete:
        version = max(complete, key=lambda version: (version not in bad, version))
        set_current(repository, deployment(repository, version, name))
        then = f"version {version} is the current one instead"
    else:
        state_file(repository, CURRENT_FILE, name).unlink()
        then = "there is no other one"
    print(
        f"warning: {repository}: files of version {lost} of {name} are missing; {then}",
        file=sys.stderr,
    )


def prune(repository: Path, keep: int, name: str = DEFAULT) -> list[int]:
    """Remove all but the current version and what is left of the ``keep`` before it.

    Of those withdrawn since only the last stays: a server that polls may be on it yet.

    Returns:
        The versions removed.
    """
    now, bad = current_number(repository, name), withdrawn(repository, name)
    old = [version for version in versions(repository, name) if version < now]
    good = [version for version in old if version not in bad]
    oldest = [*good[max(0, len(good) - keep) :], now][0]
    withdrawn_before = [version for version in old if version in bad][:-1]
    gone = [v for v in old if v < oldest or v in withdrawn_before]
    for version in gone:
        remove(repository, version, name)
    return gone


def remove(repository: Path, version: int, name: str = DEFAULT) -> None:
    """Remove all files of a version."""
    folder = Path(repository) / name / str(version)
    # the first, since without it the version is incomplete
    for file in (DEPLOYMENT_FILE, WITHDRAWN_FILE):
        (folder / file).unlink(missing_ok=True)
    if version != model_config.SERVED_NUMBER:
        shutil.rmtree(folder, ignore_errors=True)
    for folder in part_folders(repository, version, name).values():
        shutil.rmtree(folder)


def versions(repository: Path, name: str = DEFAULT) -> list[int]:
    """List the versions that can be served, in ascending order."""
    return [
        version
        for version in numbers(repository, name)
        if (Path(repository) / name / str(version) / DEPLOYMENT_FILE).is_file()
        and len(part_folders(repository, version, name)) == 2
    ]


def withdrawn(repository: Path, name: str = DEFAULT) -> list[int]:
    """List the versions that were rolled back, or never became current."""
    now, folder = current_number(repository, name), Path(repository) / name
    return [
        version
        for version in versions(repository, name)
        if version > now or (folder / str(version) / WITHDRAWN_FILE).is_file()
    ]


def deployment(repository: Path, version: int, name: str = DEFAULT) -> dict:
    """Read the record of a version: when, how and with which metadata it was added.

    Raises:
        InputError: There is no such version.
    """
    if version not in versions(repository, name):
        known = ", ".join(map(str, versions(repository, name))) or "none"
        raise InputError(
            f"{repository}: no version {version} of {name}; it has: {known}"
        )
    path = Path(repository) / name / str(version) / DEPLOYMENT_FILE
    return json.loads(path.read_text(encoding="utf-8"))


def current(repository: Path, name: str = DEFAULT) -> dict:
    """Read the record of the version that is being served.

    Raises:
        InputError: Nothing has been deployed there.
    """
    path = state_file(repository, CURRENT_FILE, name)
    if not path.is_file():
        others = ", ".join(deployed_names(repository))
        option = "" if name == DEFAULT else f" --name {name}"
        raise InputError(
            f"{repository}: no model has been deployed there"
            + (f" of the name {name}, but {others}; name one, or" if others else ";")
            + f" make one with scripts/quickstart{option}, or train one, then run "
            f"python -m pipelines.deploy{option}"
        )
    return json.loads(path.read_text(encoding="utf-8"))


def all_current(repository: Path) -> list[dict]:
    """Read the records of all versions that are being served, one a name.

    Raises:
        InputError: Nothing has been deployed there.
    """
    names = deployed_names(repository)
    return [current(repository, name) for name in names or [DEFAULT]]


def current_number(repository: Path, name: str = DEFAULT) -> int:
    """The number of the version that is being served; 0 if nothing is deployed."""
    deployed = state_file(repository, CURRENT_FILE, name).is_file()
    return current(repository, name)["version"] if deployed else 0


def write_json(path: Path, value: dict) -> None:
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old or the new text, never a part."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
