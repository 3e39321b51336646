"""What workers and queues did over time.

Relied on by ``APIClient().workers`` and ``.queues``. Samples are kept for 30 days.
"""

import json
import time
from collections.abc import Callable
from datetime import datetime

from ..calls import endpoint
from ..errors import ApiError

KEPT_SECONDS = 30 * 24 * 3600
LEAST_SECONDS = 10  # between two samples of a worker
MOST_SECONDS_OFF = 24 * 3600  # that the clock of an agent may be away from ours
LEAST_INTERVAL = 40  # seconds; agents report every half a minute
MOST_INTERVALS = 10_000
AGGREGATIONS: dict[str, Callable[[list[float]], float]] = {
    "min": min,
    "max": max,
    "avg": lambda values: sum(values) / len(values),
}


def note_worker(db, report: dict) -> None:
    """Keep what a worker reports, a few times a minute."""
    now = time.time()
    at = (report.get("timestamp") or 0) / 1000
    at = at if abs(at - now) < MOST_SECONDS_OFF else now
    stats = report.get("machine_stats")
    last = "SELECT 1 FROM worker_samples WHERE time > ? AND worker = ?"
    values = (at - LEAST_SECONDS, report["worker"])
    if stats or not db.execute(last, values).fetchone():
        db.execute(
            "INSERT INTO worker_samples VALUES (?, ?, ?, ?)",
            (at, report["worker"], report.get("task"), json.dumps(stats or {})),
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
    of, ids = _among("worker", call.data.get("worker_ids"))
    rows = call.db.execute(
        "SELECT DISTINCT item.key FROM worker_samples, json_each(stats) AS item "
        f"WHERE {of} ORDER BY 1",
        ids,
    )
    found = {}
    for (key,) in rows:
        found.setdefault(key.partition("_")[0], []).append(key)
    if not found:
        raise ApiError("worker_stats_not_found", workers=ids)
    return {"categories": [{"name": n, "metric_keys": k} for n, k in found.items()]}


@endpoint("workers.get_stats")
def get_stats(call):
    """Measured values by worker, metric and interval; 0 where nothing was measured."""
    data, times = call.data, _intervals(call.data, LEAST_INTERVAL)
    wanted = {}  # kinds of aggregation by key
    for item in data["items"]:
        kind = item.get("aggregation") or item.get("category") or "avg"
        wanted.setdefault(item.get("key"), []).append(kind)
    found = {}  # numbers by worker, key, variant and interval
    for row in _samples(call.db, "worker_samples", data, data.get("worker_ids")):
        worker = found.setdefault(row["worker"], {})
        for key, value in json.loads(row["stats"]).items():
            for variant, number in _numbers(value) if key in wanted else ():
                name = (key, variant if data.get("split_by_variant") else None)
                series = worker.setdefault(name, {})
                series.setdefault(_interval_of(row, times), []).append(number)
    return {
        "workers": [
            {
                "worker": worker,
                "metrics": [
                    _metric(key, variant, points, wanted[key], times)
                    for (key, variant), points in sorted(series.items(), key=str)
                ],
            }
            for worker, series in found.items()
        ]
    }


def _metric(key, variant, points: dict, kinds: list[str], times: range) -> dict:
    stats = [
        {
            "aggregation": kind,
            "values": [AGGREGATIONS[kind](points.get(at, [0.0])) for at in times],
        }
        for kind in kinds
    ]
    metric = {"metric": key, "dates": _milliseconds(times), "stats": stats}
    return metric | ({"variant": variant} if variant is not None else {})


@endpoint("workers.get_activity_report")
def get_activity_report(call):
    """How many workers reported, and how many of them worked, in each interval."""
    times = _intervals(call.data, LEAST_INTERVAL)
    total, active = {}, {}
    for row in _samples(call.db, "worker_samples", call.data):
        for found in (total, active) if row["task"] else (total,):
            found.setdefault(_interval_of(row, times), set()).add(row["worker"])
    return {
        name: {
            "dates": _milliseconds(times),
            "counts": [len(found.get(at, ())) for at in times],
        }
        for name, found in (("total", total), ("active", active))
    }


@endpoint("queues.get_queue_metrics")
def get_queue_metrics(call):
    """Length of queues and waiting time; of all together where none is named."""
    times = _intervals(call.data)
    answer = []
    for queue in call.data.get("queue_ids") or [None]:
        points = {}
        for row in _samples(call.db, "queue_samples", call.data, queue and [queue]):
            at = _interval_of(row, times)
            points[at] = max(points.get(at, (0.0, 0)), (row["waiting"], row["length"]))
        answer.append(
            {
                "queue": queue or "all",
                "dates": _milliseconds(points),
                "avg_waiting_times": [waiting for waiting, _ in points.values()],
                "queue_lengths": [length for _, length in points.values()],
            }
        )
    return {"queues": answer}


def _intervals(data: dict, least: int = 1) -> range:
    """Return the seconds at which the intervals that a request asks for start."""
    start, end, width = data["from_date"], data["to_date"], data["interval"]
    if not 0 <= start < end < 2**40 or width < 1:
        raise ApiError("validation_error", "from_date, to_date, interval do not fit")
    width = max(width, least)
    if (end - start) / width > MOST_INTERVALS:
        raise ApiError("validation_error", f"more than {MOST_INTERVALS} intervals")
    return range(int(start), max(int(end), int(start) + 1), width)


def _interval_of(row, times: range) -> int:
    return times.start + int((row["time"] - times.start) // times.step) * times.step


def _milliseconds(seconds) -> list[int]:
    return [at * 1000 for at in seconds]


def _samples(db, table: str, data: dict, ids: list[str] | None = None):
    of, ids = _among(table.partition("_")[0], ids)
    return db.execute(
        f"SELECT * FROM {table} WHERE time >= ? AND time < ? AND {of} ORDER BY time",
        [data["from_date"], data["to_date"], *ids],
    )


def _among(column: str, ids: list[str] | None) -> tuple[str, list[str]]:
    """SQL condition and parameters: one of these, or any."""
    return (f"{column} IN ({', '.join('?' * len(ids))})", ids) if ids else ("1", [])


def _numbers(value):
    """Names and numbers of a measured value, which may be a list: one a processor."""
    for place, number in enumerate(value if isinstance(value, list) else [value]):
        if isinstance(number, int | float):
            yield str(place), number
