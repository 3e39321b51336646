"""Deleting projects.

Relied on by ``APIClient().projects.delete`` and ``Dataset.delete`` of a whole project.
"""

from .. import documents
from ..calls import endpoint
from ..errors import ApiError
from ..storage import MODEL, PROJECT, TASK
from . import task_removal
from .common import ARCHIVED, with_below
from .project_stats import tagged

# What a project holds: the table, and of which of its records; the last two are
# projects of their own with something in them.
CONTENTS = {
    "tasks": ("count(*) FROM tasks", "1"),
    "models": ("count(*) FROM models", "1"),
    "reports": ("count(*) FROM tasks", "type = 'report'"),
    "datasets": ("count(DISTINCT project) FROM tasks", tagged("dataset")),
    "pipelines": (
        "count(DISTINCT project) FROM tasks",
        f"type = 'controller' AND {tagged('pipeline')} AND NOT {tagged(ARCHIVED)}",
    ),
}


@endpoint("projects.validate_delete")
def validate_delete(call):
    """What deleting a project would take with it, and what of it is not archived."""
    return _contents(call.db, with_below(call.db, call.data["project"]))


def _contents(db, ids: list[str]) -> dict:
    marks, answer = ", ".join("?" * len(ids)), {}
    for name, (counted, condition) in CONTENTS.items():
        sql = f"SELECT {counted} WHERE project IN ({marks}) AND {condition}"
        answer[name] = db.execute(sql, ids).fetchone()[0]
        sql += f" AND NOT {tagged(ARCHIVED)}"
        answer[f"non_archived_{name}"] = db.execute(sql, ids).fetchone()[0]
    return answer


@endpoint("projects.delete", writes=True)
def delete(call):
    """Delete a project and those below; what is in them goes too, or stays behind."""
    db = call.db
    documents.get(db, PROJECT, call.data["project"], "id")
    ids = with_below(db, call.data["project"])
    found = _contents(db, ids)
    if not call.data.get("force"):
        for name in (
            "datasets",
            "pipelines",
            "non_archived_tasks",
            "non_archived_models",
        ):
            if found[name]:
                error = f"project_has_{name.removeprefix('non_archived_')}"
                raise ApiError(error, "use force=true", project=ids[0])
    answer = {"deleted": 0, "disassociated_tasks": found["tasks"]}
    answer |= {"deleted_tasks": 0, "deleted_models": 0}
    if call.data.get("delete_contents"):
        answer |= {"disassociated_tasks": 0, **_delete_contents(call, ids)}
    for id_ in ids:
        for table in ("tasks", "models"):
            db.execute(f"UPDATE {table} SET project = NULL WHERE project = ?", [id_])
        answer["deleted"] += documents.delete(db, PROJECT, id_)
    return answer


def _delete_contents(call, ids: list[str]) -> dict:
    """Delete the tasks and models of projects, with the files that are kept here."""
    db, where = call.db, f"project IN ({', '.join('?' * len(ids))})"
    tasks = documents.select(db, TASK, where, ids, ["id"])
    call.data["return_file_urls"] = True
    removed = [task_removal.remove(call, task["id"], force=True) for task in tasks]
    models = documents.select(db, MODEL, where, ids, ["id", "uri"])
    for model in models:
        documents.delete(db, MODEL, model["id"])
    left = [model["uri"] for model in models if model.get("uri")]
    call.after.append(lambda: call.server.files.delete_urls(left))
    urls = {"model_urls": left, "artifact_urls": [], "event_urls": []}
    for one in removed:
        for kind in urls:
            urls[kind] += one["urls"][kind]
    deleted_models = len(models) + sum(one["deleted_models"] for one in removed)
    counts = {"deleted_tasks": len(tasks), "deleted_models": deleted_models}
    return counts | {"urls": urls}
