"""Changes of a task's status, with the refusals of the real server.

Relied on by ``task.mark_started/stopped/completed/failed``, ``task.close``,
``Task.enqueue/dequeue``, ``task.publish``, ``set_archived``, the pipeline controller
(abort and failure of steps), and agents. Reset and deletion are in ``task_removal``.

A task goes created -> (queued ->) in_progress -> completed, stopped or failed ->
published. A change that is not in TRANSITIONS is refused unless forced.
"""

from datetime import datetime, timezone
from typing import Any

from .. import documents
from ..calls import endpoint
from ..errors import ApiError
from ..storage import MODEL, TASK
from . import queues
from .common import ARCHIVED, for_each, touch_project
from .tasks import DEVELOPMENT, change

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
RUNNING = ("queued", "in_progress")


def change_status(
    call, task: dict, status: str, again=True, force=None, **fields
) -> dict:
    """Give a task another status and set further fields; return the update's answer.

    Args:
        task: As `read` returns it.
        again: Allow the status that the task already has.
        force: Allow any change; the call says whether, if None.

    Raises:
        ApiError: This change is not allowed.
    """
    current, request = task["status"], call.data
    if not (request.get("force") if force is None else force):
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
    if current == "queued" != status:
        queues.remove_from_all(call.db, task["id"])
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


def read(call, id_=None) -> dict:
    """The parts of a task (default: the one the call names) that actions look at."""
    names = (
        "id type status project system_tags started execution models output "
        "last_worker last_update enqueue_status"
    ).split()
    return documents.get(call.db, TASK, id_ or call.data["task"], *names)


@endpoint("tasks.started", writes=True)
def started(call):
    task = read(call)
    fields = {"started": documents.now(), "completed": None, "active_duration": None}
    if task["status"] == "in_progress" and task.get("started"):
        fields = {}
    answer = change_status(call, task, "in_progress", **fields)
    return answer | {"started": answer["updated"]}


@endpoint("tasks.stopped", writes=True)
def stopped(call):
    return _ended(call, "stopped")


@endpoint("tasks.failed", writes=True)
def failed(call):
    return _ended(call, "failed")


@endpoint("tasks.close", writes=True)
def close(call):
    return change_status(call, read(call), "closed")


@endpoint("tasks.completed", writes=True)
def completed(call):
    answer = _ended(call, "completed") | {"published": 0}
    if call.data.get("publish"):
        published = _publish(call, call.data["task"])
        answer["published"] = published["updated"]
        answer["fields"]["status"] = "published"
    return answer


def _ended(call, status: str) -> dict:
    task = read(call)
    fields: dict[str, Any] = {"completed": documents.now()}
    if task.get("started") and task["status"] == "in_progress":
        fields["active_duration"] = seconds_since(task["started"])
    return change_status(call, task, status, **fields)


def seconds_since(time: str) -> int:
    """Whole seconds from a stored time until now."""
    past = datetime.now(timezone.utc) - datetime.fromisoformat(time)
    return int(past.total_seconds())


@endpoint("tasks.ping", writes=True)
def ping(call):
    task = documents.get(call.db, TASK, call.data["task"], "status", "started")
    time = documents.now()
    fields: dict[str, Any] = {"last_update": time, "last_change": time}
    if task["status"] == "in_progress" and task.get("started"):
        fields["active_duration"] = seconds_since(task["started"])
    documents.update(call.db, TASK, call.data["task"], fields)


@endpoint("tasks.stop", writes=True)
def stop(call):
    return _stop(call, call.data["task"])


@endpoint("tasks.stop_many", writes=True)
def stop_many(call):
    return for_each(call, lambda id_: _stop(call, id_))


def _stop(call, id_) -> dict:
    """Stop at once what nobody runs; ask the worker to stop what it runs."""
    task = read(call, id_)
    for step in steps(call, task):
        if step["status"] in RUNNING:
            _stop(call, step["id"])
    worker_runs_it = (
        task.get("last_worker")
        and seconds_since(task["last_update"]) < WORKER_SECONDS
        and DEVELOPMENT not in task["system_tags"]
    )
    if worker_runs_it and task["status"] != "queued":
        return change_status(call, task, task["status"], status_message="stopping")
    message = f"Stopped by {documents.USER}"
    return change_status(call, task, "stopped", status_message=message)


def steps(call, task: dict) -> list[dict]:
    """The steps of a pipeline's task, if the call wants them included."""
    if task["type"] != "controller" or not call.data.get("include_pipeline_steps"):
        return []
    return documents.select(call.db, TASK, "parent = ?", [task["id"]])


@endpoint("tasks.enqueue", writes=True)
def enqueue(call):
    return _enqueue(call, call.data["task"]) | _watched(call)


@endpoint("tasks.enqueue_many", writes=True)
def enqueue_many(call):
    return for_each(call, lambda id_: _enqueue(call, id_)) | _watched(call)


def _enqueue(call, id_) -> dict:
    task = read(call, id_)
    queue_id = queues.resolve(call)
    queues.append(call.db, queue_id, id_)
    queues.remove_from_all(call.db, id_, but=queue_id)
    before = task["status"]
    if before == "queued":
        before = task.get("enqueue_status")
    execution = task.get("execution", {}) | {"queue": queue_id}
    answer = change_status(
        call, task, "queued", enqueue_status=before, execution=execution
    )
    answer["fields"] |= {"execution.queue": queue_id}
    answer["fields"].pop("execution")
    return answer | {"queued": 1}


def _watched(call) -> dict:
    if not call.data.get("verify_watched_queue"):
        return {}
    return {"queue_watched": queues.is_watched(call.db, queues.resolve(call))}


@endpoint("tasks.dequeue", writes=True)
def dequeue(call):
    return _dequeue(call, call.data["task"])


@endpoint("tasks.dequeue_many", writes=True)
def dequeue_many(call):
    return for_each(call, lambda id_: _dequeue(call, id_))


def _dequeue(call, id_) -> dict:
    task = read(call, id_)
    return _out_of_queue(call, task, call.data.get("new_status")) | {"dequeued": 1}


def _out_of_queue(call, task: dict, status: str | None) -> dict:
    """Give a task that waits or runs another status, else the one before the queue."""
    queues.remove_from_all(call.db, task["id"])
    if task["status"] not in RUNNING:
        return {"updated": 0, "fields": {}}
    status = status or task.get("enqueue_status") or "created"
    if status not in TRANSITIONS:
        raise ApiError("validation_error", "no such status", status=status)
    execution = dict(task.get("execution", {}))
    execution.pop("queue", None)
    answer = change_status(
        call, task, status, force=True, enqueue_status=None, execution=execution
    )
    answer["fields"].pop("execution")
    return answer


@endpoint("tasks.archive", writes=True)
def archive(call):
    archived = [_archive(call, id_) for id_ in call.data["tasks"]]
    return {"archived": len(archived)}


@endpoint("tasks.archive_many", writes=True)
def archive_many(call):
    return for_each(call, lambda id_: _archive(call, id_))


def _archive(call, id_) -> dict:
    task = read(call, id_)
    for step in [*steps(call, task), task]:
        status = "stopped" if step["status"] == "in_progress" else None
        _out_of_queue(call, step, status)
        names = ("status_reason", "status_message")
        said = {name: call.data[name] for name in names if call.data.get(name)}
        change(call.db, step["id"], said)
        _retag(call, step["id"], add=ARCHIVED)
    return {"archived": True}


@endpoint("tasks.unarchive_many", writes=True)
def unarchive_many(call):
    def act(id_):
        task = read(call, id_)
        for step in [*steps(call, task), task]:
            _retag(call, step["id"], drop=ARCHIVED)
        return {"unarchived": True}

    return for_each(call, act)


def _retag(call, id_, add=None, drop=None) -> None:
    tags = documents.get(call.db, TASK, id_, "system_tags")["system_tags"]
    tags = [tag for tag in tags if tag not in (add, drop)] + [add] * bool(add)
    change(call.db, id_, {"system_tags": tags})


@endpoint("tasks.publish", writes=True)
def publish(call):
    return _publish(call, call.data["task"])


@endpoint("tasks.publish_many", writes=True)
def publish_many(call):
    return for_each(call, lambda id_: _publish(call, id_))


def _publish(call, id_) -> dict:
    task = read(call, id_)
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
    task = read(call, id_)
    force = bool(call.data.get("force_publish_task"))
    time = documents.now()
    return change_status(call, task, "published", force=force, published=time)
