"""Queues of tasks that wait for an agent.

Relied on by agents (``queues.get_next_task`` hands one task to one caller),
``Task.enqueue``, ``clearml-task --queue``, ``PipelineController.start(queue=...)``.
A client tries a queue's name as an id first and expects error 400/701 then.
"""

from .. import documents, query
from ..calls import endpoint
from ..errors import ApiError
from ..storage import QUEUE, TASK
from . import statistics, workers
from .common import HIDDEN, check_name, check_tags, name_of, rename_metadata

FIELDS = ("name", "display_name", "tags", "system_tags", "metadata")
DEFAULT = "default"
# Pipeline controllers wait here, so that they do not block the worker of their steps.
SERVICES = "services"
# Queues that are there for programs; people see them when they ask by name or id.
HIDDEN_TAGS = ("k8s-glue", HIDDEN)


@endpoint("queues.get_by_id")
def get_by_id(call):
    return {"queue": documents.get(call.db, QUEUE, call.data["queue"])}


@endpoint("queues.get_all")
def get_all(call, complete=None):
    request, also = call.data, {}
    if not any(request.get(name) for name in ("search_hidden", "id", "name")):
        also = {"system_tags": [f"-{tag}" for tag in HIDDEN_TAGS]}
    answer = query.search(call.db, QUEUE, request, also, complete)
    most = request.get("max_task_entries")
    for queue in answer["queues"]:
        if most is not None and "entries" in queue:
            queue["entries"] = queue["entries"][:most]
    return answer


@endpoint("queues.get_all_ex")
def get_all_ex(call):
    """As get_all, with the names of the tasks and the workers that listen."""

    def complete(queues):
        for queue in queues:
            for entry in queue.get("entries", []):
                entry["task"] = name_of(call.db, TASK, entry["task"])
            queue["workers"] = workers.of_queue(call.db, queue["id"])

    return get_all(call, complete)


@endpoint("queues.get_default")
def get_default(call):
    id_ = _default(call.db)
    return documents.get(call.db, QUEUE, id_, "id", "name")


@endpoint("queues.create", writes=True)
def create(call):
    name = check_name(call.data["name"])
    if _by_name(call.db, name):
        raise ApiError("expected_unique_data", name=name)
    check_tags(call.data)
    return {"id": _insert(call.db, **_fields(call.data) | {"name": name})}


@endpoint("queues.update", writes=True)
def update(call):
    documents.get(call.db, QUEUE, call.data["queue"], "id")
    check_tags(call.data)
    fields = _fields(call.data)
    if "name" in fields:
        fields["name"] = check_name(fields["name"])
    fields["last_update"] = documents.now()
    updated = documents.update(call.db, QUEUE, call.data["queue"], fields)
    return {"updated": updated, "fields": fields}


def _fields(request: dict) -> dict:
    """The fields of a request that a queue keeps."""
    fields = {k: request[k] for k in FIELDS if request.get(k) is not None}
    if "metadata" in fields:
        fields["metadata"] = rename_metadata(fields["metadata"])
    return fields


@endpoint("queues.delete", writes=True)
def delete(call):
    db, id_ = call.db, call.data["queue"]
    entries = documents.get(db, QUEUE, id_, "entries").get("entries", [])
    if entries and not call.data.get("force"):
        raise ApiError("queue_not_empty", "use force=true", id=id_)
    for entry in entries:
        _leave(db, entry["task"])
    return {"deleted": documents.delete(db, QUEUE, id_)}


@endpoint("queues.add_task", writes=True)
def add_task(call):
    db, task_id = call.db, call.data["task"]
    append(db, call.data["queue"], task_id)
    task = documents.get(db, TASK, task_id, "execution")
    execution = task.get("execution", {}) | {"queue": call.data["queue"]}
    documents.update(db, TASK, task_id, {"execution": execution})
    return {"added": 1}


@endpoint("queues.remove_task", writes=True)
def remove_task(call):
    db, task_id = call.db, call.data["task"]
    entries = _entries(db, call.data["queue"])
    kept = [entry for entry in entries if entry["task"] != task_id]
    if len(kept) == len(entries):
        raise ApiError("invalid_queue_or_task_not_queued", task=task_id)
    _keep(db, call.data["queue"], kept)
    if call.data.get("update_task_status"):
        _leave(db, task_id)
    return {"removed": 1}


@endpoint("queues.clear_queue", writes=True)
def clear_queue(call):
    entries = _entries(call.db, call.data["queue"])
    _keep(call.db, call.data["queue"], [])
    for entry in entries:
        _leave(call.db, entry["task"])
    return {"removed_tasks": [entry["task"] for entry in entries]}


@endpoint("queues.get_next_task", writes=True)
def get_next_task(call):
    """Take the first task (or the one named) from the queue."""
    db, wanted = call.db, call.data.get("task")
    entries = _entries(db, call.data["queue"])
    position = next(
        (i for i, e in enumerate(entries) if wanted in (None, "", e["task"])), None
    )
    if position is None:
        return {}
    entry = entries.pop(position)
    _keep(db, call.data["queue"], entries)
    tasks = documents.select(
        db, TASK, "id = ?", [entry["task"]], ["id", "status", "user", "company"]
    )
    answer = {"entry": entry}
    if tasks and call.data.get("get_task_info"):
        answer["task_info"] = {k: tasks[0].get(k) for k in ("company", "user")}
    return answer


@endpoint("queues.peek_task")
def peek_task(call):
    entries = _entries(call.db, call.data["queue"])
    return {"task": entries[0]["task"] if entries else None}


@endpoint("queues.get_num_entries")
def get_num_entries(call):
    return {"num": len(_entries(call.db, call.data["queue"]))}


@endpoint("queues.move_task_forward", writes=True)
def move_task_forward(call):
    return _move(call, lambda at, last: at - (call.data.get("count") or 1))


@endpoint("queues.move_task_backward", writes=True)
def move_task_backward(call):
    return _move(call, lambda at, last: at + (call.data.get("count") or 1))


@endpoint("queues.move_task_to_front", writes=True)
def move_task_to_front(call):
    return _move(call, lambda at, last: 0)


@endpoint("queues.move_task_to_back", writes=True)
def move_task_to_back(call):
    return _move(call, lambda at, last: last)


def _move(call, place) -> dict:
    entries = _entries(call.db, call.data["queue"])
    tasks = [entry["task"] for entry in entries]
    if call.data["task"] not in tasks:
        raise ApiError("invalid_queue_or_task_not_queued", task=call.data["task"])
    at, last = tasks.index(call.data["task"]), len(tasks) - 1
    entry, to = entries.pop(at), min(max(place(at, last), 0), last)
    entries.insert(to, entry)
    _keep(call.db, call.data["queue"], entries)
    return {"position": to}


@endpoint("queues.add_or_update_metadata", writes=True)
def add_or_update_metadata(call):
    kept = documents.get(call.db, QUEUE, call.data["queue"], "metadata")
    kept = {} if call.data.get("replace_metadata") else kept.get("metadata", {})
    fields = {"metadata": kept | rename_metadata(call.data["metadata"])}
    return {"updated": documents.update(call.db, QUEUE, call.data["queue"], fields)}


@endpoint("queues.delete_metadata", writes=True)
def delete_metadata(call):
    kept = documents.get(call.db, QUEUE, call.data["queue"], "metadata")
    gone = call.data["keys"]
    kept = {k: v for k, v in kept.get("metadata", {}).items() if k not in gone}
    fields = {"metadata": kept}
    return {"updated": documents.update(call.db, QUEUE, call.data["queue"], fields)}


def resolve(call) -> str:
    """Return the id of the queue a call means: by id, by name, or the default one."""
    if id_ := call.data.get("queue"):
        return documents.get(call.db, QUEUE, id_, "id")["id"]
    if name := call.data.get("queue_name"):
        return _by_name(call.db, name) or _insert(call.db, name=check_name(name))
    return _default(call.db)


def _default(db) -> str:
    tagged = query.search(db, QUEUE, {"system_tags": [DEFAULT]})["queues"]
    if not tagged:
        raise ApiError("no_default_queue")
    return tagged[0]["id"]


def prepare(db) -> None:
    """Make the queues that a new server has."""
    if db.execute("SELECT 1 FROM queues").fetchone() is None:
        _insert(db, name=DEFAULT, system_tags=[DEFAULT])
        _insert(db, name=SERVICES)


def append(db, queue_id: str, task_id: str) -> None:
    """Put a task at the end of a queue.

    Raises:
        ApiError: It is in there already, or there is no such queue.
    """
    entries = _entries(db, queue_id)
    if any(entry["task"] == task_id for entry in entries):
        raise ApiError("task_already_queued", task=task_id)
    _keep(db, queue_id, [*entries, {"task": task_id, "added": documents.now()}])


def remove_from_all(db, task_id: str, but: str | None = None) -> int:
    """Take a task out of whatever queue (except one) it is in; return of how many."""
    found = 0
    for queue in documents.select(db, QUEUE, "1", (), ["id", "entries"]):
        entries = queue.get("entries", [])
        kept = [entry for entry in entries if entry["task"] != task_id]
        if len(kept) < len(entries) and queue["id"] != but:
            _keep(db, queue["id"], kept)
            found += 1
    return found


def is_watched(db, queue_id: str) -> bool:
    """Does any worker listen to this queue?"""
    sql = "SELECT 1 FROM workers, json_each(queues) AS has WHERE has.value = ?"
    return db.execute(sql, (queue_id,)).fetchone() is not None


def _leave(db, task_id) -> None:
    """Give a task that was thrown out of its queue the status it had before."""
    tasks = documents.select(
        db, TASK, "id = ?", [task_id], ["status", "enqueue_status"]
    )
    if tasks and tasks[0]["status"] == "queued":
        status = tasks[0].get("enqueue_status") or "created"
        documents.update(
            db,
            TASK,
            task_id,
            {"status": status, "enqueue_status": None, "last_update": documents.now()},
        )


def _by_name(db, name):
    row = db.execute("SELECT id FROM queues WHERE name = ?", (name,)).fetchone()
    return row and row["id"]


def _insert(db, **fields) -> str:
    time = documents.now()
    record = {
        "user": documents.USER,
        "company": documents.COMPANY,
        "created": time,
        "last_update": time,
        "tags": [],
        "system_tags": [],
        "metadata": {},
        "entries": [],
    }
    return documents.insert(db, QUEUE, record | fields)


def _entries(db, queue_id) -> list[dict]:
    return documents.get(db, QUEUE, queue_id, "entries").get("entries", [])


def _keep(db, queue_id, entries) -> None:
    fields = {"entries": entries, "last_update": documents.now()}
    documents.update(db, QUEUE, queue_id, fields)
    statistics.note_queue(db, queue_id, entries)
