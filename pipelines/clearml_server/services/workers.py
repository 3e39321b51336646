"""Workers: the agents that take tasks from queues.

Relied on by ``clearml-agent daemon`` and ``clearml-agent execute``, which register,
report every few seconds what they run, and unregister at their end; and by
``APIClient().workers``.
"""

from datetime import datetime, timedelta, timezone

from .. import documents, query
from ..calls import endpoint
from ..errors import ApiError
from ..storage import PROJECT, QUEUE, TASK, WORKER
from . import statistics
from .common import name_of

TIMEOUT_SECONDS = 600
MOST_SECONDS = 10**9


@endpoint("workers.register", writes=True)
def register(call):
    db, request = call.db, call.data
    for queue_id in request.get("queues") or []:
        documents.get(db, QUEUE, queue_id, "id")
    time = documents.now()
    documents.delete(db, WORKER, request["worker"])
    documents.insert(
        db,
        WORKER,
        {
            "id": request["worker"],
            "register_time": time,
            "register_timeout": request.get("timeout") or TIMEOUT_SECONDS,
            "ip": request.get("ip") or call.client,
            "last_activity_time": time,
            "queues": request.get("queues") or [],
            "tags": request.get("tags") or [],
            "system_tags": request.get("system_tags") or [],
        },
    )


@endpoint("workers.unregister", writes=True)
def unregister(call):
    if not documents.delete(call.db, WORKER, call.data["worker"]):
        raise ApiError("worker_not_registered", worker=call.data["worker"])


@endpoint("workers.status_report", writes=True)
def status_report(call):
    db, request = call.db, call.data
    if not documents.exists(db, WORKER, request["worker"]):
        register(call)
    time = documents.now()
    fields = {
        "last_activity_time": time,
        "last_report_time": time,
        "queue": request.get("queue"),
        "task": request.get("task"),
    }
    for name in ("queues", "tags", "system_tags", "machine_stats"):
        if request.get(name) is not None:
            fields[name] = request[name]
    documents.update(db, WORKER, request["worker"], fields)
    statistics.note_worker(db, request)
    if request.get("task"):
        updated = documents.update(
            db,
            TASK,
            request["task"],
            {
                "last_worker": request["worker"],
                "last_worker_report": time,
                "last_update": time,
            },
        )
        if not updated:
            raise ApiError("invalid_task_id", id=request["task"])


@endpoint("workers.get_all")
def get_all(call):
    seconds = call.data.get("last_seen")
    seconds = 3600 if seconds is None else min(max(1, seconds), MOST_SECONDS)
    now = datetime.now(timezone.utc)
    asked = {k: v for k, v in call.data.items() if k != "last_seen"}
    where, parameters = query.conditions(WORKER, asked)
    found = documents.select(call.db, WORKER, where, parameters)
    return {
        "workers": [_answer(call.db, w) for w in found if _is_there(w, now, seconds)]
    }


def _is_there(worker: dict, now: datetime, seconds: int) -> bool:
    """Has a worker been heard of lately, and within the time it named itself?"""
    silent = now - datetime.fromisoformat(worker["last_activity_time"])
    named = worker.get("register_timeout", TIMEOUT_SECONDS)
    return silent <= timedelta(seconds=min(seconds, named))


@endpoint("workers.get_count")
def get_count(call):
    return {"count": len(get_all(call)["workers"])}


@endpoint("workers.get_runtime_properties")
def get_runtime_properties(call):
    return {"runtime_properties": []}


@endpoint("workers.set_runtime_properties", writes=True)
def set_runtime_properties(call):
    return {"added": [], "errors": []}


def _answer(db, worker: dict) -> dict:
    """A worker as the API shows it: with names beside the ids."""
    answer = {k: v for k, v in worker.items() if k != "machine_stats"}
    answer |= {"key": key_of(worker["id"]), "user": {"id": documents.USER}}
    answer["company"] = {"id": documents.COMPANY, "name": documents.COMPANY}
    answer["queues"] = [name_of(db, QUEUE, id_) for id_ in worker.get("queues", [])]
    if "queue" in worker:
        answer["queue"] = name_of(db, QUEUE, worker["queue"])
    if "task" in worker:
        answer["task"] = name_of(db, TASK, worker["task"])
        tasks = documents.select(db, TASK, "id = ?", [worker["task"]], ["project"])
        if tasks and "project" in tasks[0]:
            answer["project"] = name_of(db, PROJECT, tasks[0]["project"])
    return answer


def key_of(worker_id: str) -> str:
    """What the real server calls a worker inside."""
    return f"worker_{documents.COMPANY}_{documents.USER}_{worker_id}"


def of_queue(db, queue_id: str) -> list[dict]:
    """The workers that listen to a queue, and what they run."""
    where = (
        "EXISTS (SELECT 1 FROM json_each(workers.queues) AS has WHERE has.value = ?)"
    )
    found = []
    for worker in documents.select(db, WORKER, where, [queue_id]):
        shown = {"name": worker["id"], "key": key_of(worker["id"])}
        if worker.get("ip"):
            shown["ip"] = worker["ip"]
        if worker.get("task"):
            shown["task"] = name_of(db, TASK, worker["task"])
        found.append(shown)
    return found
