"""Numbers of what is in projects, for ``projects.get_all_ex`` of web interfaces."""

from datetime import datetime, timedelta, timezone
from typing import Any

from .. import documents
from ..storage import PROJECT, TASK
from .common import ARCHIVED, with_below

STATUSES = (
    "created queued in_progress stopped published publishing closed failed completed "
    "unknown"
).split()
STATES = ("active", "archived")
NONE = ["none"]  # an id that nothing has


def asked_for(call, project_id: str) -> dict:
    """The numbers about a project that a call wants beside its fields."""
    db, data = call.db, call.data
    answer: dict[str, Any] = {}
    below = with_below(db, project_id)
    if data.get("include_stats"):
        ids = below if data.get("stats_with_children", True) else [project_id]
        wanted = data.get("stats_for_state", "active")
        answer["stats"] = {
            state: _counts(db, ids, archived=state == "archived")
            for state in STATES
            if wanted in (None, state)
        }
        names = ["id", "name"]
        answer["sub_projects"] = [
            documents.get(db, PROJECT, id_, *names) for id_ in below[1:]
        ]
    if data.get("check_own_contents"):
        answer["own_tasks"] = _count(db, "tasks", project_id)
        answer["own_models"] = _count(db, "models", project_id)
    if data.get("include_dataset_stats"):
        answer["dataset_stats"] = _of_dataset(db, project_id)
    return answer


def active(db, users: list[str]) -> dict:
    """The filter for projects that hold something of users, or lie above one.

    All that there is belongs to the one user.
    """
    ids = with_contents(db, []) if documents.USER in users else []
    return {"id": ids or NONE}


def with_contents(db, project_ids: list[str]) -> list[str]:
    """Those of some projects and the ones below (or of all) that hold something."""
    among = {below for id_ in project_ids for below in with_below(db, id_)}
    rows = db.execute(
        "WITH used AS (SELECT project AS id FROM tasks "
        "UNION SELECT project FROM models) "
        "SELECT id FROM used WHERE id NOT NULL UNION SELECT has.value FROM projects, "
        "json_each(projects.path) AS has WHERE projects.id IN (SELECT id FROM used)"
    )
    return [row[0] for row in rows if not among or row[0] in among]


def _counts(db, ids: list[str], archived: bool) -> dict:
    """Numbers of tasks by status."""
    rows = db.execute(
        "SELECT status, completed, active_duration FROM tasks "
        f"WHERE project IN ({', '.join('?' * len(ids))}) AND "
        f"{'' if archived else 'NOT '}{tagged(ARCHIVED)}",
        ids,
    ).fetchall()
    counts = dict.fromkeys(STATUSES, 0)
    for row in rows:
        counts[row["status"]] = counts.get(row["status"], 0) + 1
    yesterday = datetime.now(timezone.utc) - timedelta(days=1)
    day_ago = yesterday.isoformat(timespec="microseconds")
    return {
        "status_count": counts,
        "total_tasks": len(rows),
        "total_runtime": sum(row["active_duration"] or 0 for row in rows),
        "completed_tasks_24h": sum((row["completed"] or "") > day_ago for row in rows),
    }


def _count(db, table: str, project_id: str) -> int:
    """How many things that are not archived a project itself holds."""
    sql = f"SELECT count(*) FROM {table} WHERE project = ? AND NOT {tagged(ARCHIVED)}"
    return db.execute(sql, (project_id,)).fetchone()[0]


def tagged(tag: str) -> str:
    """SQL: has a record this system tag?"""
    return f"EXISTS (SELECT 1 FROM json_each(system_tags) WHERE value = '{tag}')"


def _of_dataset(db, project_id: str) -> dict | None:
    """Files and bytes of the newest version of a dataset that tells them."""
    tasks = documents.select(db, TASK, "project = ?", [project_id], ["runtime"])
    for task in reversed(tasks):
        runtime = task.get("runtime", {})
        if "ds_file_count" in runtime:
            return {
                "file_count": runtime["ds_file_count"],
                "total_size": runtime.get("ds_total_size", 0),
            }
    return None
