"""What workers and queues did over time.

Relied on by ``APIClient().workers`` and ``.queues``. Samples are kept for 30 days.
"""

import json
import time
from datetime import datetime

from .. import documents
from ..calls import endpoint
from ..errors import ApiError
from ..storage import WORKER

KEPT_SECONDS = 30 * 24 * 3600
LEAST_SECONDS = 10  # between two samples of a worker
MOST_INTERVALS = 10_000
AGGREGATIONS = {"min": min, "max": max, "avg": lambda values: sum(values) / len(values)}


def note_worker(db, worker: str, task: str | None, stats: dict | None) -> None:
    """Keep what a worker reports, a few times a minute."""
    now = time.time()
    last = "SELECT 1 FROM worker_samples WHERE time > ? AND worker = ?"
    if stats or not db.execute(last, (now - LEAST_SECONDS, worker)).fetchone():
        db.execute(
            "INSERT INTO worker_samples VALUES (?, ?, ?, ?)",
            (now, worker, task, json.dumps(stats or {})),
        )
        db.execute("DELETE FROM worker_samples WHERE time < ?", (now - KEPT_SECONDS,))


def note_queue(db, queue: str, entries: list[dict]) -> None:
    """Keep how long a queue is, and how long its tasks have waited on average."""
    now = time.time()
    waited = [now - datetime.fromisoformat(e["added"]).timestamp() for e in entries]
    mean = sum(waited) / len(waited) if waited else 0.0
    row = (now, queue, len(entries), max(0.0, mean))
    db.execute("INSERT INTO queue_samples VALUES (?, ?, ?, ?)", row)
    db.execute("DELETE FROM queue_samples WHERE time < ?", (now - KEPT_SECONDS,))


@endpoint("workers.get_metric_keys")
def get_metric_keys(call):
    """The names of what workers measure, by category."""
    found = {}
    for worker in _workers(call):
        for key in worker.get("machine_stats") or {}:
            found.setdefault(key.partition("_")[0], set()).add(key)
    categories = [{"name": n, "metric_keys": sorted(k)} for n, k in found.items()]
    return {"categories": sorted(categories, key=lambda c: c["name"])}


@endpoint("workers.get_stats")
def get_stats(call):
    """Measured values by worker, metric and interval."""
    data, asked = call.data, call.data["items"]
    start, width = _intervals(data)
    answer = []
    for worker in _workers(call):
        series = {}
        for row in _samples(call.db, "worker_samples", "worker", worker["id"], data):
            at = start + int((row["time"] - start) // width) * width
            for key, value in json.loads(row["stats"]).items():
                for variant, number in _numbers(value):
                    name = (key, variant if data.get("split_by_variant") else None)
                    series.setdefault(name, {}).setdefault(at, []).append(number)
        metrics = []
        for (key, variant), points in sorted(series.items(), key=str):
            kinds = [i.get("category") or "avg" for i in asked if i.get("key") == key]
            if kinds:
                metric = {"metric": key, "dates": list(points)}
                if variant is not None:
                    metric["variant"] = variant
                metric["stats"] = [
                    {
                        "aggregation": kind,
                        "values": [AGGREGATIONS[kind](v) for v in points.values()],
                    }
                    for kind in kinds
                ]
                metrics.append(metric)
        answer.append({"worker": worker["id"], "metrics": metrics})
    return {"workers": answer}


@endpoint("workers.get_activity_report")
def get_activity_report(call):
    """How many workers reported, and how many of them worked, in each interval."""
    start, width = _intervals(call.data)
    total, active = {}, {}
    for row in _samples(call.db, "worker_samples", None, None, call.data):
        at = start + int((row["time"] - start) // width) * width
        total.setdefault(at, set()).add(row["worker"])
        active.setdefault(at, set())
        if row["task"]:
            active[at].add(row["worker"])
    return {
        name: {"dates": list(found), "counts": [len(w) for w in found.values()]}
        for name, found in (("total", total), ("active", active))
    }


@endpoint("queues.get_queue_metrics")
def get_queue_metrics(call):
    """Length of queues and waiting time; of all together where none is named."""
    start, width = _intervals(call.data)
    answer = []
    for queue in call.data.get("queue_ids") or [None]:
        points = {}
        for row in _samples(call.db, "queue_samples", "queue", queue, call.data):
            at = start + int((row["time"] - start) // width) * width
            points[at] = max(points.get(at, (0.0, 0)), (row["waiting"], row["length"]))
        answer.append(
            {
                "queue": queue or "all",
                "dates": list(points),
                "avg_waiting_times": [waiting for waiting, _ in points.values()],
                "queue_lengths": [length for _, length in points.values()],
            }
        )
    return {"queues": answer}


def _intervals(data: dict) -> tuple[int, int]:
    """Return (start, width) of the intervals that a request asks for, in seconds."""
    start, end, width = data["from_date"], data["to_date"], data["interval"]
    if not 0 <= start < end < 2**40 or width < 1:
        raise ApiError("validation_error", "from_date, to_date, interval do not fit")
    if (end - start) / width > MOST_INTERVALS:
        raise ApiError("validation_error", f"more than {MOST_INTERVALS} intervals")
    return int(start), width


def _samples(db, table: str, column: str | None, id_: str | None, data: dict):
    where = f" AND {column} = ?" if id_ else ""
    return db.execute(
        f"SELECT * FROM {table} WHERE time >= ? AND time < ?{where} ORDER BY time",
        [data["from_date"], data["to_date"], *([id_] if id_ else [])],
    )


def _workers(call) -> list[dict]:
    ids = call.data.get("worker_ids")
    found = documents.select(call.db, WORKER, "1", (), ["id", "machine_stats"])
    return [worker for worker in found if not ids or worker["id"] in ids]


def _numbers(value):
    """Names and numbers of a measured value, which may be a list: one a processor."""
    for place, number in enumerate(value if isinstance(value, list) else [value]):
        if isinstance(number, int | float):
            yield str(place), number
