"""Reading scalars back: curves with few points, all points in pages, last values.

Relied on by ``task.get_reported_scalars``, ``get_all_reported_scalars``,
``get_reported_single_values``, ``get_last_scalar_metrics`` (through the task itself),
``APIClient().events``, and the page.
"""

import re
from datetime import datetime, timezone

from .. import documents
from ..calls import endpoint
from ..errors import ApiError
from ..storage import TASK
from . import events
from .common import MAX_BATCH, batch_size, of_metrics, reporter

DEFAULT_SAMPLES = 6000
SCROLL = re.compile(r"(-?\d{1,19}):(-?\d{1,19}):(\d{1,9})")  # series, iteration, size


@endpoint("events.scalar_metrics_iter_histogram")
def scalar_metrics_iter_histogram(call):
    """Series as ``{metric: {variant: {"name", "x", "y"}}}``, averaged to few points."""
    answer = {}
    for series in _series_of(call, call.data["task"]):
        curve = _curve(call, series)
        if curve["x"]:
            answer.setdefault(series["metric"], {})[series["variant"]] = curve
    return answer


@endpoint("events.multi_task_scalar_metrics_iter_histogram")
def multi_task_scalar_metrics_iter_histogram(call):
    """Curves by task: ``{"metrics": {metric: {variant: {task: curve}}}}``."""
    answer = {}
    for task_id in call.data["tasks"]:
        name = reporter(call, task_id)
        for series in _series_of(call, task_id):
            curve = _curve(call, series) | {"name": name}
            if curve["x"]:
                variants = answer.setdefault(series["metric"], {})
                variants.setdefault(series["variant"], {})[task_id] = curve
    return {"metrics": answer}


def _series_of(call, task_id: str) -> list:
    """The series of a task that the call wants."""
    wanted, values = of_metrics(call.data.get("metrics"))
    sql = f"SELECT * FROM series WHERE task = ? AND {wanted} ORDER BY metric, variant"
    return call.db.execute(sql, (task_id, *values)).fetchall()


def _curve(call, series) -> dict:
    samples = call.data.get("samples")
    samples = DEFAULT_SAMPLES if samples is None else samples
    key = call.data.get("key") or "iter"
    axis = "iter" if key == "iter" else "timestamp"
    count, low, high = call.db.execute(
        f"SELECT count(*), min({axis}), max({axis}) FROM points "
        "WHERE series = ? AND iter != ?",
        (series["id"], events.SINGLE_VALUE),
    ).fetchone()
    width = 1
    if samples and count > samples:
        width = max(1, -(-(high - low + 1) // samples))
    rows = call.db.execute(
        f"SELECT min({axis}) AS x, avg(value) AS y FROM points "
        f"WHERE series = ? AND iter != ? GROUP BY ({axis} - ?) / ? ORDER BY x",
        (series["id"], events.SINGLE_VALUE, low or 0, width),
    ).fetchall()
    xs = [row["x"] for row in rows]
    if key == "iso_time":
        xs = [_iso(x) for x in xs]
    return {"name": series["variant"], "x": xs, "y": [row["y"] for row in rows]}


def _iso(milliseconds: int) -> str:
    moment = datetime.fromtimestamp(milliseconds / 1000, timezone.utc)
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


@endpoint("events.scalar_metrics_iter_raw")
def scalar_metrics_iter_raw(call):
    """Every point of one metric, in pages."""
    call.data["metrics"] = [call.data["metric"]]
    series = {s["id"]: s for s in _series_of(call, call.data["task"])}
    rows, scroll = _point_page(call, list(series))
    variants = {}
    for row in rows:
        variant = variants.setdefault(
            series[row["series"]]["variant"], {"iter": [], "timestamp": [], "y": []}
        )
        variant["iter"].append(row["iter"])
        variant["timestamp"].append(row["timestamp"])
        variant["y"].append(row["value"])
    answer = {"variants": variants, "returned": len(rows), "scroll_id": scroll}
    if call.data.get("count_total"):
        answer["total"] = _count_points(call.db, list(series))
    return answer


@endpoint("events.get_scalar_metric_data")
def get_scalar_metric_data(call):
    """Every point of one metric (or of all), as events in pages."""
    if metric := call.data.get("metric"):
        call.data["metrics"] = [{"metric": metric}]
    series = {s["id"]: s for s in _series_of(call, call.data["task"])}
    rows, scroll = _point_page(call, list(series))
    found = [
        {
            "type": events.SCALAR,
            "task": call.data["task"],
            "metric": series[row["series"]]["metric"],
            "variant": series[row["series"]]["variant"],
            "iter": row["iter"],
            "timestamp": row["timestamp"],
            "value": row["value"],
        }
        for row in rows
    ]
    return {
        "events": found,
        "returned": len(found),
        "total": _count_points(call.db, list(series)),
        "scroll_id": scroll,
    }


def _count_points(db, series_ids: list[int]) -> int:
    marks = ", ".join("?" * len(series_ids))
    sql = f"SELECT count(*) FROM points WHERE series IN ({marks})"
    return db.execute(sql, series_ids).fetchone()[0]


def _point_page(call, series_ids: list[int]) -> tuple[list, str]:
    """Points after the one the scroll id names; and the scroll id that follows.

    The page is found through the primary key, whatever its number.
    """
    series, iteration, size = -1, 0, batch_size(call)
    if scroll := call.data.get("scroll_id"):
        if not (found := SCROLL.fullmatch(scroll)):
            raise ApiError("invalid_scroll_id", scroll_id=scroll[:100])
        series, iteration, last_size = map(int, found.groups())
        if max(abs(series), abs(iteration)) >= 2**63:
            raise ApiError("invalid_scroll_id", scroll_id=scroll)
        size = size if "batch_size" in call.data else min(last_size, MAX_BATCH)
    marks = ", ".join("?" * len(series_ids))
    rows = call.db.execute(
        f"SELECT * FROM points WHERE series IN ({marks}) AND (series, iter) > (?, ?) "
        "ORDER BY series, iter LIMIT ?",
        [*series_ids, series, iteration, size],
    ).fetchall()
    if rows:
        series, iteration = rows[-1]["series"], rows[-1]["iter"]
    return rows, f"{series}:{iteration}:{size}"


@endpoint("events.get_task_single_value_metrics")
def get_task_single_value_metrics(call):
    answer = []
    for task_id in call.data["tasks"]:
        values = [
            {"metric": series["metric"], "variant": series["variant"], **point}
            for series in _series_of(call, task_id)
            for point in _single_value(call.db, series)
        ]
        if values:
            name = reporter(call, task_id)
            answer.append({"task": task_id, "task_name": name, "values": values})
    return {"tasks": answer}


def _single_value(db, series) -> list[dict]:
    sql = "SELECT value, timestamp FROM points WHERE series = ? AND iter = ?"
    return [dict(row) for row in db.execute(sql, (series["id"], events.SINGLE_VALUE))]


@endpoint("events.get_task_latest_scalar_values")
def get_task_latest_scalar_values(call):
    names = ("last_metrics", "last_iteration")
    task = documents.get(call.db, TASK, call.data["task"], *names)
    metrics = []
    for variants in task.get("last_metrics", {}).values():
        values = [
            {"name": v["variant"], "last_value": v["value"]} for v in variants.values()
        ]
        name = next(iter(variants.values()))["metric"]
        metrics.append({"name": name, "variants": values})
    return {"metrics": metrics, "last_iter": task.get("last_iteration", 0)}


@endpoint("events.get_scalar_metrics_and_variants")
def get_scalar_metrics_and_variants(call):
    answer = {}
    for series in _series_of(call, call.data["task"]):
        answer.setdefault(series["metric"], []).append(series["variant"])
    return {"metrics": answer}
