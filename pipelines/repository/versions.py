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
        .server-*.json      where a server of it answers; see `running_server`
        .server-*.key       what loading models there takes; see `server_keys`

(asl_decode_7 instead of asl_fused_7 where that is the shape. To Triton all models have
the version 1; see `model_config`.)
A version is complete once its deployment.json is there: it has been accepted, and is
what deploying, going back and repairing come to. It is withdrawn when it is newer than
the current one, and for ever once another has followed: asl/7/withdrawn says so.
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
from pipelines.repository import model_config, model_parts, preflight
from pipelines.repository.graph_check import check_graph
from pipelines.repository.model_config import (
    CONFIG_FILE,
    MODEL,
    PARTS,
    SERVED,
    Settings,
)

DEPLOYMENT_FILE = "deployment.json"
CURRENT_FILE = "current.json"
WITHDRAWN_FILE = "withdrawn"
LOCK_FILE = ".lock"
NUMBER_FILE = ".last-version"
STAGING = ".staging-"
README = "Triton's one version of this model; the version served is in config.pbtxt.\n"


def render(
    artifacts: Path,
    repository: Path,
    metadata: dict[str, str],
    settings: Settings = Settings(),
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
        record = add(artifacts, repository, metadata, settings)
        set_current(repository, record)
    return record["version"]


@contextmanager
def lock(repository: Path, wait: bool = True) -> Iterator[bool]:
    """Keep others from changing a repository; waits until they have finished.

    The lock goes with the process that holds it, however that ends.

    Yields:
        Whether others had to be waited for.

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
    artifacts: Path, repository: Path, metadata: dict[str, str], settings: Settings
) -> dict:
    """Put the parts of a checked model in place; what is served stays as it is.

    Returns:
        The record of the new version, which `commit` completes.
    """
    artifacts, repository = Path(artifacts), Path(repository)
    version = next_number(repository)
    described = model_parts.describe(artifacts, metadata, settings)
    shapes = check_graph(artifacts / preflight.MODEL_FILE)
    said = described["metadata"] | {"precision": settings.precision}
    parts = model_config.parts(shapes, version, said, settings)
    try:
        for kind, config in parts.items():
            with staged(repository / config.name) as folder:
                (folder / "1").mkdir()
                model_parts.fill(kind, artifacts, folder)
                write_text(folder / CONFIG_FILE, model_config.to_text(config))
    except BaseException as error:
        remove(repository, version)
        if isinstance(error, OSError):
            raise InputError(f"{repository}: {error}; make room there") from None
        raise
    return {
        "version": version,
        "deployed": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        **described,
    }


def next_number(repository: Path) -> int:
    """Give a number to a new version, never one twice.

    The server may still be busy loading parts of a deployment that was killed, and can
    hang in that when their files have gone; their names must not be used again.
    """
    path = repository / NUMBER_FILE
    last = int(path.read_text(encoding="utf-8")) if path.is_file() else 0
    number = max([*numbers(repository), last]) + 1
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
    folder = Path(repository) / MODEL / str(record["version"])
    if record["version"] not in versions(repository):
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / DEPLOYMENT_FILE, record)


def set_current(repository: Path, record: dict) -> None:
    """Note a version as the current one, and pass requests on to it.

    The note comes first: what is to follow it, `repair` does as well.
    """
    commit(repository, record)
    before, version = current_number(repository), record["version"]
    for skipped in versions(repository):
        if before < skipped < version:
            (Path(repository) / MODEL / str(skipped) / WITHDRAWN_FILE).touch()
    write_json(Path(repository) / CURRENT_FILE, record)
    route_to(repository, version)


def route_to(repository: Path, version: int) -> None:
    """Write the configs of what clients call; `current` stays as it is."""
    described = {
        kind: model_config.from_text((folder / CONFIG_FILE).read_text("utf-8"))
        for kind, folder in part_folders(repository, version).items()
    }
    for name, config in model_config.served(described, version).items():
        only = Path(repository) / name / str(model_config.SERVED_NUMBER)
        only.mkdir(parents=True, exist_ok=True)
        if not (only / "README").is_file():
            # an empty folder would not survive a copy to a bucket
            write_text(only / "README", README)
        write_text(only.parent / CONFIG_FILE, model_config.to_text(config))


def repair(repository: Path) -> None:
    """Undo what a killed deployment began: the current version is served, whole.

    If its files have gone, the newest one before it becomes the current one. The caller
    holds the lock, so nobody is at work on what is removed here.
    """
    repository = Path(repository)
    for folder in (repository, *(repository / name for name in SERVED)):
        for leftover in folder.glob(f"{STAGING}*"):
            shutil.rmtree(leftover)
    complete = versions(repository)
    for version in numbers(repository):
        if version not in complete:
            remove(repository, version)
    now = current_number(repository)
    if now in complete:
        route_to(repository, now)
    elif now:
        fall_back(repository, now)


def fall_back(repository: Path, lost: int) -> None:
    """Make the newest version current, rather one that has not been withdrawn."""
    complete, bad = versions(repository), withdrawn(repository)
    if complete:
        version = max(complete, key=lambda version: (version not in bad, version))
        set_current(repository, deployment(repository, version))
        then = f"version {version} is the current one instead"
    else:
        (Path(repository) / CURRENT_FILE).unlink()
        then = "there is no other one"
    print(
        f"warning: {repository}: files of version {lost} are missing; {then}",
        file=sys.stderr,
    )


def prune(repository: Path, keep: int) -> list[int]:
    """Remove all but the current version and what is left of the ``keep`` before it.

    Of those withdrawn since only the last stays: a server that polls may be on it yet.

    Returns:
        The versions removed.
    """
    now, bad = current_number(repository), withdrawn(repository)
    old = [version for version in versions(repository) if version < now]
    good = [version for version in old if version not in bad]
    oldest = [*good[max(0, len(good) - keep) :], now][0]
    withdrawn_before = [version for version in old if version in bad][:-1]
    gone = [v for v in old if v < oldest or v in withdrawn_before]
    for version in gone:
        remove(repository, version)
    return gone


def remove(repository: Path, version: int) -> None:
    """Remove all files of a version."""
    folder = Path(repository) / MODEL / str(version)
    # the first, since without it the version is incomplete
    for name in (DEPLOYMENT_FILE, WITHDRAWN_FILE):
        (folder / name).unlink(missing_ok=True)
    if version != model_config.SERVED_NUMBER:
        shutil.rmtree(folder, ignore_errors=True)
    for folder in part_folders(repository, version).values():
        shutil.rmtree(folder)


def part_folders(repository: Path, version: int) -> dict[str, Path]:
    """Find the folders of a version's parts, by kind."""
    folders = {
        kind: Path(repository) / model_config.part_name(kind, version) for kind in PARTS
    }
    return {kind: folder for kind, folder in folders.items() if folder.is_dir()}


def numbers(repository: Path) -> list[int]:
    """List the version numbers in use, complete or not, in ascending order."""
    repository = Path(repository)
    found = set()
    for kind in PARTS:
        found |= {x.name.rpartition("_")[2] for x in repository.glob(f"{kind}_*")}
    records = (repository / MODEL).glob(f"[0-9]*/{DEPLOYMENT_FILE}")
    found |= {record.parent.name for record in records}
    return sorted(int(number) for number in found if number.isdecimal())


def versions(repository: Path) -> list[int]:
    """List the versions that can be served, in ascending order."""
    return [
        version
        for version in numbers(repository)
        if (Path(repository) / MODEL / str(version) / DEPLOYMENT_FILE).is_file()
        and len(part_folders(repository, version)) == 2
    ]


def withdrawn(repository: Path) -> list[int]:
    """List the versions that were gone back from, or never came to be current."""
    now, folder = current_number(repository), Path(repository) / MODEL
    return [
        version
        for version in versions(repository)
        if version > now or (folder / str(version) / WITHDRAWN_FILE).is_file()
    ]


def deployment(repository: Path, version: int) -> dict:
    """Read the record of a version: when, how and with which metadata it was added.

    Raises:
        InputError: There is no such version.
    """
    if version not in versions(repository):
        known = ", ".join(map(str, versions(repository))) or "none"
        raise InputError(f"{repository}: no version {version}; it has: {known}")
    path = Path(repository) / MODEL / str(version) / DEPLOYMENT_FILE
    return json.loads(path.read_text(encoding="utf-8"))


def current(repository: Path) -> dict:
    """Read the record of the version that is being served.

    Raises:
        InputError: Nothing has been deployed there.
    """
    path = Path(repository) / CURRENT_FILE
    if not path.is_file():
        raise InputError(
            f"{repository}: no model has been deployed there; train one, then run "
            "python -m pipelines.deploy"
        )
    return json.loads(path.read_text(encoding="utf-8"))


def current_number(repository: Path) -> int:
    """The number of the version that is being served; 0 if nothing is deployed."""
    deployed = (Path(repository) / CURRENT_FILE).is_file()
    return current(repository)["version"] if deployed else 0


def write_json(path: Path, value: dict) -> None:
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old or the new text, never a part."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
