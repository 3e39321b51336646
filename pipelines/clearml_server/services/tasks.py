"""Tasks: create, read, query, edit, clone.

Relied on by ``Task.init``, ``Task.create``, ``Task.get_task(s)``, ``query_tasks``,
``Task.clone``, ``task.connect*``, ``set_parameters``, ``set_name``, ``add_tags``;
Datasets and pipelines are tasks too (``Dataset.get`` and ``Dataset.list_datasets`` are
queries here). Changes of status are in ``task_actions``; artifacts, models and single
parameters in ``task_parts``.
"""

from typing import Any

from .. import documents, query, schemas
from ..calls import endpoint
from ..errors import ApiError
from ..storage import MODEL, PROJECT, TASK
from . import legacy, projects
from .common import (
    ARCHIVED,
    DELETED,
    check_name,
    check_tags,
    for_each,
    in_projects,
    retag,
    touch_project,
    visible,
    with_names,
    with_subprojects,
)

DEVELOPMENT = "development"
TYPES = set(
    "training testing inference data_processing application monitor controller "
    "optimizer service qc custom import annotation dataset_import annotation_manual "
    "report".split()
)
EDITABLE = (
    "name tags system_tags type comment parent project models container execution "
    "hyperparams configuration script runtime"
).split()
# Clients expect the list to be there.
NO_EXECUTION = {"artifacts": []}
NO_SCRIPT = {
    "binary": "python",
    "repository": "",
    "entry_point": "",
    "requirements": {},
}
# Of these, an edit replaces only the keys that it names.
MERGED = ("execution", "script", "output", "models")
# What may be changed at any status.
ALWAYS_EDITABLE = ("name", "tags", "system_tags", "comment", "project", "parent")


@endpoint("tasks.get_by_id")
def get_by_id(call):
    return {"task": documents.get(call.db, TASK, call.data["task"])}


@endpoint("tasks.get_all")
def get_all(call, complete=None):
    request = with_subprojects(call.db, call.data)
    return query.search(call.db, TASK, request, visible(request), complete)


@endpoint("tasks.get_all_ex")
@endpoint("tasks.get_by_id_ex")
def get_all_ex(call):
    """As get_all, with names beside the ids of other things."""
    return get_all(call, lambda tasks: with_names(call.db, tasks, TASK))


@endpoint("tasks.get_types")
def get_types(call):
    among = in_projects(call.db, call.data.get("projects"))
    where, parameters = query.conditions(TASK, among)
    sql = f"SELECT DISTINCT type FROM tasks WHERE {where} ORDER BY type"
    return {"types": [row["type"] for row in call.db.execute(sql, parameters)]}


@endpoint("tasks.validate")
def validate(call):
    _checked(call.db, legacy.modern(call.data))
    return {}


@endpoint("tasks.create", writes=True)
def create(call):
    fields = _checked(call.db, legacy.modern(call.data))
    return {"id": insert(call.db, fields)}


def insert(db, fields: dict) -> str:
    """Add a task of status "created"; return its id."""
    time = documents.now()
    record: dict[str, Any] = {
        "status": "created",
        "user": documents.USER,
        "company": documents.COMPANY,
        "created": time,
        "last_update": time,
        "last_change": time,
        "last_changed_by": documents.USER,
        "status_changed": time,
        "status_message": "",
        "status_reason": "",
        "last_iteration": 0,
        "tags": [],
        "system_tags": [],
        "output": {},
        "models": {"input": [], "output": []},
        "runtime": {},
        "container": {},
        "execution": NO_EXECUTION,
        "script": {},
        "hyperparams": {},
        "configuration": {},
        "last_metrics": {},
    }
    record |= fields
    record["execution"] = NO_EXECUTION | record["execution"]
    touch_project(db, record.get("project"))
    return documents.insert(db, TASK, record)


@endpoint("tasks.edit", writes=True)
def edit(call):
    names = ("status", *MERGED, *legacy.FIELDS)
    task = documents.get(call.db, TASK, call.data["task"], *names)
    if not call.data.get("force") and task["status"] != "created":
        raise ApiError("invalid_task_status", expected="created", status=task["status"])
    fields = _checked(call.db, legacy.modern(call.data, task))
    for name in MERGED:
        if name in fields:
            fields[name] = task.get(name, {}) | fields[name]
    return change(call.db, call.data["task"], fields)


@endpoint("tasks.update", writes=True)
def update(call):
    documents.get(call.db, TASK, call.data["task"], "id")
    fields = _checked(call.db, call.data)
    fields = {name: fields[name] for name in ALWAYS_EDITABLE if name in fields}
    return change(call.db, call.data["task"], fields)


@endpoint("tasks.update_batch", writes=True)
def update_batch(call):
    """Several updates, one a line; what is wrong with one refuses all."""
    if not call.batch:
        raise ApiError("batch_contains_no_items")
    updated = 0
    for item in call.batch:
        call.data = schemas.check("tasks.update", item)
        updated += update(call)["updated"]
    return {"updated": updated}


@endpoint("tasks.update_tags", writes=True)
def update_tags(call):
    def act(id_):
        return change(call.db, id_, retag(call.db, TASK, id_, call.data))

    done = for_each(call, act)
    return done | {"updated": len(done["succeeded"])}


def change(db, task_id: str, fields: dict) -> dict:
    """Set fields of a task, note the time, and return the answer of an update."""
    if not fields:
        return {"updated": 0, "fields": {}}
    time = documents.now()
    fields = fields | {"last_change": time, "last_changed_by": documents.USER}
    if not set(fields) <= {*ALWAYS_EDITABLE, "last_change", "last_changed_by"}:
        fields["last_update"] = time
    updated = documents.update(db, TASK, task_id, fields)
    touch_project(db, fields.get("project"))
    return {"updated": updated, "fields": fields}


@endpoint("tasks.edit_runtime", writes=True)
def edit_runtime(call):
    task = documents.get(call.db, TASK, call.data["task"], "runtime")
    runtime = task.get("runtime", {}) | (call.data.get("add_or_update") or {})
    for name in call.data.get("remove") or []:
        runtime.pop(name, None)
    return change(call.db, call.data["task"], {"runtime": runtime})


@endpoint("tasks.set_requirements", writes=True)
def set_requirements(call):
    task = documents.get(call.db, TASK, call.data["task"], "id", "script")
    requirements = call.data["requirements"]
    script = task.get("script", {}) | {"requirements": requirements}
    answer = change(call.db, task["id"], {"script": script})
    return answer | {"fields": {"script.requirements": requirements}}


@endpoint("tasks.clone", writes=True)
def clone(call):
    db, request = call.db, call.data
    source = documents.get(db, TASK, request["task"])
    overrides = request.get("execution_overrides") or {}
    execution = source.get("execution", {}) | overrides
    execution.pop("queue", None)
    checked = execution if request.get("validate_references") else overrides
    _check_model(db, checked.get("model"))
    if artifacts := execution.get("artifacts"):
        execution["artifacts"] = [a for a in artifacts if a.get("mode") == "input"]
    parent = source.get("parent") or ""
    if not parent or parent.startswith(DELETED):
        parent = source["id"]
    system_tags = [
        tag for tag in source["system_tags"] if tag not in (DEVELOPMENT, ARCHIVED)
    ]
    project, answer = request.get("new_task_project"), {}
    if not project and (name := request.get("new_project_name")):
        project = projects.find_or_create(db, name)
        answer["new_project"] = {"id": project, "name": name}
    inputs = request.get("new_task_input_models")
    output = source.get("output", {})
    fields = {
        "name": request.get("new_task_name") or source["name"],
        "comment": request.get("new_task_comment") or source.get("comment"),
        "parent": request.get("new_task_parent") or parent,
        "project": project or source.get("project"),
        "tags": request.get("new_task_tags") or source["tags"],
        "system_tags": request.get("new_task_system_tags") or system_tags,
        "type": source["type"],
        "script": source.get("script", {}),
        "models": {"input": inputs or source["models"].get("input", []), "output": []},
        "container": request.get("new_task_container") or source.get("container", {}),
        "execution": execution,
        "hyperparams": request.get("new_task_hyperparams") or source["hyperparams"],
        "configuration": request.get("new_task_configuration")
        or source["configuration"],
    }
    fields = _checked(db, {k: v for k, v in fields.items() if v is not None})
    if "destination" in output:
        fields["output"] = {"destination": output["destination"]}
    return answer | {"id": insert(db, fields)}


@endpoint("tasks.move", writes=True)
def move(call):
    project = call.data.get("project")
    if not project and (name := call.data.get("project_name")):
        project = projects.find_or_create(call.db, name)
    for id_ in call.data["ids"]:
        documents.get(call.db, TASK, id_, "id")
        change(call.db, id_, {"project": project})
    return {"project_id": project}


def _checked(db, request: dict) -> dict:
    """Return the fields of a create or edit request that a task keeps.

    Raises:
        ApiError: A value is impossible, or refers to nothing.
    """
    fields = {k: request[k] for k in EDITABLE if request.get(k) is not None}
    check_tags(fields)
    if "name" in fields:
        fields["name"] = check_name(fields["name"])
    if fields.get("type", "custom") not in TYPES:
        raise ApiError("data_validation_error", "no such type", type=fields["type"])
    for name in (*MERGED, "hyperparams", "configuration", "container", "runtime"):
        if not isinstance(fields.get(name, {}), dict):
            raise ApiError("data_validation_error", "not an object", field=name)
    parent, project = fields.get("parent"), fields.get("project")
    if parent and not parent.startswith(DELETED):
        if not documents.exists(db, TASK, parent):
            raise ApiError("invalid_task_id", "invalid parent", parent=parent)
    if project and not documents.exists(db, PROJECT, project):
        raise ApiError("invalid_project_id", id=project)
    if request.get("output_dest") is not None:
        fields["output"] = {"destination": request["output_dest"]}
    for section, items in fields.get("hyperparams", {}).items():
        for name, item in items.items():
            items[name] = {"section": section, "name": name} | item
    for kind in ("input", "output"):
        for item in fields.get("models", {}).get(kind) or []:
            item.setdefault("updated", documents.now())
    for item in fields.get("models", {}).get("input") or []:
        _check_model(db, item.get("model"))
    if "artifacts" in fields.get("execution", {}):
        fields["execution"] |= {"artifacts": in_order(fields["execution"]["artifacts"])}
    if "script" in fields:
        fields["script"] = {
            key: value.strip() if isinstance(value, str) and key != "diff" else value
            for key, value in fields["script"].items()
        }
    return fields


def _check_model(db, id_: str | None) -> None:
    """Raises ApiError where a model is named that neither exists nor once did."""
    if id_ and not id_.startswith(DELETED) and not documents.exists(db, MODEL, id_):
        raise ApiError("invalid_model_id", models=id_)


def in_order(artifacts: list[dict]) -> list[dict]:
    """Artifacts as the API lists them."""
    return sorted(artifacts or [], key=lambda a: (a["key"], a.get("mode", "output")))
