"""Further runs of a pipeline, and deleting runs.

Relied on by ``APIClient().pipelines`` and by "new run" in web interfaces. A pipeline is
a task of type controller; its run is a clone of it.
"""

from .. import documents
from ..calls import endpoint
from ..errors import ApiError
from ..storage import TASK
from . import queues, task_actions, task_removal, tasks
from .common import for_each

ARGUMENTS = "Args"


@endpoint("pipelines.start_pipeline", writes=True)
def start_pipeline(call):
    """Clone a run with other arguments, and put it into a queue."""
    db, request = call.db, call.data
    source = documents.get(db, TASK, request["task"], "name", "project", "hyperparams")
    hyperparams = source.get("hyperparams", {})
    for argument in request.get("args") or []:
        section, _, name = argument["name"].rpartition("/")
        section = section or ARGUMENTS
        item = {"section": section, "name": name, "value": argument.get("value")}
        hyperparams.setdefault(section, {})
        hyperparams[section][name] = hyperparams[section].get(name, {}) | item
    call.data = {"task": request["task"], "new_task_hyperparams": hyperparams}
    pipeline = tasks.clone(call)["id"]
    call.data = {"task": pipeline, "queue": request.get("queue")}
    if not request.get("queue"):
        call.data["queue_name"] = queues.SERVICES
    call.data["verify_watched_queue"] = request.get("verify_watched_queue")
    queued = task_actions.enqueue(call)
    answer = {"pipeline": pipeline, "enqueued": True}
    return answer | {k: queued[k] for k in ("queue_watched",) if k in queued}


@endpoint("pipelines.delete_runs", writes=True)
def delete_runs(call):
    """Delete runs of a pipeline with their steps; the last one stays."""
    project = call.data["project"]
    runs = documents.select(
        call.db, TASK, "project = ? AND type = 'controller'", [project], ["id"]
    )
    if {run["id"] for run in runs} <= set(call.data["ids"]):
        raise ApiError("cannot_remove_all_runs", project=project)
    call.data = call.data | {"include_pipeline_steps": True}

    def act(id_):
        if documents.get(call.db, TASK, id_, "project").get("project") != project:
            raise ApiError("invalid_task_id", "not a run of this pipeline", id=id_)
        return task_removal.remove(call, id_, force=True)

    return for_each(call, act)
