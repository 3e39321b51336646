"""Taking in what tasks report: scalars, plots, images, console lines.

Relied on by ``logger.report_*``, ``report_text``, captured console output, TensorBoard
and matplotlib capture, resource monitoring, ``OutputModel.report_scalar``. Reading back
is in ``scalars``, ``event_reads`` and ``event_samples``.

A scalar of the same metric, variant and iteration replaces the former one. Each task
also carries its last, lowest and highest value of each metric (``last_metrics``, keyed
by MD5 of metric and variant), which makes "the best by metric" a query.
"""

import hashlib
import json
import math
import re
import time
from typing import Any

from .. import documents
from ..calls import endpoint
from ..errors import ApiError
from ..storage import MODEL, TASK

SCALAR = "training_stats_scalar"
LOG = "log"
PLOT = "plot"
IMAGE = "training_debug_image"
TYPES = {SCALAR, LOG, PLOT, IMAGE, "training_stats_vector"}
LOCKED = ("publishing", "published")
# The iteration under which the SDK reports single values.
SINGLE_VALUE = -(2**31)
# The names that a console line may carry.
LOG_METRIC = "ifnull(json_extract(doc, '$.metric'), '')"
LOG_VARIANT = "ifnull(json_extract(doc, '$.variant'), '')"
TEXTS = ("msg", "url", "plot_str", "key", "level", "worker")
# Names of series that a task may have before further ones are left out of last_metrics.
MAX_LAST_METRICS = 2000


@endpoint("events.add", writes=True)
@endpoint("events.add_batch", writes=True)
def add(call):
    """Keep a batch of events; those that cannot be kept are counted by reason."""
    if not call.batch:
        raise ApiError("batch_contains_no_items")
    refused, accepted = {}, {}
    entities = {}
    for event in call.batch:
        reason = _why_not(call.db, event, entities)
        if reason:
            refused[reason] = refused.get(reason, 0) + 1
        else:
            accepted.setdefault(event["task"], []).append(event)
    if not accepted:
        raise ApiError("events_not_added", **refused)
    for id_, events in accepted.items():
        _keep(call, entities[id_], id_, events)
    added = len(call.batch) - sum(refused.values())
    return {
        "added": added,
        "errors": sum(refused.values()),
        "errors_info": refused,
    }


def _why_not(db, event: dict, entities: dict) -> str | None:
    """Say why an event cannot be kept; note what kind of thing it belongs to."""
    kind = event.get("type")
    if not isinstance(kind, str):
        return "Event must have a 'type' field"
    event["type"] = kind = kind.replace(" ", "_")
    if kind not in TYPES:
        return f"Invalid event type {kind}"
    if kind == LOG and event.get("model_event"):
        return "Models have no console"
    id_ = event.get("task")
    if not isinstance(id_, str):
        return "Event must have a 'task' field"
    if id_ not in entities:
        entities[id_] = _owner(db, event)
    if entities[id_] is None:
        return "Invalid task id"
    try:
        event["iter"] = int(event.get("iter") or 0)
        event["timestamp"] = int(event.get("timestamp") or time.time() * 1000)
        if kind == SCALAR:
            event["value"] = float(event.get("value", ""))
            if not math.isfinite(event["value"]):  # 1e999
                raise ValueError
    except (TypeError, ValueError, OverflowError):
        return "Invalid iteration, timestamp or value"
    if not all(-(2**63) <= event[name] < 2**63 for name in ("iter", "timestamp")):
        return "Iteration number or timestamp out of range"
    for name in TEXTS:
        if not isinstance(event.get(name, ""), str):
            event[name] = str(event[name])
    event["metric"] = str(event.get("metric") or "")
    event["variant"] = str(event.get("variant") or "")
    return None


def _owner(db, event: dict):
    """TASK or MODEL, or None where there is no such thing that may be written to."""
    if event.get("model_event"):
        return MODEL if documents.exists(db, MODEL, event["task"]) else None
    found = documents.select(db, TASK, "id = ?", [event["task"]], ["status"])
    if not found or (found[0]["status"] in LOCKED and not event.get("allow_locked")):
        return None
    return TASK


def _keep(call, entity, id_: str, events: list[dict]) -> None:
    scalars = [event for event in events if event["type"] == SCALAR]
    _keep_scalars(call.db, id_, scalars)
    logs, others = [], []
    for event in events:
        if event["type"] == SCALAR:
            continue
        event.setdefault("worker", call.worker)
        (logs if event["type"] == LOG else others).append(event)
    call.db.executemany(
        "INSERT INTO logs (task, timestamp, doc) VALUES (?, ?, ?)",
        [(id_, e["timestamp"], json.dumps(e)) for e in logs],
    )
    call.db.executemany(
        "INSERT OR REPLACE INTO events "
        "(task, type, metric, variant, iter, key, timestamp, doc) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                id_,
                e["type"],
                e["metric"],
                e["variant"],
                e["iter"],
                str(e.get("key") or ""),
                e["timestamp"],
                json.dumps(e),
            )
            for e in others
        ],
    )
    _note(call.db, entity, id_, scalars, [e for e in events if e["type"] != LOG])


def _keep_scalars(db, id_: str, scalars: list[dict]) -> None:
    series = {}
    points = []
    for event in scalars:
        names = (event["metric"], event["variant"])
        if names not in series:
            series[names] = _series(db, id_, *names)
        point = (event["iter"], event["value"], event["timestamp"])
        points.append((series[names], *point))
    db.executemany("INSERT OR REPLACE INTO points VALUES (?, ?, ?, ?)", points)


def _series(db, id_: str, metric: str, variant: str) -> int:
    sql = "SELECT id FROM series WHERE task = ? AND metric = ? AND variant = ?"
    row = db.execute(sql, (id_, metric, variant)).fetchone()
    if row:
        return row["id"]
    sql = "INSERT INTO series (task, metric, variant) VALUES (?, ?, ?)"
    return db.execute(sql, (id_, metric, variant)).lastrowid


def _note(db, entity, id_: str, scalars: list[dict], events: list[dict]) -> None:
    """Bring the record's last iteration, last metrics and time up to date."""
    now = documents.now()
    fields: dict[str, Any] = {"last_update": now, "last_change": now}
    iterations = [e["iter"] for e in events if e["iter"] != SINGLE_VALUE]
    if iterations or scalars:
        record = documents.get(db, entity, id_, "last_iteration", "last_metrics")
        last = record.get("last_iteration", 0)
        fields["last_iteration"] = max([last, *iterations])
        if scalars:
            fields["last_metrics"] = record.get("last_metrics", {})
            for event in scalars:
                note_scalar(fields["last_metrics"], event)
    documents.update(db, entity, id_, fields)


def hashed(name: str) -> str:
    """The key of a metric or variant in ``last_metrics``."""
    return hashlib.md5(name.encode()).hexdigest()


def note_scalar(last_metrics: dict, event: dict) -> None:
    """Bring ``last_metrics`` up to date with one scalar event."""
    value, iteration = event["value"], event["iter"]
    variants = last_metrics.setdefault(hashed(event["metric"]), {})
    key = hashed(event["variant"])
    last = variants.get(key)
    if last is None:
        if sum(map(len, last_metrics.values())) >= MAX_LAST_METRICS:
            return
        last = variants[key] = {
            "metric": event["metric"],
            "variant": event["variant"],
            "value": value,
            "min_value": value,
            "min_value_iteration": iteration,
            "max_value": value,
            "max_value_iteration": iteration,
            "first_value": value,
            "first_value_iteration": iteration,
            "iter": iteration,
            "count": 0,
            "mean_value": 0.0,
        }
    # a single value has no place among iterations: the new one is the last
    if iteration == SINGLE_VALUE or iteration >= last.get("iter", iteration):
        last |= {"value": value, "iter": iteration}
    if value < last["min_value"]:
        last |= {"min_value": value, "min_value_iteration": iteration}
    if value > last["max_value"]:
        last |= {"max_value": value, "max_value_iteration": iteration}
    last["count"] += 1
    last["mean_value"] += (value - last["mean_value"]) / last["count"]


@endpoint("events.delete_for_task", writes=True)
@endpoint("events.delete_for_model", writes=True)
def delete_for_task(call):
    urls = delete_all(call.db, call.data.get("task", call.data.get("model")))
    call.after.append(lambda: call.server.files.delete_urls(urls))
    return {"deleted": True}


@endpoint("events.clear_task_log", writes=True)
def clear_task_log(call):
    """Delete the console output, or what of it is old, or of some metrics."""
    before = max(0, call.data.get("threshold_sec") or 0)
    sql, values = "DELETE FROM logs WHERE task = ?", [call.data["task"]]
    if before:
        sql += " AND timestamp <= ?"
        values.append(int((time.time() - before) * 1000))
    for field, word in (("include_metrics", "IN"), ("exclude_metrics", "NOT IN")):
        if names := call.data.get(field):
            sql += f" AND {LOG_METRIC} {word} ({', '.join('?' * len(names))})"
            values += names
    return {"deleted": call.db.execute(sql, values).rowcount}


def delete_all(db, id_: str) -> list[str]:
    """Delete all that a task reported; return the addresses of its images."""
    sql = "SELECT type, doc FROM events WHERE task = ? AND type IN (?, ?)"
    urls = []
    for row in db.execute(sql, (id_, IMAGE, PLOT)):
        event = json.loads(row["doc"])
        if row["type"] == IMAGE:
            urls.append(event.get("url") or "")
        else:
            found = re.findall(r'"source": ?"([^"]+)"', event.get("plot_str") or "")
            urls += found
    db.execute(
        "DELETE FROM points WHERE series IN (SELECT id FROM series WHERE task = ?)",
        (id_,),
    )
    for table in ("series", "events", "logs"):
        db.execute(f"DELETE FROM {table} WHERE task = ?", (id_,))
    return [url for url in urls if url]
