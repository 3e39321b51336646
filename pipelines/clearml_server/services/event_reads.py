"""Reading back what tasks reported besides scalars: console, plots, names of metrics.

Relied on by ``get_reported_plots``, ``get_reported_console_output``, and the page.
Scalars are in ``scalars``; images and plots one iteration after the other in
``event_samples``.
"""

import json

from ..calls import endpoint
from ..errors import ApiError
from . import events, scalars
from .common import batch_size, of_metrics, reporter

MOST = 2**31
# Where the names of metrics and variants stand, by type of event.
NAMES = {
    events.SCALAR: "SELECT DISTINCT metric, variant FROM series WHERE task = ?",
    events.LOG: (
        f"SELECT DISTINCT {events.LOG_METRIC}, {events.LOG_VARIANT} FROM logs "
        f"WHERE task = ? AND {events.LOG_METRIC} != ''"
    ),
}
NAMES_OF_OTHERS = (
    "SELECT DISTINCT metric, variant FROM events WHERE task = ? AND ? IN (type, '')"
)


@endpoint("events.get_task_metrics")
def get_task_metrics(call):
    kind = call.data.get("event_type") or ""
    answer = []
    for task_id in call.data["tasks"]:
        names = {metric for metric, _ in _names(call.db, task_id, kind)}
        answer.append({"task": task_id, "metrics": sorted(names)})
    return {"metrics": answer}


@endpoint("events.get_multi_task_metrics")
def get_multi_task_metrics(call):
    """The metrics and variants that several tasks have between them."""
    found = {}
    for task_id in call.data["tasks"]:
        for metric, variant in _names(call.db, task_id, call.data.get("event_type")):
            found.setdefault(metric, set()).add(variant)
    return {
        "metrics": [{"metric": m, "variants": sorted(found[m])} for m in sorted(found)]
    }


def _names(db, task_id: str, kind: str | None) -> list:
    """Metric and variant of what a task reported: of one type, or of all but logs."""
    if kind in NAMES:
        return db.execute(NAMES[kind], (task_id,)).fetchall()
    found = db.execute(NAMES_OF_OTHERS, (task_id, kind or "")).fetchall()
    return found if kind else found + _names(db, task_id, events.SCALAR)


@endpoint("events.get_task_events")
def get_task_events(call):
    """Events of one type (default: all but scalars) in pages."""
    kind = (call.data.get("event_type") or "").replace(" ", "_")
    if kind == events.SCALAR:
        return scalars.get_scalar_metric_data(call)
    if kind == events.LOG:
        return get_task_log(call)
    size, start = batch_size(call), _number(call.data.get("scroll_id"))
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


def _number(scroll) -> int:
    try:
        number = int(scroll or 0)
    except ValueError:
        number = -1
    if not 0 <= number < MOST:
        raise ApiError("invalid_scroll_id", scroll_id=scroll)
    return number


@endpoint("events.clear_scroll")
def clear_scroll(call):
    """Nothing is kept for a scroll id."""


@endpoint("events.get_task_log")
def get_task_log(call):
    """Console lines before (or after) a time; the newest batch by default."""
    request = call.data
    earlier = request.get("navigate_earlier", True)
    of, values = of_metrics(
        request.get("metrics"), events.LOG_METRIC, events.LOG_VARIANT
    )
    where, values = f"task = ? AND {of}", [request["task"], *values]
    total = call.db.execute(
        f"SELECT count(*) FROM logs WHERE {where}", values
    ).fetchone()[0]
    if request.get("from_timestamp") is not None:
        where += f" AND timestamp {'<' if earlier else '>'} ?"
        values.append(request["from_timestamp"])
    way = "DESC" if earlier else "ASC"
    rows = call.db.execute(
        f"SELECT doc FROM logs WHERE {where} "
        f"ORDER BY timestamp {way}, id {way} LIMIT ?",
        [*values, batch_size(call)],
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
    plots = _latest(call, call.data["task"], events.PLOT)
    return {"plots": plots, "returned": len(plots), "total": len(plots)}


@endpoint("events.get_multi_task_plots")
def get_multi_task_plots(call):
    """Plots as ``{metric: {variant: {task: {iteration: {"name", "plots"}}}}}``."""
    answer = {}
    for task_id in call.data["tasks"]:
        name = reporter(call, task_id)
        for plot in _latest(call, task_id, events.PLOT):
            variants = answer.setdefault(plot["metric"], {})
            tasks = variants.setdefault(plot["variant"], {})
            at = tasks.setdefault(task_id, {}).setdefault(str(plot["iter"]), {})
            at.setdefault("name", name)
            at.setdefault("plots", []).append(plot)
    return {"plots": answer}


def _latest(call, task_id: str, kind: str) -> list[dict]:
    """Events of the last iterations of each metric and variant that is wanted."""
    wanted, values = of_metrics(call.data.get("metrics"))
    rows = call.db.execute(
        "SELECT doc FROM (SELECT *, dense_rank() OVER "
        "(PARTITION BY metric, variant ORDER BY iter DESC) AS age FROM events "
        f"WHERE task = ? AND type = ? AND {wanted}) WHERE age <= ? "
        "ORDER BY metric, variant, iter, id",
        (task_id, kind, *values, call.data.get("iters") or 1),
    )
    return [json.loads(row["doc"]) for row in rows]
