"""Changes of a task's status, with the refusals of the real server.

Relied on by ``task.mark_started/stopped/completed/failed``, ``task.close``,
``Task.enqueue/dequeue``, ``task.reset``, ``task.delete``, ``task.publish``,
``set_archived``, the pipeline controller (abort and failure of steps), and agents.

A task goes created -> (queued ->) in_progress -> completed, stopped or failed ->
published. A change that is not in TRANSITIONS is refused unless forced.
"""

from datetime import datetime, timezone

from .. import documents
from ..calls import endpoint
from ..errors import ApiError
from ..storage import MODEL, TASK
from . import events, queues
from .common import ARCHIVED, for_each, touch_project
from .tasks import DELETED, DEVELOPMENT, change

TRANSITIONS = {
    "created": {"queued", "in_progress"},
    "queued": {"created", "in_progress", "stopped"},
    "in_progress": {"stopped", "failed", "created", "completed"},
    "stopped": {
        "closed",
        "created",
        "failed",
        "queued",
        "in_progress",
        "published",
        "publishing",
        "completed",
    },
    "closed": {"created", "failed", "published", "publishing", "stopped"},
    "failed": {"created", "stopped", "published", "queued"},
    "publishing": {"published"},
    "published": set(),
    "completed": {"published", "in_progress", "created"},
}
# A worker that has not been heard of for so long does not stop its task any more.
WORKER_SECONDS = 600
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


def change_status(call, task: dict, status: str, again=True, **fields) -> dict:
    """Give a task another status and set further fields; return the update's answer.

    Args:
        task: With at least id, status and system_tags.
        again: Allow the status that the task already has.

    Raises:
        ApiError: This change is not allowed, and the call has no "force".
    """
    current, request = task["status"], call.data
    if not request.get("force"):
        if status == current and not again:
            raise ApiError(
                "invalid_task_status",
                "Task already in requested status",
                current_status=current,
                new_status=status,
            )
        if status != current and status not in TRANSITIONS[current]:
            raise ApiError(
                "invalid_task_status",
                "Invalid status change",
                current_status=current,
                new_status=status,
            )
    time = documents.now()
    if status == "queued" and DEVELOPMENT in task.get("system_tags", []):
        tags = [tag for tag in task["system_tags"] if tag != DEVELOPMENT]
        fields = {"system_tags": tags} | fields
    fields = {
        "status": status,
        "status_reason": request.get("status_reason") or "",
        "status_message": request.get("status_message") or "",
        "status_changed": time,
        "last_update": time,
        "last_change": time,
        "last_changed_by": documents.USER,
    } | fields
    touch_project(call.db, task.get("project"))
    updated = documents.update(call.db, TASK, task["id"], fields)
    return {"updated": updated, "fields": fields}


def _task(call, id_=None) -> dict:
    names = (
        "id status project system_tags started execution models output "
        "last_worker last_update enqueue_status"
    ).split()
    return documents.get(call.db, TASK, id_ or call.data["task"], *names)


@endpoint("tasks.started", needs=["task"], writes=True)
def started(call):
    task = _task(call)
    fields = {"started": documents.now(), "completed": None, "active_duration": None}
    if task["status"] == "in_progress" and task.get("started"):
        fields = {}
    answer = change_status(call, task, "in_progress", **fields)
    return answer | {"started": answer["updated"]}


@endpoint("tasks.stopped", needs=["task"], writes=True)
def stopped(call):
    return _ended(call, "stopped")


@endpoint("tasks.failed", needs=["task"], writes=True)
def failed(call):
    return _ended(call, "failed")


@endpoint("tasks.close", needs=["task"], writes=True)
def close(call):
    return change_status(call, _task(call), "closed")


@endpoint("tasks.completed", needs=["task"], writes=True)
def completed(call):
    answer = _ended(call, "completed")
    if call.data.get("publish"):
        published = _publish(call, call.data["task"])
        answer["published"] = published["updated"]
        answer["fields"]["status"] = "published"
    return answer


def _ended(call, status: str) -> dict:
    task = _task(call)
    fields = {"completed": documents.now()}
    if task.get("started") and task["status"] == "in_progress":
        fields["active_duration"] = seconds_since(task["started"])
    return change_status(call, task, status, **fields)


def seconds_since(time: str) -> int:
    """Whole seconds from a stored time until now."""
    past = datetime.now(timezone.utc) - datetime.fromisoformat(time)
    return int(past.total_seconds())


@endpoint("tasks.ping", needs=["task"], writes=True)
def ping(call):
    task = documents.get(call.db, TASK, call.data["task"], "status", "started")
    time = documents.now()
    fields = {"last_update": time, "last_change": time}
    if task["status"] == "in_progress" and task.get("started"):
        fields["active_duration"] = seconds_since(task["started"])
    documents.update(call.db, TASK, call.data["task"], fields)


@endpoint("tasks.stop", needs=["task"], writes=True)
def stop(call):
    return _stop(call, call.data["task"])


@endpoint("tasks.stop_many", needs=["ids"], writes=True)
def stop_many(call):
    return for_each(call, lambda id_: _stop(call, id_))


def _stop(call, id_) -> dict:
    """Stop at once what nobody runs; ask the worker to stop what it runs."""
    task = _task(call, id_)
    worker_runs_it = (
        task.get("last_worker")
        and seconds_since(task["last_update"]) < WORKER_SECONDS
        and DEVELOPMENT not in task["system_tags"]
    )
    if task["status"] == "queued":
        queues.remove_from_all(call.db, id_)
    elif worker_runs_it:
        return change_status(call, task, task["status"], status_message="stopping")
    message = f"Stopped by {documents.USER}"
    return change_status(call, task, "stopped", status_message=message)


@endpoint("tasks.enqueue", needs=["task"], writes=True)
def enqueue(call):
    return _enqueue(call, call.data["task"]) | _watched(call)


@endpoint("tasks.enqueue_many", needs=["ids"], writes=True)
def enqueue_many(call):
    return for_each(call, lambda id_: _enqueue(call, id_)) | _watched(call)


def _enqueue(call, id_) -> dict:
    task = _task(call, id_)
    queue_id = queues.resolve(call)
    execution = task.get("execution", {}) | {"queue": queue_id}
    answer = change_status(
        call,
        task,
        "queued",
        again=False,
        enqueue_status=task["status"],
        execution=execution,
    )
    queues.append(call.db, queue_id, id_)
    answer["fields"] |= {"execution.queue": queue_id}
    answer["fields"].pop("execution")
    return answer | {"queued": 1}


def _watched(call) -> dict:
    if not call.data.get("verify_watched_queue"):
        return {}
    return {"queue_watched": queues.is_watched(call.db, queues.resolve(call))}


@endpoint("tasks.dequeue", needs=["task"], writes=True)
def dequeue(call):
    return _dequeue(call, call.data["task"])


@endpoint("tasks.dequeue_many", needs=["ids"], writes=True)
def dequeue_many(call):
    return for_each(call, lambda id_: _dequeue(call, id_))


def _dequeue(call, id_) -> dict:
    task = _task(call, id_)
    if task["status"] != "queued":
        raise ApiError("invalid_queue_or_task_not_queued", status=task["status"])
    queues.remove_from_all(call.db, id_)
    execution = dict(task.get("execution", {}))
    execution.pop("queue", None)
    status = call.data.get("new_status") or task.get("enqueue_status") or "created"
    answer = change_status(call, task, status, enqueue_status=None, execution=execution)
    return answer | {"dequeued": 1}


@endpoint("tasks.archive", needs=["tasks"], writes=True)
def archive(call):
    archived = [_archive(call, id_) for id_ in call.data["tasks"]]
    return {"archived": len(archived)}


@endpoint("tasks.archive_many", needs=["ids"], writes=True)
def archive_many(call):
    return for_each(call, lambda id_: _archive(call, id_))


def _archive(call, id_) -> dict:
    if _task(call, id_)["status"] == "queued":
        _dequeue(call, id_)
    _retag(call, id_, add=ARCHIVED)
    return {"archived": True}


@endpoint("tasks.unarchive_many", needs=["ids"], writes=True)
def unarchive_many(call):
    def act(id_):
        _retag(call, id_, drop=ARCHIVED)
        return {"unarchived": True}

    return for_each(call, act)


def _retag(call, id_, add=None, drop=None) -> None:
    tags = documents.get(call.db, TASK, id_, "system_tags")["system_tags"]
    tags = [tag for tag in tags if tag not in (add, drop)] + [add] * bool(add)
    change(call.db, id_, {"system_tags": tags})


@endpoint("tasks.publish", needs=["task"], writes=True)
def publish(call):
    return _publish(call, call.data["task"])


@endpoint("tasks.publish_many", needs=["ids"], writes=True)
def publish_many(call):
    return for_each(call, lambda id_: _publish(call, id_))


def _publish(call, id_) -> dict:
    task = _task(call, id_)
    answer = change_status(
        call, task, "published", again=False, published=documents.now()
    )
    outputs = task["models"].get("output") or []
    if outputs and call.data.get("publish_model") is not False:
        documents.update(
            call.db,
            MODEL,
            outputs[-1]["model"],
            {"ready": True, "last_update": documents.now()},
        )
    return answer


def publish_with_model(call, id_) -> dict:
    """Publish the task whose model is being published, if its status allows it."""
    task = _task(call, id_)
    call.data["force"] = call.data.get("force_publish_task")
    return change_status(call, task, "published", published=documents.now())


@endpoint("tasks.reset", needs=["task"], writes=True)
def reset(call):
    return _reset(call, call.data["task"])


@endpoint("tasks.reset_many", needs=["ids"], writes=True)
def reset_many(call):
    return for_each(call, lambda id_: _reset(call, id_))


def _reset(call, id_) -> dict:
    task = _task(call, id_)
    if task["status"] == "published" and not call.data.get("force"):
        raise ApiError("invalid_task_status", task_id=id_, status="published")
    dequeued = {"removed": queues.remove_from_all(call.db, id_)}
    cleaned = _clean_up(call, task, call.data.get("force"))
    execution = dict(task.get("execution", {}))
    execution.pop("queue", None)
    if artifacts := execution.get("artifacts"):
        execution["artifacts"] = [a for a in artifacts if a.get("mode") == "input"]
    fields = RESET_FIELDS | {
        "execution": execution,
        "models": task["models"] | {"output": []},
        "status_reason": "reset",
        "status_message": "reset",
    }
    if call.data.get("clear_all"):
        fields |= {"execution": {}, "script": {}}
    answer = change_status(call, task, "created", **fields)
    answer["fields"].pop("execution", None)
    return answer | cleaned | {"dequeued": dequeued}


@endpoint("tasks.delete", needs=["task"], writes=True)
def delete(call):
    return remove(call, call.data["task"], call.data.get("force"))


@endpoint("tasks.delete_many", needs=["ids"], writes=True)
def delete_many(call):
    return for_each(call, lambda id_: remove(call, id_, call.data.get("force")))


def remove(call, id_, force) -> dict:
    """Delete a task with its events, draft models and files.

    Raises:
        ApiError: It is neither new nor archived, or published things depend on it,
            and `force` is not set.
    """
    task = _task(call, id_)
    if (
        task["status"] != "created"
        and ARCHIVED not in task["system_tags"]
        and not force
    ):
        raise ApiError(
            "task_cannot_be_deleted",
            "due to status, use force=True",
            task=id_,
            expected="created",
            current=task["status"],
        )
    queues.remove_from_all(call.db, id_)
    answer = _clean_up(call, task, force, orphan_children=True)
    documents.delete(call.db, TASK, id_)
    touch_project(call.db, task.get("project"))
    return answer | {"deleted": True}


def _clean_up(call, task, force, orphan_children=False) -> dict:
    """Remove what a task made: events, draft models, and files kept here."""
    db, id_ = call.db, task["id"]
    models = documents.select(db, MODEL, "task = ?", [id_], ["id", "uri", "ready"])
    published = [model for model in models if model.get("ready")]
    if not force:
        children = db.execute(
            "SELECT count(*) FROM tasks WHERE parent = ? AND status = 'published'",
            (id_,),
        ).fetchone()[0]
        if children and orphan_children:
            raise ApiError("task_cannot_be_deleted", "has published children", task=id_)
        if published:
            raise ApiError("task_cannot_be_deleted", "has published models", task=id_)
    drafts = [model for model in models if not model.get("ready")]
    if call.data.get("delete_output_models") is False:
        drafts = []
    artifacts = task.get("execution", {}).get("artifacts") or []
    urls = {
        "artifact_urls": [
            a["uri"] for a in artifacts if a.get("mode") != "input" and a.get("uri")
        ],
        "model_urls": [model["uri"] for model in drafts if model.get("uri")],
        "event_urls": events.delete_all(db, id_),
    }
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
        every = [url for kind in urls.values() for url in kind]
        call.after.append(lambda: call.server.files.delete_urls(every))
    return {
        "deleted_models": len(drafts),
        "updated_children": updated_children,
        "updated_models": updated_models,
    } | ({"urls": urls} if call.data.get("return_file_urls") else {})
