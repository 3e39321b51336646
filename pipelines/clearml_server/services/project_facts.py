"""What is in projects: parameters, metadata, parents; and merging two of them.

Relied on by ``APIClient().projects`` and by web interfaces, for what to filter by.
"""

from .. import documents, patterns
from ..calls import endpoint
from ..errors import ApiError
from ..storage import PROJECT, TASK
from . import projects
from .common import ARCHIVED, with_below, with_names
from .project_stats import tagged, with_contents

DEFAULT_PAGE = 500


@endpoint("projects.get_hyper_parameters")
def get_hyper_parameters(call):
    """Sections and names of the parameters that tasks of a project have."""
    where, ids = _of_projects(call, [call.data["project"]])
    rows = call.db.execute(
        "SELECT DISTINCT section.key AS section, item.key AS name FROM tasks, "
        "json_each(tasks.hyperparams) AS section, json_each(section.value) AS item "
        f"WHERE {where} ORDER BY 1, 2",
        ids,
    )
    return _page(call, "parameters", [dict(row) for row in rows])


@endpoint("projects.get_hyperparam_values")
def get_hyperparam_values(call):
    """The different values that a parameter has in tasks, and that fit a pattern."""
    if pattern := call.data.get("pattern"):
        patterns.compiled(pattern)
    where, ids = _of_projects(call, call.data.get("projects"))
    rows = call.db.execute(
        "SELECT DISTINCT json_extract(item.value, '$.value') FROM tasks, "
        "json_each(tasks.hyperparams) AS section, json_each(section.value) AS item "
        f"WHERE {where} AND section.key = ? AND item.key = ? "
        "AND (? IS NULL OR matches(?, 0, json_extract(item.value, '$.value'))) "
        "ORDER BY 1",
        [*ids, call.data["section"], call.data["name"], pattern, pattern],
    )
    values = [row[0] for row in rows if row[0] is not None]
    return {"total": len(values), "values": values}


@endpoint("projects.get_model_metadata_keys")
def get_model_metadata_keys(call):
    project = call.data.get("project")
    where, ids = _of_projects(call, [project] if project else None, "models")
    rows = call.db.execute(
        "SELECT DISTINCT item.key FROM models, json_each(models.metadata) AS item "
        f"WHERE {where} ORDER BY 1",
        ids,
    )
    return _page(call, "keys", [row[0] for row in rows])


@endpoint("projects.get_model_metadata_values")
def get_model_metadata_values(call):
    where, ids = _of_projects(call, call.data.get("projects"), "models")
    rows = call.db.execute(
        "SELECT DISTINCT json_extract(item.value, '$.value') FROM models, "
        f"json_each(models.metadata) AS item WHERE {where} AND item.key = ? ORDER BY 1",
        [*ids, call.data["key"]],
    )
    values = [row[0] for row in rows if row[0] is not None]
    return {"total": len(values), "values": values}


@endpoint("projects.get_task_parents")
def get_task_parents(call):
    """The tasks that tasks of projects were cloned from or belong to."""
    where, ids = _of_projects(call, call.data.get("projects"))
    if state := call.data.get("tasks_state"):
        where += f" AND {'' if state == 'archived' else 'NOT '}{tagged(ARCHIVED)}"
    sql = f"id IN (SELECT parent FROM tasks WHERE {where})"
    if name := call.data.get("task_name"):
        patterns.compiled(name)
        sql, ids = f"{sql} AND matches(?, 1, name)", [*ids, name]
    found = documents.select(call.db, TASK, sql, ids, ["id", "name", "project"])
    with_names(call.db, found, TASK)
    return {"parents": sorted(found, key=lambda task: task["name"])}


@endpoint("projects.get_user_names")
def get_user_names(call):
    found = with_contents(call.db, call.data.get("projects") or [])
    return {"users": [{"id": documents.USER, "name": documents.USER}] if found else []}


@endpoint("projects.merge", writes=True)
def merge(call):
    """Move all that is in a project into another, and delete it."""
    db, source = call.db, call.data["project"]
    documents.get(db, PROJECT, source, "id")
    target = call.data.get("destination_project")
    if target and target in with_below(db, source):
        raise ApiError("cannot_be_merged_into_its_child", project=source)
    name = documents.get(db, PROJECT, target, "name")["name"] if target else None
    children = documents.select(db, PROJECT, "parent = ?", [source], ["id", "basename"])
    for child in children:
        path = f"{name}/{child['basename']}" if name else child["basename"]
        if db.execute("SELECT 1 FROM projects WHERE name = ?", (path,)).fetchone():
            raise ApiError("expected_unique_data", "there is a project", name=path)
    for child in children:
        projects.place(db, child["id"], name or "")
    moved = 0
    for table in ("tasks", "models"):
        sql = f"UPDATE {table} SET project = ? WHERE project = ?"
        moved += db.execute(sql, (target, source)).rowcount
    documents.delete(db, PROJECT, source)
    return {"moved_entities": moved, "moved_projects": len(children)}


def _of_projects(call, ids, table: str = "tasks") -> tuple[str, list]:
    """SQL condition and parameters: in these projects (or the top), and those below."""
    below = call.data.get("include_subprojects", True)
    if not ids:
        return "1" if below else f"{table}.project IS NULL", []
    if below:
        ids = [below for id_ in ids for below in with_below(call.db, id_)]
    return f"{table}.project IN ({', '.join('?' * len(ids))})", list(ids)


def _page(call, name: str, found: list) -> dict:
    page = max(0, call.data.get("page") or 0)
    size = max(1, call.data.get("page_size") or DEFAULT_PAGE)
    start = page * size
    return {
        name: found[start : start + size],
        "total": len(found),
        "remaining": max(0, len(found) - start - size),
    }
