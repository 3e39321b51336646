"""Parts of a task: artifacts, models, single parameters and configurations.

Relied on by ``task.upload_artifact``, ``register_artifact``, ``OutputModel``,
``InputModel``, ``task.set_parameter``, ``delete_parameter``, ``set_user_properties``,
``get_user_properties``, ``delete_artifacts``.
"""

from .. import documents
from ..calls import endpoint
from ..errors import ApiError
from ..storage import TASK
from .tasks import change, in_order

PARAMETER_STATUSES = ("created", "in_progress")
# Sections that people may edit after the run.
FREE_SECTIONS = ("properties",)


@endpoint("tasks.add_or_update_artifacts", writes=True)
def add_or_update_artifacts(call):
    kept = _artifacts(call)
    for artifact in call.data["artifacts"]:
        artifact = {"mode": "output"} | artifact
        kept[artifact["key"], artifact["mode"]] = artifact
    return {"updated": _keep_artifacts(call, kept)}


@endpoint("tasks.delete_artifacts", writes=True)
def delete_artifacts(call):
    kept = _artifacts(call)
    for artifact in call.data["artifacts"]:
        kept.pop((artifact["key"], artifact.get("mode", "output")), None)
    return {"deleted": _keep_artifacts(call, kept)}


def _artifacts(call) -> dict:
    execution = documents.get(call.db, TASK, call.data["task"], "execution")
    artifacts = execution.get("execution", {}).get("artifacts") or []
    return {(a["key"], a.get("mode", "output")): a for a in artifacts}


def _keep_artifacts(call, artifacts: dict) -> int:
    task = documents.get(call.db, TASK, call.data["task"], "execution")
    ordered = in_order([*artifacts.values()])
    execution = task.get("execution", {}) | {"artifacts": ordered}
    return change(call.db, call.data["task"], {"execution": execution})["updated"]


@endpoint("tasks.add_or_update_model", writes=True)
def add_or_update_model(call):
    db, request = call.db, call.data
    task = documents.get(db, TASK, request["task"], "models", "last_iteration")
    models = task.get("models", {})
    entry = {k: request[k] for k in ("name", "model")} | {"updated": documents.now()}
    entries = {m["name"]: m for m in models.get(request["type"]) or []}
    entries[entry["name"]] = entry
    models |= {request["type"]: list(entries.values())}
    fields = {"models": models}
    if request.get("iteration") is not None:
        last = max(request["iteration"], task.get("last_iteration", 0))
        fields["last_iteration"] = last
    return {"updated": change(db, request["task"], fields)["updated"]}


@endpoint("tasks.delete_models", writes=True)
def delete_models(call):
    task = documents.get(call.db, TASK, call.data["task"], "models")
    gone = {(m.get("type"), m.get("name")) for m in call.data["models"]}
    models = {
        kind: [m for m in entries if (kind, m["name"]) not in gone]
        for kind, entries in task.get("models", {}).items()
    }
    return {
        "updated": change(call.db, call.data["task"], {"models": models})["updated"]
    }


@endpoint("tasks.get_hyper_params")
def get_hyper_params(call):
    params = []
    for id_ in call.data["tasks"]:
        task = documents.get(call.db, TASK, id_, "hyperparams")
        items = [
            item for s in task.get("hyperparams", {}).values() for item in s.values()
        ]
        items.sort(key=lambda item: (item["section"], item["name"]))
        params.append({"task": id_, "hyperparams": items})
    return {"params": params}


@endpoint("tasks.edit_hyper_params", writes=True)
def edit_hyper_params(call):
    """Set parameters; "replace_hyperparams" says whether what is left out stays."""
    items = call.data["hyperparams"]
    params = _parameters(call, items)
    replace = call.data.get("replace_hyperparams") or "none"
    if replace == "all":
        params = {}
    elif replace == "section":
        for item in items:
            params.pop(item["section"], None)
    for item in items:
        params.setdefault(item["section"], {})[item["name"]] = item
    return {"updated": _keep(call, "hyperparams", params)}


@endpoint("tasks.delete_hyper_params", writes=True)
def delete_hyper_params(call):
    params = _parameters(call, call.data["hyperparams"])
    for item in call.data["hyperparams"]:
        if item.get("name") is None:
            params.pop(item["section"], None)
        else:
            params.get(item["section"], {}).pop(item["name"], None)
    return {"deleted": _keep(call, "hyperparams", params)}


def _parameters(call, items) -> dict:
    task = documents.get(call.db, TASK, call.data["task"], "status", "hyperparams")
    if any(item["section"] not in FREE_SECTIONS for item in items):
        _check_editable(call, task)
    return task.get("hyperparams", {})


def _check_editable(call, task) -> None:
    statuses = PARAMETER_STATUSES if call.data.get("force") else ("created",)
    if task["status"] not in statuses:
        raise ApiError("invalid_task_status", expected="created", status=task["status"])


def _keep(call, field, value) -> int:
    return change(call.db, call.data["task"], {field: value})["updated"]


@endpoint("tasks.get_configurations")
def get_configurations(call):
    names = call.data.get("names")
    answer = []
    for id_ in call.data["tasks"]:
        task = documents.get(call.db, TASK, id_, "configuration")
        items = [
            {"name": name} | item
            for name, item in sorted(task.get("configuration", {}).items())
            if not names or name in names
        ]
        answer.append({"task": id_, "configuration": items})
    return {"configurations": answer}


@endpoint("tasks.get_configuration_names")
def get_configuration_names(call):
    answer = []
    for id_ in call.data["tasks"]:
        task = documents.get(call.db, TASK, id_, "configuration")
        items, every = (
            task.get("configuration", {}),
            call.data.get("skip_empty") is False,
        )
        names = sorted(name for name in items if every or items[name].get("value"))
        if names or every:
            answer.append({"task": id_, "names": names})
    return {"configurations": answer}


@endpoint("tasks.edit_configuration", writes=True)
def edit_configuration(call):
    task = documents.get(call.db, TASK, call.data["task"], "status", "configuration")
    _check_editable(call, task)
    kept = {} if call.data.get("replace_configuration") else task["configuration"]
    kept |= {item["name"]: item for item in call.data["configuration"]}
    return {"updated": _keep(call, "configuration", kept)}


@endpoint("tasks.delete_configuration", writes=True)
def delete_configuration(call):
    task = documents.get(call.db, TASK, call.data["task"], "status", "configuration")
    _check_editable(call, task)
    kept = task["configuration"]
    for name in call.data["configuration"]:
        kept.pop(name, None)
    return {"deleted": _keep(call, "configuration", kept)}
