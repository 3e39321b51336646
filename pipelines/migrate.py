"""Copy what the embedded ClearML server keeps to another ClearML server.

    python -m pipelines.migrate --to ~/clearml.conf [--project ASL] [--dry-run]

Copied are all tasks that have ended, Datasets and pipelines among them (parameters,
configuration, scalars, plots, images, console lines, artifacts, tags, status), and all
models (weights, labels, framework, design, tags, metadata), each with its files.

Ids and file addresses are others on the other server. Every record is copied by its
JSON text, in which the ids and addresses of here are replaced by those of there; so a
Dataset finds its parents, a model its task, and a step the output of the one before.
Times of start and end are set by the other server; console lines stay word by word.

A copy carries the id that it was made from: a second run copies only what is new, and
does again what was interrupted.
"""

import argparse
import json
import os
import re
from pathlib import Path

from data_prep.answer import add_json, answering
from data_prep.command_line import command_parser
from data_prep.errors import InputError, exit_2_on_input_error
from data_prep.progress import Progress
from pipelines.clearml_server.home import conf_path, home_folder
from pipelines.migration import Server, Translation
from pipelines.tracking.connection import CONFIG_FILE, embedded_server, is_configured

ENDED = ("completed", "published", "failed", "stopped", "closed")
# Entries of a copied task's runtime section, and of a copied model's metadata.
ORIGIN, COMPLETE = "copied_from", "copied_completely"
EVENTS = ("training_stats_scalar", "plot", "training_debug_image")
TASK_FIELDS = (
    "name type comment tags system_tags parent script hyperparams configuration "
    "container execution models runtime"
).split()
MODEL_FIELDS = (
    "name uri comment tags system_tags framework design labels parent task metadata"
).split()


def arguments() -> argparse.ArgumentParser:
    parser = command_parser(
        "python -m pipelines.migrate",
        description="Copy the embedded ClearML server's tasks, models and Datasets to "
        "another ClearML server.",
        example="--to ~/clearml.conf --dry-run",
    )
    parser.add_argument(
        "--to",
        metavar="CONFIG_FILE",
        help="clearml.conf of the other server (default: the one in use)",
    )
    parser.add_argument(
        "--project",
        nargs="+",
        metavar="NAME",
        help="only these, and those below them (default: all)",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="only say what would be copied"
    )
    add_json(parser, "how many tasks and models, and what is missing")
    return parser


class Migration:
    """One run: from the embedded server to another one."""

    def __init__(self, source: Server, target: Server, projects: list[str] | None):
        self.source, self.target = source, target
        self.projects = self._projects(projects)
        self.tasks, self.running, self.already = [], 0, 0
        self.models = []
        self.translation = Translation(source, target)
        self.half_done = {}  # copies that an interrupted run has begun, by original
        if self.projects:
            self._compare()

    def _projects(self, wanted) -> dict[str, dict]:
        """The wanted projects of the source, by id."""
        found = self.source.all("projects.get_all", "projects", search_hidden=True)
        if wanted is None:
            return {project["id"]: project for project in found}
        for name in wanted:
            if not any(_is_below(p["name"], name) for p in found):
                raise InputError(f"the embedded server has no project '{name}'")
        return {
            project["id"]: project
            for project in found
            if any(_is_below(project["name"], name) for name in wanted)
        }

    def _compare(self) -> None:
        """Find what has to be copied; know the ids of what has been."""
        ids = {"project": list(self.projects), "order_by": ["created"]}
        tasks = self.source.all(
            "tasks.get_all",
            "tasks",
            only_fields=["id", "name", "project", "status"],
            search_hidden=True,
            **ids,
        )
        models = self.source.all("models.get_all", "models", search_hidden=True, **ids)
        there = self._there()
        copies = {}
        for task in there["tasks"]:
            runtime = task.get("runtime") or {}
            if runtime.get(COMPLETE):
                copies[runtime[ORIGIN]] = task["id"]
            elif ORIGIN in runtime:
                self.half_done[runtime[ORIGIN]] = task["id"]
        for model in there["models"]:
            origin = (model.get("metadata") or {}).get(ORIGIN)
            if origin:
                copies[origin["value"]] = model["id"]
        known = {record["id"] for record in (*tasks, *models)}
        self.translation.ids = {a: b for a, b in copies.items() if a in known}
        self.running = sum(task["status"] not in ENDED for task in tasks)
        ended = [task for task in tasks if task["status"] in ENDED]
        self.tasks = [task for task in ended if task["id"] not in copies]
        self.models = [model for model in models if model["id"] not in copies]
        self.already = len(ended) + len(models) - len(self.tasks) - len(self.models)

    def _there(self) -> dict[str, list[dict]]:
        """Tasks and models in the target's projects of the same names."""
        names = {project["name"] for project in self.projects.values()}
        found = self.target.all("projects.get_all", "projects", search_hidden=True)
        self.target_projects = {p["name"]: p["id"] for p in found if p["name"] in names}
        ids = list(self.target_projects.values())
        if not ids:
            return {"tasks": [], "models": []}
        return {
            kind: self.target.all(
                f"{kind}.get_all",
                kind,
                project=ids,
                search_hidden=True,
                only_fields=["id", field],
            )
            for kind, field in (("tasks", "runtime"), ("models", "metadata"))
        }

    def plan(self) -> list[str]:
        """What is to be copied, a line each."""
        return [
            f"{kind} {self.projects[record['project']]['name']}/{record['name']} "
            f"{record['id']}"
            for kind, records in (("task", self.tasks), ("model", self.models))
            for record in records
        ]

    def run(self) -> None:
        """Copy everything that `plan` names."""
        self._make_projects()
        ids = self.translation.ids
        # Tasks refer to each other and to models: all need an id before any is filled.
        for task in self.tasks:
            ids[task["id"]] = self.half_done.get(task["id"]) or self._create_task(task)
        with Progress(
            "copied", len(self.tasks) + len(self.models), "tasks and models"
        ) as bar:
            for model in self.models:
                ids[model["id"]] = self._copy_model(model)
                bar.update()
            for task in self.tasks:
                self._fill_task(task["id"])
                bar.update()

    def _make_projects(self) -> None:
        """Make those that the target lacks; above before below, which makes both."""
        for project in sorted(self.projects.values(), key=lambda p: p["name"]):
            if project["name"] not in self.target_projects:
                lists = {k: project.get(k) or [] for k in ("tags", "system_tags")}
                self.target_projects[project["name"]] = self.target.call(
                    "projects.create",
                    name=project["name"],
                    description=project.get("description") or "",
                    **lists,
                )["id"]

    def _project(self, id_: str) -> str:
        """The target's project of the same name as one of the source."""
        return self.target_projects[self.projects[id_]["name"]]

    def _create_task(self, task: dict) -> str:
        full = self.source.call("tasks.get_by_id", task=task["id"])["task"]
        id_ = self.target.call(
            "tasks.create",
            name=full["name"],
            type=full["type"],
            project=self._project(full["project"]),
            system_tags=full.get("system_tags") or [],
        )["id"]
        self.target.call(
            "tasks.edit", task=id_, force=True, runtime={ORIGIN: task["id"]}
        )
        return id_

    def _copy_model(self, model: dict) -> str:
        fields = {key: model[key] for key in MODEL_FIELDS if model.get(key)}
        fields["ready"] = bool(model.get("ready"))  # published is the default
        fields = self.translation.of(fields)
        origin = {"key": ORIGIN, "type": "str", "value": model["id"]}
        metadata = list((fields.pop("metadata", None) or {}).values())
        return self.target.call(
            "models.create",
            project=self._project(model["project"]),
            metadata=[*metadata, origin],
            public=False,
            **fields,
        )["id"]

    def _fill_task(self, origin: str) -> None:
        target, id_ = self.target, self.translation.ids[origin]
        task = self.source.call("tasks.get_by_id", task=origin)["task"]
        if "dataset" in task.get("system_tags", []):
            self._rewrite_state(task)
        fields = {key: task[key] for key in TASK_FIELDS if task.get(key)}
        fields = self.translation.of(fields)
        fields["execution"].pop("queue", None)
        runtime = fields.pop("runtime", {}) | {ORIGIN: origin}
        target.call("tasks.edit", task=id_, force=True, runtime=runtime, **fields)
        destination = (task.get("output") or {}).get("destination")
        if destination:
            destination = self.translation.of(destination)
            target.call("tasks.edit", task=id_, force=True, output_dest=destination)
        target.call("tasks.started", task=id_, force=True)
        if origin in self.half_done:
            target.call("events.delete_for_task", task=id_, allow_locked=True)
        for kind in EVENTS:
            for events in self.source.events(origin, kind):
                target.add_events([self.translation.of(event) for event in events])
        for events in self.source.log(origin):
            target.add_events([event | {"task": id_} for event in events])
        self._end(id_, task)
        runtime[COMPLETE] = True
        target.call("tasks.edit", task=id_, force=True, runtime=runtime)

    def _rewrite_state(self, task: dict) -> None:
        """Copy a Dataset's own list of files and versions, with the new ids in it."""
        for artifact in task["execution"].get("artifacts", []):
            if artifact["key"] == "state":
                artifact["hash"] = self.translation.copy_file(
                    artifact["uri"], rewrite=True
                )

    def _end(self, id_: str, task: dict) -> None:
        """Give a copied task the status of the original, with its reason."""
        reasons = {k: task.get(k) or "" for k in ("status_reason", "status_message")}
        status = task["status"]
        first = "completed" if status == "published" else status
        action = {"closed": "close"}.get(first, first)
        self.target.call(f"tasks.{action}", task=id_, force=True, **reasons)
        if status == "published":
            self.target.call("tasks.publish", task=id_, publish_model=False, **reasons)


def _is_below(name: str, project: str) -> bool:
    return name == project or name.startswith(f"{project}/")


def other_server(config_file: str | None) -> None:
    """Make the SDK use the other server.

    Raises:
        InputError: None is named, or it is the embedded one.
    """
    home = home_folder()
    if config_file:
        path = Path(config_file).expanduser().resolve()
        if not path.is_file():
            raise InputError(f"--to {config_file} is no file; see clearml-init")
        # These would have precedence over the file.
        for name in [n for n in os.environ if re.match(r"CLEARML_(API|FILES|WEB)_", n)]:
            del os.environ[name]
        os.environ[CONFIG_FILE] = str(path)
    if not is_configured(home):
        raise InputError(
            "there is no other ClearML server to copy to; name its configuration with "
            f"--to CONFIG_FILE ({conf_path(home)} is the embedded server's)"
        )


@exit_2_on_input_error
def main() -> None:
    with answering(arguments()) as answer:
        migrate(arguments().parse_args(), answer)


def migrate(args: argparse.Namespace, answer: dict) -> None:
    """Copy, and say what was.

    Args:
        answer: Is given the outcome, for programs.

    Raises:
        InputError: There is nothing to copy, or no server to copy it to.
    """
    other_server(args.to)
    home = home_folder()
    if not (home / "server.sqlite").exists():
        raise InputError(f"there is nothing to copy: no server has run in {home}")
    keys = json.loads((home / "credentials.json").read_text(encoding="utf-8"))
    address = embedded_server(home)
    source = Server(address, keys["access_key"], keys["secret_key"])
    target = Server()
    migration = Migration(source, target, args.project)
    if args.dry_run:
        print("\n".join(migration.plan()))
    else:
        migration.run()
    answer.update(
        server=target.host,
        tasks=len(migration.tasks),
        models=len(migration.models),
        there_already=migration.already,
        not_ended=migration.running,
        missing=list(migration.translation.missing),
    )
    for url in migration.translation.missing:
        print(f"warning: {url} is gone, and is missing in the copy as well")
    print(
        f"{'to copy' if args.dry_run else 'copied'} to {target.host}: "
        f"{len(migration.tasks)} tasks, {len(migration.models)} models; there already: "
        f"{migration.already}; left out because not ended: {migration.running}"
    )


if __name__ == "__main__":
    main()
