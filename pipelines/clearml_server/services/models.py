"""Models: a weights file's address with labels, design and metadata.

Relied on by ``OutputModel`` (create, edit, publish), ``InputModel``, ``Model(id)``,
``Model.query_models``, ``Model.remove``, ``model.set_metadata``, automatic logging of
framework checkpoints.
"""

from .. import documents, query
from ..calls import endpoint
from ..errors import ApiError
from ..storage import MODEL, PROJECT, TASK
from . import projects, task_actions
from .common import (
    ARCHIVED,
    DELETED,
    check_name,
    check_tags,
    for_each,
    in_projects,
    rename_metadata,
    retag,
    visible,
    with_names,
    with_subprojects,
)

FIELDS = (
    "name tags system_tags task comment uri project parent framework design labels "
    "ready metadata ui_cache"
).split()


@endpoint("models.get_by_id")
def get_by_id(call):
    return {"model": documents.get(call.db, MODEL, call.data["model"])}


@endpoint("models.get_by_task_id")
def get_by_task_id(call):
    models = documents.get(call.db, TASK, call.data["task"], "models")["models"]
    if not models.get("output"):
        raise ApiError("missing_task_fields", field="models.output")
    return {"model": documents.get(call.db, MODEL, models["output"][-1]["model"])}


@endpoint("models.get_all")
def get_all(call, complete=None):
    request = with_subprojects(call.db, call.data)
    return query.search(call.db, MODEL, request, visible(request), complete)


@endpoint("models.get_all_ex")
@endpoint("models.get_by_id_ex")
def get_all_ex(call):
    """As get_all, with names beside the ids of other things."""
    answer = get_all(call, lambda models: with_names(call.db, models, MODEL))
    if call.data.get("include_stats"):
        for model in answer["models"]:
            labels = documents.get(call.db, MODEL, model["id"], "labels")
            model["stats"] = {"labels_count": len(labels.get("labels", {}))}
    return answer


@endpoint("models.update_tags", writes=True)
def update_tags(call):
    def act(id_):
        return _change(call.db, id_, retag(call.db, MODEL, id_, call.data))

    done = for_each(call, act)
    return done | {"updated": len(done["succeeded"])}


@endpoint("models.get_frameworks")
def get_frameworks(call):
    among = in_projects(call.db, call.data.get("projects"))
    where, parameters = query.conditions(MODEL, among)
    sql = (
        f"SELECT DISTINCT framework FROM models WHERE {where} AND framework NOT NULL "
        "ORDER BY framework"
    )
    return {"frameworks": [row[0] for row in call.db.execute(sql, parameters)]}


@endpoint("models.create", writes=True)
def create(call):
    fields = {"ready": True} | _checked(call.db, call.data)
    return {"id": _insert(call.db, fields), "created": True}


def _insert(db, fields: dict) -> str:
    time = documents.now()
    record = {
        "user": documents.USER,
        "company": documents.COMPANY,
        "created": time,
        "last_update": time,
        "last_change": time,
        "ready": False,
        "tags": [],
        "system_tags": [],
        "labels": {},
        "metadata": {},
        "design": {},
        "last_metrics": {},
        "last_iteration": 0,
    }
    return documents.insert(db, MODEL, record | fields)


@endpoint("models.edit", writes=True)
@endpoint("models.update", writes=True)
def edit(call):
    model = documents.get(call.db, MODEL, call.data["model"], "id", "task")
    fields = _checked(call.db, call.data)
    _note_iteration(call, fields.get("task") or model.get("task"))
    return _change(call.db, model["id"], fields)


def _change(db, id_, fields) -> dict:
    if not fields:
        return {"updated": 0, "fields": {}}
    time = documents.now()
    fields = fields | {"last_update": time, "last_change": time}
    return {"updated": documents.update(db, MODEL, id_, fields), "fields": fields}


def _note_iteration(call, task_id) -> None:
    iteration = call.data.get("iteration")
    if task_id and iteration is not None:
        call.db.execute(
            "UPDATE tasks SET last_iteration = max(last_iteration, ?) WHERE id = ?",
            (iteration, task_id),
        )


@endpoint("models.update_for_task", writes=True)
def update_for_task(call):
    """Set the output model of a task to a file, or to an existing model."""
    db, request = call.db, call.data
    task = documents.get(
        db,
        TASK,
        request["task"],
        "id",
        "name",
        "status",
        "project",
        "models",
        "execution",
    )
    if bool(request.get("uri")) == bool(request.get("override_model_id")):
        raise ApiError("missing_required_fields", "uri or override_model_id")
    if task["status"] not in ("created", "in_progress"):
        raise ApiError("invalid_task_status", status=task["status"])
    _note_iteration(call, task["id"])
    outputs = task["models"].get("output") or []
    if id_ := request.get("override_model_id"):
        documents.get(db, MODEL, id_, "id")
        created = False
    elif outputs:
        id_ = outputs[-1]["model"]
        fields = _checked(db, request)
        return _change(db, id_, fields) | {"id": id_, "created": False}
    else:
        fields = {"name": task["name"], "project": task.get("project")}
        fields["framework"] = task.get("execution", {}).get("framework")
        id_, created = _insert(db, fields | _checked(db, request)), True
    entry = {"name": "Output Model", "model": id_, "updated": documents.now()}
    models = task["models"] | {"output": [entry]}
    documents.update(db, TASK, task["id"], {"models": models})
    return {"id": id_, "created": created, "updated": 1}


@endpoint("models.set_ready", writes=True)
def set_ready(call):
    return _publish(call, call.data["model"])


@endpoint("models.publish_many", writes=True)
def publish_many(call):
    call.data["publish_task"] = call.data.get("publish_tasks", True)
    return for_each(call, lambda id_: _publish(call, id_))


def _publish(call, id_) -> dict:
    """Publish a model, and its task unless the call says otherwise."""
    model = documents.get(call.db, MODEL, id_, "id", "task", "ready")
    if model.get("ready"):
        raise ApiError("model_is_ready", id=id_)
    answer = _change(call.db, id_, {"ready": True})
    task_id = model.get("task")
    if task_id and call.data.get("publish_task") is not False:
        tasks = documents.select(call.db, TASK, "id = ?", [task_id], ["status"])
        if tasks and tasks[0]["status"] != "published":
            answer["published_task"] = {
                "id": task_id,
                "data": task_actions.publish_with_model(call, task_id),
            }
    return answer


@endpoint("models.delete", writes=True)
def delete(call):
    return _delete(call, call.data["model"])


@endpoint("models.delete_many", writes=True)
def delete_many(call):
    return for_each(call, lambda id_: _delete(call, id_))


def _delete(call, id_) -> dict:
    """Delete a model that no task takes as input and no published task made."""
    db, force = call.db, call.data.get("force")
    model = documents.get(db, MODEL, id_, "id", "task", "uri")
    users = _tasks_with(db, "input", id_)
    if users and not force:
        raise ApiError(
            "model_in_use",
            "as execution model, use force=True to delete",
            num_tasks=len(users),
        )
    makers = _tasks_with(db, "output", id_)
    if any(task["status"] == "published" for task in makers) and not force:
        raise ApiError(
            "model_creating_task_exists",
            "and published, use force=True to delete",
            task=model.get("task"),
        )
    for kind, tasks in (("input", users), ("output", makers)):
        for task in tasks:
            models = task["models"] | {kind: _without(task, kind, id_)}
            documents.update(db, TASK, task["id"], {"models": models})
    uri = model.get("uri")
    if uri and call.data.get("delete_external_artifacts") is not False:
        call.after.append(lambda: call.server.files.delete_urls([uri]))
    return {"deleted": bool(documents.delete(db, MODEL, id_)), "url": uri}


def _without(task: dict, kind: str, id_: str) -> list[dict]:
    """The models of a task without one; what was used or published keeps a trace."""
    if kind == "output" and task["status"] != "published":
        return [entry for entry in task["models"][kind] if entry["model"] != id_]
    gone = {"model": f"{DELETED}{id_}"}
    return [
        entry | gone if entry["model"] == id_ else entry
        for entry in task["models"][kind]
    ]


def _tasks_with(db, kind: str, model_id: str) -> list[dict]:
    where, parameters = query.conditions(TASK, {f"models.{kind}.model": [model_id]})
    return documents.select(db, TASK, where, parameters, ["id", "models", "status"])


@endpoint("models.archive_many", writes=True)
def archive_many(call):
    return for_each(call, lambda id_: _retag(call, id_, "archived", add=True))


@endpoint("models.unarchive_many", writes=True)
def unarchive_many(call):
    return for_each(call, lambda id_: _retag(call, id_, "unarchived", add=False))


def _retag(call, id_, word, add) -> dict:
    tags = documents.get(call.db, MODEL, id_, "system_tags").get("system_tags", [])
    tags = [tag for tag in tags if tag != ARCHIVED] + [ARCHIVED] * add
    _change(call.db, id_, {"system_tags": tags})
    return {word: True}


@endpoint("models.move", writes=True)
def move(call):
    project = call.data.get("project")
    if not project and (name := call.data.get("project_name")):
        project = projects.find_or_create(call.db, name)
    for id_ in call.data["ids"]:
        _change(call.db, id_, {"project": project})
    return {"project_id": project}


@endpoint("models.add_or_update_metadata", writes=True)
def add_or_update_metadata(call):
    model = documents.get(call.db, MODEL, call.data["model"], "metadata")
    kept = {} if call.data.get("replace_metadata") else model.get("metadata", {})
    fields = {"metadata": kept | rename_metadata(call.data["metadata"])}
    return {"updated": _change(call.db, call.data["model"], fields)["updated"]}


@endpoint("models.delete_metadata", writes=True)
def delete_metadata(call):
    model = documents.get(call.db, MODEL, call.data["model"], "metadata")
    gone = set(call.data["keys"])
    kept = {k: v for k, v in model.get("metadata", {}).items() if k not in gone}
    return {
        "updated": _change(call.db, call.data["model"], {"metadata": kept})["updated"]
    }


def _checked(db, request: dict) -> dict:
    """Return the fields of a create or edit request that a model keeps.

    Raises:
        ApiError: A value is impossible, or refers to nothing.
    """
    fields = {k: request[k] for k in FIELDS if request.get(k) is not None}
    check_tags(fields)
    if "name" in fields:
        fields["name"] = check_name(fields["name"])
    for name, entity in (("project", PROJECT), ("parent", MODEL)):
        if fields.get(name) and not documents.exists(db, entity, fields[name]):
            raise ApiError(entity.unknown, **{name: fields[name]})
    labels = fields.get("labels") or {}
    if any(isinstance(v, bool) or not isinstance(v, int) for v in labels.values()):
        raise ApiError("validation_error", "labels values must be integers")
    if "metadata" in fields:
        fields["metadata"] = rename_metadata(fields["metadata"])
    return fields
