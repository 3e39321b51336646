"""Reading back what tasks reported.

Relied on by ``task.get_reported_scalars``, ``get_all_reported_scalars``,
``get_reported_plots``, ``get_reported_console_output``, ``get_debug_samples``,
``get_reported_single_values``, ``get_last_scalar_metrics`` (through the task itself),
and the page.
"""

import json
from datetime import datetime, timezone

from .. import documents
from ..calls import endpoint
from ..errors import ApiError
from ..storage import TASK
from . import events

DEFAULT_SAMPLES = 6000
DEFAULT_BATCH = 500
MAX_BATCH = 10_000


@endpoint("events.scalar_metrics_iter_histogram")
def scalar_metrics_iter_histogram(call):
    """Series as ``{metric: {variant: {"name", "x", "y"}}}``, averaged to few points."""
    wanted = _wanted(call.data.get("metrics"))
    answer = {}
    for series in _series_of(call.db, call.data["task"]):
        if _is_wanted(series, wanted):
            curve = _curve(call, series)
            if curve["x"]:
                answer.setdefault(series["metric"], {})[series["variant"]] = curve
    return answer


@endpoint("events.multi_task_scalar_metrics_iter_histogram")
def multi_task_scalar_metrics_iter_histogram(call):
    """As above for several tasks: ``{metric: {variant: {task: curve}}}``."""
    wanted = _wanted(call.data.get("metrics"))
    answer = {}
    for task_id in call.data["tasks"]:
        task = documents.get(call.db, TASK, task_id, "name")
        for series in _series_of(call.db, task_id):
            if not _is_wanted(series, wanted):
                continue
            curve = _curve(call, series) | {"name": task["name"]}
            if curve["x"]:
                variants = answer.setdefault(series["metric"], {})
                variants.setdefault(series["variant"], {})[task_id] = curve
    return answer


def _series_of(db, task_id):
    sql = "SELECT * FROM series WHERE task = ? ORDER BY metric, variant"
    return db.execute(sql, (task_id,)).fetchall()


def _wanted(metrics) -> dict:
    """Metric name to variant names (all if empty), from a request."""
    return {m["metric"]: m.get("variants") or [] for m in metrics or []}


def _is_wanted(series, wanted) -> bool:
    variants = wanted.get(series["metric"])
    if not wanted:
        return True
    return variants is not None and (not variants or series["variant"] in variants)


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
    wanted = _wanted([call.data["metric"]])
    series = [
        s for s in _series_of(call.db, call.data["task"]) if _is_wanted(s, wanted)
    ]
    rows, scroll = _point_page(call, [s["id"] for s in series])
    names = {s["id"]: s["variant"] for s in series}
    variants = {}
    for row in rows:
        variant = variants.setdefault(
            names[row["series"]], {"iter": [], "timestamp": [], "y": []}
        )
        variant["iter"].append(row["iter"])
        variant["timestamp"].append(row["timestamp"])
        variant["y"].append(row["value"])
    answer = {"variants": variants, "returned": len(rows), "scroll_id": scroll}
    if call.data.get("count_total"):
        answer["total"] = _count_points(call.db, [s["id"] for s in series])
    return answer


@endpoint("events.get_task_single_value_metrics")
def get_task_single_value_metrics(call):
    answer = []
    for task_id in call.data["tasks"]:
        rows = call.db.execute(
            "SELECT metric, variant, value, timestamp FROM series "
            "JOIN points ON points.series = series.id "
            "WHERE task = ? AND iter = ? ORDER BY metric, variant",
            (task_id, events.SINGLE_VALUE),
        ).fetchall()
        if rows:
            answer.append({"task": task_id, "values": [dict(row) for row in rows]})
    return {"tasks": answer}


@endpoint("events.get_task_latest_scalar_values")
def get_task_latest_scalar_values(call):
    task = documents.get(call.db, TASK, call.data["task"], "last_metrics")
    metrics = []
    for variants in task.get("last_metrics", {}).values():
        values = [
            {"name": v["variant"], "last_value": v["value"]} for v in variants.values()
        ]
        name = next(iter(variants.values()))["metric"]
        metrics.append({"name": name, "variants": values})
    return {"metrics": metrics}


@endpoint("events.get_scalar_metrics_and_variants")
def get_scalar_metrics_and_variants(call):
    answer = {}
    for series in _series_of(call.db, call.data["task"]):
        answer.setdefault(series["metric"], []).append(series["variant"])
    return {"metrics": answer}


@endpoint("events.get_task_metrics")
def get_task_metrics(call):
    kind = call.data.get("event_type")
    answer = []
    for task_id in call.data["tasks"]:
        if kind == events.SCALAR:
            sql, values = "SELECT DISTINCT metric FROM series WHERE task = ?", [task_id]
        else:
            sql = (
                "SELECT DISTINCT metric FROM events WHERE task = ? AND ? IN (type, '')"
            )
            values = [task_id, kind or ""]
        metrics = [row["metric"] for row in call.db.execute(sql, values)]
        answer.append({"task": task_id, "metrics": sorted(metrics)})
    return {"metrics": answer}


@endpoint("events.get_multi_task_metrics")
def get_multi_task_metrics(call):
    """The metrics and variants that several tasks have between them."""
    kind = call.data.get("event_type")
    found = {}
    for task_id in call.data["tasks"]:
        for table, condition, values in (
            ("series", "? IN (?, '')", [kind or "", events.SCALAR]),
            ("events", "? IN (type, '')", [kind or ""]),
        ):
            sql = (
                f"SELECT DISTINCT metric, variant FROM {table} "
                f"WHERE task = ? AND {condition}"
            )
            for row in call.db.execute(sql, [task_id, *values]):
                found.setdefault(row["metric"], set()).add(row["variant"])
    return {
        "metrics": [{"metric": m, "variants": sorted(found[m])} for m in sorted(found)]
    }


@endpoint("events.get_task_events")
def get_task_events(call):
    """Events of one type (default: all but scalars) in pages."""
    kind = (call.data.get("event_type") or "").replace(" ", "_")
    if kind == events.SCALAR:
        return _scalar_events(call)
    if kind == events.LOG:
        return get_task_log(call)
    size, start = _batch_size(call), _number(call.data.get("scroll_id"))
    order = "DESC" if call.data.get("order") == "desc" else "ASC"
    where, values = "task = ? AND ? IN (type, '')", [call.data["task"], kind]
    rows = call.db.execute(
        f"SELECT doc FROM events WHERE {where} ORDER BY timestamp {order}, id "
        "LIMIT ? OFFSET ?",
        [*values, size, start],
    ).fetchall()
    total = call.db.execute(f"SELECT count(*) FROM events WHERE {where}", values)
    return {
        "events": [json.loads(row["doc"]) for row in rows],
        "returned": len(rows),
        "total": total.fetchone()[0],
        "scroll_id": str(start + len(rows)),
    }


@endpoint("events.get_scalar_metric_data")
def get_scalar_metric_data(call):
    """Every point of one metric (or of all), as events in pages."""
    return _scalar_events(call, call.data.get("metric"))


@endpoint("events.clear_scroll")
def clear_scroll(call):
    """Nothing is kept for a scroll id."""


def _scalar_events(call, metric: str | None = None) -> dict:
    series = {
        s["id"]: s
        for s in _series_of(call.db, call.data["task"])
        if metric in (None, s["metric"])
    }
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
    total = _count_points(call.db, list(series))
    return {
        "events": found,
        "returned": len(found),
        "total": total,
        "scroll_id": scroll,
    }


def _count_points(db, series_ids: list[int]) -> int:
    marks = ", ".join("?" * len(series_ids))
    sql = f"SELECT count(*) FROM points WHERE series IN ({marks})"
    return db.execute(sql, series_ids).fetchone()[0]


def _point_page(call, series_ids):
    """Points after the one the scroll id names; and the scroll id that follows.

    The page is found through the primary key, whatever its number.
    """
    after = (call.data.get("scroll_id") or "").split(":")
    try:
        series, iteration = map(int, after) if len(after) == 2 else (-1, 0)
    except ValueError:
        raise ApiError("invalid_scroll_id", scroll_id=call.data["scroll_id"]) from None
    if max(abs(series), abs(iteration)) > 2**63 - 1:
        raise ApiError("invalid_scroll_id", scroll_id=call.data["scroll_id"])
    marks = ", ".join("?" * len(series_ids))
    rows = call.db.execute(
        f"SELECT * FROM points WHERE series IN ({marks}) AND (series, iter) > (?, ?) "
        "ORDER BY series, iter LIMIT ?",
        [*series_ids, series, iteration, _batch_size(call)],
    ).fetchall()
    if rows:
        series, iteration = rows[-1]["series"], rows[-1]["iter"]
    return rows, f"{series}:{iteration}"


def _batch_size(call) -> int:
    size = call.data.get("batch_size") or DEFAULT_BATCH
    return min(max(1, int(size)), MAX_BATCH)


def _number(scroll) -> int:
    try:
        number = int(scroll or 0)
    except ValueError:
        number = -1
    if not 0 <= number < 2**31:
        raise ApiError("invalid_scroll_id", scroll_id=scroll)
    return number


@endpoint("events.get_task_log")
def get_task_log(call):
    """Console lines before (or after) a time; the newest batch by default."""
    request = call.data
    earlier = request.get("navigate_earlier", True)
    total = call.db.execute(
        "SELECT count(*) FROM logs WHERE task = ?", (request["task"],)
    ).fetchone()[0]
    where, values = "task = ?", [request["task"]]
    if request.get("from_timestamp") is not None:
        where += f" AND timestamp {'<' if earlier else '>'} ?"
        values.append(request["from_timestamp"])
    way = "DESC" if earlier else "ASC"
    rows = call.db.execute(
        f"SELECT doc FROM logs WHERE {where} "
        f"ORDER BY timestamp {way}, id {way} LIMIT ?",
        [*values, _batch_size(call)],
    ).fetchall()
    found = [json.loads(row["doc"]) for row in rows]
    order = request.get("order") or way.lower()
    if order != way.lower():
        found.reverse()
    return {"events": found, "returned": len(found), "total": total}


@endpoint("events.download_task_log")
def download_task_log(call):
    """The whole console output as text."""
    sql = "SELECT doc FROM logs WHERE task = ? ORDER BY timestamp, id"
    rows = call.db.execute(sql, (call.data["task"],))
    return {"log": "\n".join(json.loads(row["doc"]).get("msg", "") for row in rows)}


@endpoint("events.get_task_plots")
def get_task_plots(call):
    plots = _latest(call, call.data["task"], events.PLOT, call.data.get("metrics"))
    return {"plots": plots, "returned": len(plots), "total": len(plots)}


@endpoint("events.get_multi_task_plots")
def get_multi_task_plots(call):
    """Plots as ``{metric: {variant: {task: {iteration: {"name", "plots"}}}}}``."""
    answer = {}
    for task_id in call.data["tasks"]:
        name = documents.get(call.db, TASK, task_id, "name")["name"]
        for plot in _latest(call, task_id, events.PLOT, None):
            variants = answer.setdefault(plot["metric"], {})
            tasks = variants.setdefault(plot["variant"], {})
            at = tasks.setdefault(task_id, {}).setdefault(str(plot["iter"]), {})
            at.setdefault("name", name)
            at.setdefault("plots", []).append(plot)
    return {"plots": answer}


def _latest(call, task_id, kind, metrics) -> list[dict]:
    """Events of the last iterations of each metric and variant."""
    rows = call.db.execute(
        "SELECT doc, metric, variant, dense_rank() OVER "
        "(PARTITION BY metric, variant ORDER BY iter DESC) AS age FROM events "
        "WHERE task = ? AND type = ? ORDER BY metric, variant, iter, id",
        (task_id, kind),
    ).fetchall()
    wanted, iterations = _wanted(metrics), call.data.get("iters") or 1
    return [
        json.loads(row["doc"])
        for row in rows
        if row["age"] <= iterations and _is_wanted(row, wanted)
    ]


@endpoint("events.debug_images")
@endpoint("events.plots")
def by_iteration(call):
    """Images or plots by iteration, latest first.

    A scroll id continues with earlier ones, or goes back to later ones.
    """
    kind = events.PLOT if call.name == "events.plots" else events.IMAGE
    iterations = max(1, call.data.get("iters") or 1)
    start = 0 if call.data.get("refresh") else _number(call.data.get("scroll_id"))
    if call.data.get("navigate_earlier") is False:
        start = max(0, start - 2 * iterations)
    answer = []
    for asked in call.data["metrics"]:
        where, values = "task = ? AND type = ?", [asked["task"], kind]
        if asked.get("metric"):
            where += " AND metric = ?"
            values.append(asked["metric"])
        if variants := asked.get("variants"):
            where += f" AND variant IN ({', '.join('?' * len(variants))})"
            values += variants
        rows = call.db.execute(
            f"SELECT iter, doc FROM events WHERE {where} AND iter IN "
            f"(SELECT DISTINCT iter FROM events WHERE {where} "
            "ORDER BY iter DESC LIMIT ? OFFSET ?) ORDER BY iter DESC, id",
            [*values, *values, iterations, start],
        )
        found = {}
        for row in rows:
            found.setdefault(row["iter"], []).append(json.loads(row["doc"]))
        found = [{"iter": i, "events": e} for i, e in found.items()]
        answer.append({"task": asked["task"], "iterations": found})
    return {"metrics": answer, "scroll_id": str(start + iterations)}
