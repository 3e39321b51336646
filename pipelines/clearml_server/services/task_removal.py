"""Reset and deletion of tasks, with what they made.

Relied on by ``task.reset``, ``task.delete``, ``Task.init`` where it reuses the last
task, ``Dataset.delete``, and the deletion of projects.
"""

from .. import documents, query
from ..calls import endpoint
from ..errors import ApiError
from ..storage import MODEL, TASK
from . import events, queues, task_actions
from .common import ARCHIVED, DELETED, for_each, touch_project
from .tasks import NO_EXECUTION, NO_SCRIPT

RESET_FIELDS = {
    "last_iteration": 0,
    "last_metrics": {},
    "runtime": {},
    "started": None,
    "completed": None,
    "published": None,
    "active_duration": None,
    "enqueue_status": None,
    "last_worker": None,
    "last_worker_report": None,
}


@endpoint("tasks.reset", writes=True)
def reset(call):
    return _reset(call, call.data["task"])


@endpoint("tasks.reset_many", writes=True)
def reset_many(call):
    return for_each(call, lambda id_: _reset(call, id_))


def _reset(call, id_) -> dict:
    task = task_actions.read(call, id_)
    if task["status"] == "published" and not call.data.get("force"):
        raise ApiError("invalid_task_status", task_id=id_, status="published")
    dequeued = {"removed": queues.remove_from_all(call.db, id_)}
    cleaned = _clean_up(call, task, call.data.get("force"))
    execution = dict(task.get("execution", {}))
    execution.pop("queue", None)
    artifacts = execution.get("artifacts") or []
    execution["artifacts"] = [a for a in artifacts if a.get("mode") == "input"]
    fields = RESET_FIELDS | {
        "execution": execution,
        "models": task["models"] | {"output": []},
        "status_reason": "reset",
        "status_message": "reset",
    }
    if call.data.get("clear_all"):
        fields |= {"execution": NO_EXECUTION, "script": NO_SCRIPT}
    answer = task_actions.change_status(call, task, "created", **fields)
    answer["fields"].pop("execution", None)
    return answer | cleaned | {"dequeued": dequeued}


@endpoint("tasks.delete", writes=True)
def delete(call):
    return remove(call, call.data["task"], call.data.get("force"))


@endpoint("tasks.delete_many", writes=True)
def delete_many(call):
    return for_each(call, lambda id_: remove(call, id_, call.data.get("force")))


def remove(call, id_, force) -> dict:
    """Delete a task with its events, draft models and files.

    Raises:
        ApiError: It is neither new nor archived, or published things depend on it,
            and `force` is not set.
    """
    task = task_actions.read(call, id_)
    new = task["status"] == "created"
    if not new and ARCHIVED not in task["system_tags"] and not force:
        raise ApiError(
            "task_cannot_be_deleted",
            "due to status, use force=True",
            task=id_,
            expected="created",
            current=task["status"],
        )
    for step in task_actions.steps(call, task):
        remove(call, step["id"], force=True)
    queues.remove_from_all(call.db, id_)
    answer = _clean_up(call, task, force, orphan_children=True)
    documents.delete(call.db, TASK, id_)
    touch_project(call.db, task.get("project"))
    return answer | {"deleted": True}


def _clean_up(call, task, force, orphan_children=False) -> dict:
    """Remove what a task made: events, draft models, and files kept here."""
    db, id_ = call.db, task["id"]
    models = documents.select(db, MODEL, "task = ?", [id_], ["id", "uri", "ready"])
    if not force:
        _refuse_if_published(db, id_, models)
    drafts = [model for model in models if not model.get("ready")]
    drafts = [model for model in drafts if not _is_used(db, model["id"])]
    if call.data.get("delete_output_models") is False:
        drafts = []
    artifacts = task.get("execution", {}).get("artifacts") or []
    urls = {
        "artifact_urls": [
            a["uri"] for a in artifacts if a.get("mode") != "input" and a.get("uri")
        ],
        "model_urls": [model["uri"] for model in drafts if model.get("uri")],
    }
    files = [url for kind in urls.values() for url in kind]
    files += events.delete_all(db, id_)
    for model in drafts:
        documents.delete(db, MODEL, model["id"])
    gone = f"{DELETED}{id_}"
    updated_children = updated_models = 0
    if orphan_children:
        sql = "UPDATE tasks SET parent = ? WHERE parent = ?"
        updated_children = db.execute(sql, (gone, id_)).rowcount
        sql = "UPDATE models SET task = ? WHERE task = ?"
        updated_models = db.execute(sql, (gone, id_)).rowcount
    if call.data.get("delete_external_artifacts") is not False:
        call.after.append(lambda: call.server.files.delete_urls(files))
    return {
        "deleted_models": len(drafts),
        "updated_children": updated_children,
        "updated_models": updated_models,
        # as of the real server; files of events are deleted here, whoever asks
    } | (
        {"urls": urls | {"event_urls": []}} if call.data.get("return_file_urls") else {}
    )


def _refuse_if_published(db, id_, models) -> None:
    children = db.execute(
        "SELECT count(*) FROM tasks WHERE parent = ? AND status = 'published'", (id_,)
    ).fetchone()[0]
    published = sum(bool(model.get("ready")) for model in models)
    for name, count in (("children", children), ("models", published)):
        if count:
            raise ApiError(
                "task_cannot_be_deleted",
                f"has published {name}, use force=True",
                **{"task": id_, name: count},
            )


def _is_used(db, model_id) -> bool:
    """Does any task take a model as its input, in either of the places for it?"""
    for field in ("models.input.model", "execution.model"):
        where, parameters = query.conditions(TASK, {field: [model_id]})
        sql = f"SELECT 1 FROM tasks WHERE {where}"
        if db.execute(sql, parameters).fetchone():
            return True
    return False
