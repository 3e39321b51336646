"""Deleting projects.

Relied on by ``APIClient().projects.delete`` and ``Dataset.delete`` of a whole project.
"""

from .. import documents
from ..calls import endpoint
from ..errors import ApiError
from ..storage import MODEL, PROJECT, TASK
from . import task_removal
from .common import ARCHIVED, with_below


@endpoint("projects.validate_delete")
def validate_delete(call):
    """What deleting a project would take with it, and what of it is not archived."""
    ids = with_below(call.db, call.data["project"])
    marks = ", ".join("?" * len(ids))
    counted = {
        "tasks": ("tasks", "1"),
        "models": ("models", "1"),
        "datasets": ("tasks", _tagged("dataset")),
        "pipelines": ("tasks", _tagged("pipeline")),
        "reports": ("tasks", "type = 'report'"),
    }
    answer = {}
    for name, (table, condition) in counted.items():
        sql = f"SELECT count(*) FROM {table} WHERE project IN ({marks}) AND {condition}"
        answer[name] = call.db.execute(sql, ids).fetchone()[0]
        sql += f" AND NOT {_tagged(ARCHIVED)}"
        answer[f"non_archived_{name}"] = call.db.execute(sql, ids).fetchone()[0]
    return answer


def _tagged(tag: str) -> str:
    return f"EXISTS (SELECT 1 FROM json_each(system_tags) WHERE value = '{tag}')"


@endpoint("projects.delete", writes=True)
def delete(call):
    """Delete a project and those below; what is in them goes too, or stays behind."""
    db, contents = call.db, call.data.get("delete_contents")
    documents.get(db, PROJECT, call.data["project"], "id")
    ids = with_below(db, call.data["project"])
    answer = {"deleted": 0, "disassociated_tasks": 0}
    answer |= {"deleted_tasks": 0, "deleted_models": 0}
    for id_ in ids:
        tasks = documents.select(db, TASK, "project = ?", [id_], ["id", "system_tags"])
        models = documents.select(
            db, MODEL, "project = ?", [id_], ["id", "system_tags"]
        )
        if not call.data.get("force"):
            for name, records in (("tasks", tasks), ("models", models)):
                if any(ARCHIVED not in r.get("system_tags", []) for r in records):
                    raise ApiError(f"project_has_{name}", "use force=true", id=id_)
        if contents:
            for task in tasks:
                removed = task_removal.remove(call, task["id"], force=True)
                answer["deleted_models"] += removed["deleted_models"]
            answer["deleted_tasks"] += len(tasks)
            for model in models:
                answer["deleted_models"] += documents.delete(db, MODEL, model["id"])
        else:
            answer["disassociated_tasks"] += len(tasks)
            for table in ("tasks", "models"):
                db.execute(
                    f"UPDATE {table} SET project = NULL WHERE project = ?", [id_]
                )
        answer["deleted"] += documents.delete(db, PROJECT, id_)
    return answer
