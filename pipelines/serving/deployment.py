"""Deploying and going back: repository and server together, one at a time.

Plain functions; `pipelines.deploy` is the command around them.
"""

import sys
from pathlib import Path

from data_prep.errors import InputError
from pipelines.repository import graph_check, model_parts, preflight, versions
from pipelines.repository.model_config import Settings
from pipelines.serving import model_control
from pipelines.text_table import text_table

KEEP = 3


def deploy(
    artifacts: Path,
    repository: Path,
    metadata: dict[str, str],
    settings: Settings = Settings(),
    urls: dict[str, str] | None = None,
    keep: int = KEEP,
) -> dict:
    """Check a trained model, add it as a version, have it served, make it current.

    What is current already is not added again. On any failure nothing has changed.

    Args:
        artifacts: What a training task leaves, as `preflight.check` wants it.
        metadata: Where the model comes from.
        urls: ``host:port`` by protocol ("grpc", "http") of a server that runs on the
            repository; none: the files alone.
        keep: How many versions before the current one stay; without ``urls`` at least
            one does.

    Returns:
        The record of the current version.

    Raises:
        InputError: The model, the server or both are not fit; the reason in one line.
    """
    preflight.check(Path(artifacts))
    if not urls:  # no server tries it before clients are answered by it
        graph_check.check_operators(Path(artifacts) / preflight.MODEL_FILE)
    with versions.lock(repository):
        repair(repository, urls)
        record = same_model(artifacts, repository, metadata, settings)
        if record is None:
            record = versions.add(artifacts, repository, metadata, settings)
            try:
                make_current(repository, record, urls)
            except BaseException:
                version = record["version"]
                if is_live(repository, record, urls):  # interrupted, but too late
                    print(f"warning: version {version} serves", file=sys.stderr)
                else:
                    versions.remove(repository, version)
                raise
        elif urls and not is_served(repository, record, urls):
            make_current(repository, record, urls)
        # A server that polls the repository serves the version before for a while yet.
        versions.prune(repository, keep if urls else max(keep, 1))
    return record


def roll_back(repository: Path, urls: dict[str, str] | None = None) -> dict:
    """Make the version before the current one the current one.

    Versions that were gone back from earlier are passed over. A server may be ahead, on
    a version whose deployment was killed: then that is the one to go back from.

    Returns:
        Its record.

    Raises:
        InputError: There is none, or the server cannot serve it.
    """
    with versions.lock(repository):
        repair(repository, urls)
        now = versions.current(repository)["version"]
        if urls:
            ahead = model_control.ask_served(urls["grpc"], repository)
            now = max(now, ahead["version"] if ahead else 0)
        bad = versions.withdrawn(repository)
        good = [v for v in versions.versions(repository) if v not in bad]
        older = [v for v in good if v < now]
        if not older:
            raise InputError(
                f"{repository}: there is no version before {now} to go back to; list "
                "what is kept with python -m pipelines.deploy --list"
            )
        record = versions.deployment(repository, older[-1])
        make_current(repository, record, urls)
    return record


def repair(repository: Path, urls: dict[str, str] | None) -> None:
    """Undo what killed deployments began, on the server and in the repository."""
    if urls:
        model_control.settle(urls["grpc"], repository)
    versions.repair(repository)


def make_current(repository: Path, record: dict, urls: dict[str, str] | None) -> None:
    if urls:
        model_control.switch(urls, repository, record)
    else:
        versions.set_current(repository, record)


def is_live(repository: Path, record: dict, urls: dict[str, str] | None) -> bool:
    if versions.current_number(repository) == record["version"]:
        return True
    return bool(urls) and is_served(repository, record, urls)


def is_served(repository: Path, record: dict, urls: dict[str, str]) -> bool:
    return model_control.ask_served(urls["grpc"], repository) == record


def same_model(
    artifacts: Path, repository: Path, metadata: dict[str, str], settings: Settings
) -> dict | None:
    """Return the current record if it is of this very model, run in the same way."""
    try:
        record = versions.current(repository)
    except InputError:
        return None
    wanted = model_parts.describe(artifacts, metadata, settings)
    return record if record.items() >= wanted.items() else None


def table(repository: Path) -> str:
    """List the versions: number, task, model, accuracy, when, and what they are now."""
    states = {v: "withdrawn" for v in versions.withdrawn(repository)}
    states[versions.current(repository)["version"]] = "current"
    rows = [("version", "task", "model", "accuracy", "deployed", "")]
    for version in versions.versions(repository):
        record = versions.deployment(repository, version)
        known = record["metadata"]
        rows.append(
            (
                str(version),
                known.get("task_id", "-"),
                known.get("model", "-"),
                f"{float(known['accuracy']):.4f}" if "accuracy" in known else "-",
                record["deployed"],
                states.get(version, ""),
            )
        )
    return text_table(rows)
