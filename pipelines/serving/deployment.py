"""Deploy and roll back: repository and server together, one change at a time.

Plain functions; `pipelines.deploy` is the command around them.
"""

import sys
from pathlib import Path

from data_prep import packed
from data_prep.errors import InputError
from data_prep.model_name import DEFAULT
from pipelines.repository import graph_check, model_parts, preflight, versions
from pipelines.repository.layout import CLASSIFIER
from pipelines.repository.model_config import LABELS_FILE, Settings
from pipelines.serving import model_control
from pipelines.text_table import listed, text_table
from training.reports import GRAPH_FILE

KEEP = 3


def deploy(
    artifacts: Path,
    repository: Path,
    metadata: dict[str, str],
    settings: Settings = Settings(),
    urls: dict[str, str] | None = None,
    keep: int = KEEP,
    name: str = DEFAULT,
    same_classes: bool = False,
) -> dict:
    """Check a trained model, add it as a version, have it served, make it current.

    A model that is current already is not added again. A failure changes nothing.

    Args:
        artifacts: What a training task leaves, as `preflight.check` wants it.
        metadata: Where the model comes from.
        urls: ``host:port`` by protocol ("grpc", "http") of a server that runs on the
            repository; none: the files alone.
        keep: How many versions before the current one are kept; without ``urls`` at
        least one.
        name: Of the model; those of other names are not touched.
        same_classes: Refuse a model of other classes than those that are served.

    Returns:
        The record of the current version.

    Raises:
        InputError: The model or the server cannot be used; the reason in one line.
    """
    preflight.check(Path(artifacts))
    if not urls:  # no server tries it before clients are answered by it
        graph_check.check_operators(Path(artifacts) / GRAPH_FILE)
    with versions.lock(repository):
        repair(repository, urls)
        if same_classes:
            new = packed.read_names(Path(artifacts) / LABELS_FILE)
            check_classes(new, repository, name)
        record = same_model(artifacts, repository, metadata, settings, name)
        if record is None:
            record = versions.add(artifacts, repository, metadata, settings, name)
            try:
                make_current(repository, record, urls)
            except BaseException:
                version = record["version"]
                if is_live(repository, record, urls):  # interrupted, but too late
                    print(f"warning: version {version} serves", file=sys.stderr)
                else:
                    versions.remove(repository, version, name)
                raise
        elif urls and not is_served(repository, record, urls):
            make_current(repository, record, urls)
        # A server that polls the repository serves the version before for a while yet.
        versions.prune(repository, keep if urls else max(keep, 1), name)
    return record


def check_classes(new: list[str], repository: Path, name: str) -> None:
    """Check that a model has the classes of the version that is served.

    Args:
        new: The model's classes, in the order of its outputs.

    Raises:
        InputError: The classes, or their order, are different: clients do not expect
        that.
    """
    if not versions.current_number(repository, name):
        return
    record = versions.current(repository, name)
    folder = versions.folders_of(repository, record)[CLASSIFIER]
    whose = f"version {record['version']} of {name}, which is served,"
    require_same_classes(new, packed.read_names(folder / LABELS_FILE), whose)


def require_same_classes(new: list[str], served: list[str], whose: str) -> None:
    """Refuse classes that are not those of another model.

    Args:
        whose: The other model, in words.

    Raises:
        InputError: They, or their order, are different.
    """
    if new != served:
        raise InputError(
            f"{whose} has {len(served)} classes ({listed(served)}), the new model "
            f"{len(new)} ({listed(new)}); give the new one a name of its own with "
            "--name, or let it replace the other with --allow-new-classes "
            "(of a pipeline: --set deploy.allow-new-classes=true)"
        )


def roll_back(
    repository: Path, urls: dict[str, str] | None = None, name: str = DEFAULT
) -> dict:
    """Make the version before the current one the current one.

    Versions that were rolled back earlier are skipped. If a deployment was killed, the
    server may serve a newer version than the current one: then that is left.

    Returns:
        Its record.

    Raises:
        InputError: There is none, or the server cannot serve it.
    """
    with versions.lock(repository):
        repair(repository, urls)
        now = versions.current(repository, name)["version"]
        if urls:
            ahead = model_control.ask_served(urls["grpc"], repository, name)
            now = max(now, ahead["version"] if ahead else 0)
        bad = versions.withdrawn(repository, name)
        good = [v for v in versions.versions(repository, name) if v not in bad]
        older = [v for v in good if v < now]
        if not older:
            option = "" if name == DEFAULT else f" --name {name}"
            raise InputError(
                f"{repository}: there is no version before {now} to go back to; list "
                f"what is kept with python -m pipelines.deploy --list{option}"
            )
        record = versions.deployment(repository, older[-1], name)
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
    name = versions.name_of(record)
    if versions.current_number(repository, name) == record["version"]:
        return True
    return bool(urls and is_served(repository, record, urls))


def is_served(repository: Path, record: dict, urls: dict[str, str]) -> bool:
    name = versions.name_of(record)
    return model_control.ask_served(urls["grpc"], repository, name) == record


def same_model(
    artifacts: Path,
    repository: Path,
    metadata: dict[str, str],
    settings: Settings,
    name: str,
) -> dict | None:
    """Return the current record if it is of this very model, run in the same way."""
    try:
        record = versions.current(repository, name)
    except InputError:
        return None
    wanted = model_parts.describe(artifacts, metadata, settings)
    return record if record.items() >= wanted.items() else None


def listing(repository: Path, name: str = DEFAULT) -> list[dict]:
    """List a model's versions, the oldest first.

    Returns:
        Of each: version, task_id, model, accuracy (0 to 1), deployed (when, UTC), and
        state: "current", "withdrawn" or ""; None for what nobody knows.

    Raises:
        InputError: No model of this name has been deployed there.
    """
    states = {v: "withdrawn" for v in versions.withdrawn(repository, name)}
    states[versions.current(repository, name)["version"]] = "current"
    found = []
    for version in versions.versions(repository, name):
        record = versions.deployment(repository, version, name)
        known = record["metadata"]
        found.append(
            {
                "version": version,
                "task_id": known.get("task_id"),
                "model": known.get("model"),
                "accuracy": float(known["accuracy"]) if "accuracy" in known else None,
                "deployed": record["deployed"],
                "state": states.get(version, ""),
            }
        )
    return found


def table(listed: list[dict]) -> str:
    """Write what `listing` returns as lines."""
    rows = [("version", "task", "model", "accuracy", "deployed", "")]
    for one in listed:
        accuracy = one["accuracy"]
        rows.append(
            (
                str(one["version"]),
                one["task_id"] or "-",
                one["model"] or "-",
                "-" if accuracy is None else f"{accuracy:.4f}",
                one["deployed"],
                one["state"],
            )
        )
    return text_table(rows)
