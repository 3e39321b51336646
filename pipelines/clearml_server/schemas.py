"""What requests may contain, checked in one place before any endpoint sees them.

``schemas.json`` has the schema of each call that ClearML's SDK knows, one a line, see
`sdk_schemas`; OWN has those of further calls, and MORE the fields that other
clients send. What is in none of them is refused: a filter that is passed over would
make a list longer than meant, and such lists are deleted.

    python -m pipelines.clearml_server.schemas           # which calls are answered
    python -m pipelines.clearml_server.schemas --write   # after an update of the SDK
"""

import argparse
import functools
import json
from pathlib import Path

from . import json_schema
from .errors import ApiError
from .storage import MODEL, PROJECT, QUEUE, TASK, WORKER

FILE = Path(__file__).parent / "schemas.json"
SENT_BY = "method"  # the SDK repeats in the body by which method it is sent

# Calls whose fields are those of a query, see `query`: it checks them itself.
QUERIES = {
    "tasks.get_all": TASK,
    "tasks.get_all_ex": TASK,
    "tasks.get_by_id_ex": TASK,
    "models.get_all": MODEL,
    "models.get_all_ex": MODEL,
    "models.get_by_id_ex": MODEL,
    "projects.get_all": PROJECT,
    "projects.get_all_ex": PROJECT,
    "queues.get_all": QUEUE,
    "queues.get_all_ex": QUEUE,
    "workers.get_all": WORKER,
}
# Accepted without effect: there is one user, and nothing is public or shared.
WITHOUT_EFFECT = {
    "allow_public": "boolean",
    "non_public": "boolean",
    "move_to_trash": "boolean",
}
_QUERY = {
    "only_fields": "strings",
    "projection": "strings",
    "order_by": "strings",
    "page": "integer",
    "page_size": "integer",
    "size": "integer",
    "scroll_id": "string",
    "refresh_scroll": "boolean",
    "search_hidden": "boolean",
    "search_text": "string",
    "include_subprojects": "boolean",
    "count_total": "boolean",
    "filters": "object",
    "_any_": "object",
    "_all_": "object",
    "_or_": "object",
    "_and_": "object",
} | WITHOUT_EFFECT
_PROJECT_QUERY = {
    "active_users": "strings",
    "check_own_contents": "boolean",
    "include_dataset_stats": "boolean",
    "include_stats": "boolean",
    "shallow_search": "boolean",
    "stats_for_state": {"enum": ["active", "archived", None]},
    "stats_with_children": "boolean",
}
# Fields of which null says something else than nothing.
NULLABLE = ("stats_for_state",)
# Calls that the SDK has no schema of: names of fields to kinds. "!" marks a needed one;
# "?" one that is not needed, whatever the SDK says.
OWN: dict[str, dict] = {
    "auth.validate_token": {"token!": "string"},
    "debug.ping": {},
    "embedded.lease": {"pid!": "integer"},
    "server.endpoints": {},
    "server.info": {},
    "server.report_stats_option": {},
    "server.config": {"path": "string"},
    "events.get_multi_task_metrics": {
        "tasks!": "strings",
        "event_type": "string",
        "model_events": "boolean",
    },
    "login.supported_modes": {"state": "string", "callback_url_prefix": "string"},
    "models.get_by_id_ex": _QUERY | {"id!": "strings"},
    "models.get_all_ex": _QUERY | {"include_stats": "boolean"},
    "models.update_tags": {
        "ids!": "strings",
        "add_tags": "strings",
        "remove_tags": "strings",
    },
    "organization.get_user_companies": {},
    "organization.get_entities_count": {
        "projects": "object",
        "tasks": "object",
        "models": "object",
        "pipelines": "object",
        "pipeline_runs": "object",
        "datasets": "object",
        "dataset_versions": "object",
        "search_hidden": "boolean",
        "active_users": "strings",
    }
    | WITHOUT_EFFECT,
    "pipelines.delete_runs": {"ids!": "strings", "project!": "string"},
    "projects.get_all_ex": _QUERY | _PROJECT_QUERY,
    "projects.get_user_names": {
        "projects": "strings",
        "include_subprojects": "boolean",
        "entity": "string",
    },
    "queues.clear_queue": {"queue!": "string"},
    "queues.get_all_ex": _QUERY | {"max_task_entries": "integer"},
    "tasks.edit_runtime": {
        "task!": "string",
        "add_or_update": "object",
        "remove": "strings",
        "force": "boolean",
    },
    "tasks.get_all_ex": _QUERY,
    "tasks.get_by_id_ex": _QUERY | {"id!": "strings"},
    "tasks.update_tags": {
        "ids!": "strings",
        "add_tags": "strings",
        "remove_tags": "strings",
    },
    "users.get_all": {"id": "strings", "only_fields": "strings"},
    "users.get_all_ex": {
        "id": "strings",
        "only_fields": "strings",
        "active_in_projects": "strings",
    },
    "users.get_by_id": {"user": "string"},
    "users.get_current_user": {"get_supported_features": "boolean"},
    "users.get_preferences": {},
    "users.set_preferences": {"preferences!": "object", "return_updated": "boolean"},
    "workers.get_count": {
        "last_seen": "integer",
        "tags": "strings",
        "system_tags": "strings",
    },
    "workers.get_runtime_properties": {"worker!": "string"},
    "workers.set_runtime_properties": {
        "worker!": "string",
        "runtime_properties": "array",
    },
}


def _items(*names: str) -> dict:
    """A list of objects that need texts of these names."""
    texts = {name: {"type": "string"} for name in names}
    return {"type": "array", "items": _object(texts, list(names))}


def _object(properties: dict, required: list[str]) -> dict:
    return {"type": "object", "properties": properties, "required": required}


_VARIANTS = {"type": ["array", "null"], "items": {"type": "string"}}
_METRIC = _object({"metric": {"type": "string"}, "variants": _VARIANTS}, ["metric"])
_METRICS = {"type": "array", "items": _METRIC}
_OF_TASKS = _object(
    {
        "task": {"type": "string"},
        "metric": {"type": ["string", "null"]},
        "variants": _VARIANTS,
    },
    ["task"],
)
# A list of items, or a dictionary of them by key.
_METADATA = {
    "metadata": {
        "anyOf": [
            _items("key"),
            {"type": "object", "additionalProperties": {"type": "object"}},
        ]
    }
}
_PARAMETERS = {"hyperparams": _items("section", "name")}
# Fields beside those of the SDK's schema, from newer releases and from agents; and
# fields of which that schema leaves out what they need.
MORE: dict[str, dict] = {
    "events.debug_images": {"metrics!": {"type": "array", "items": _OF_TASKS}},
    "events.delete_for_task": {"task!": {"type": "string", "minLength": 1}},
    "events.get_scalar_metric_data": {"task!": "string"},
    "events.clear_task_log": {
        "include_metrics": "strings",
        "exclude_metrics": "strings",
    },
    "events.get_multi_task_plots": {"metrics": _METRICS},
    "events.get_task_log": {"metrics": _METRICS},
    "events.get_task_plots": {"metrics": _METRICS},
    "events.get_task_single_value_metrics": {"metrics": _METRICS},
    "events.multi_task_scalar_metrics_iter_histogram": {"metrics": _METRICS},
    "events.plots": {"metrics!": {"type": "array", "items": _OF_TASKS}},
    "events.scalar_metrics_iter_histogram": {"metrics": _METRICS},
    "events.scalar_metrics_iter_raw": {"metric!": _METRIC},
    "models.add_or_update_metadata": {"metadata": _items("key")},
    "models.create": _METADATA,
    "models.edit": _METADATA,
    "models.update": _METADATA | {"labels": "object"},
    "pipelines.start_pipeline": {
        "args": _items("name"),
        "verify_watched_queue": "boolean",
    },
    "projects.get_hyperparam_values": {"pattern": "string"},
    "projects.get_model_metadata_keys": {"project?": "string"},
    "projects.get_task_parents": {"task_name": "string"},
    "projects.get_unique_metric_variants": {"ids": "strings"},
    "queues.add_or_update_metadata": {"metadata": _items("key")},
    "tasks.delete_hyper_params": {"hyperparams": _items("section")},
    "tasks.edit_configuration": {"configuration": _items("name")},
    "tasks.edit_hyper_params": _PARAMETERS,
    "events.get_task_metrics": {"metrics": "array"},
    "models.get_all": _QUERY,
    "models.get_by_task_id": {"task!": "string"},
    "projects.get_all": _QUERY | _PROJECT_QUERY,
    "queues.get_all": _QUERY,
    "queues.get_next_task": {"get_task_info": "boolean", "task": "string"},
    "queues.remove_task": {"update_task_status": "boolean"},
    "queues.create": _METADATA | {"display_name": "string"},
    "queues.update": _METADATA | {"display_name": "string"},
    "tasks.archive": {"include_pipeline_steps": "boolean"},
    "tasks.archive_many": {"include_pipeline_steps": "boolean"},
    "tasks.create": {"runtime": "object"},
    "tasks.edit": {"runtime": "object"},
    "tasks.validate": {"runtime": "object"},
    "tasks.delete": {"include_pipeline_steps": "boolean"},
    "tasks.delete_many": {"include_pipeline_steps": "boolean"},
    "tasks.dequeue": {"new_status": "string"},
    "tasks.dequeue_many": {"new_status": "string"},
    "tasks.enqueue": {"force": "boolean"},
    "tasks.enqueue_many": {"force": "boolean"},
    "tasks.get_all": _QUERY,
    "tasks.stop": {"include_pipeline_steps": "boolean"},
    "tasks.stop_many": {"include_pipeline_steps": "boolean"},
    "tasks.unarchive_many": {"include_pipeline_steps": "boolean"},
    "tasks.update": {"tags": "strings", "parent": "string"},
    "workers.get_all": _QUERY | {"last_seen": "integer"},
    "workers.register": {"capabilities": "object", "ip": "string"},
    # what agents measure is not whole, whatever the SDK's schema says
    "workers.status_report": {"is_daemon": "boolean", "machine_stats": "object"},
    "workers.unregister": {"queues": "strings"},
}
# What the SDK's triggers on datasets and newer clients call a field, and its name.
RENAMED = {
    "models.publish_many": {"publish_task": "publish_tasks"},
    "tasks.get_all": {"task_types": "type"},
}
# In the SDK's schema, but nothing here could obey them.
UNSUPPORTED = {
    "events.download_task_log": ("line_type", "line_format"),
    "tasks.get_all": ("input.view.entries.dataset", "input.view.entries.version"),
}
KINDS = {
    "string": {"type": "string"},
    "integer": {"type": "integer"},
    "boolean": {"type": "boolean"},
    "object": {"type": "object"},
    "array": {"type": "array", "items": {"type": "object"}},
    "strings": {"type": ["array", "string"], "items": {"type": "string"}},
}


def check(name: str, request: dict) -> dict:
    """Return a request without fields that mean nothing: those that are null.

    Raises:
        ApiError: A field is needed, unknown, or has a value of a wrong type.
    """
    names = RENAMED.get(name, {})
    request = {
        names.get(field, field): value
        for field, value in request.items()
        if (value is not None or field in NULLABLE) and field != SENT_BY
    }
    schema = of(name)
    needed = [field for field in schema["required"] if field not in request]
    if needed:
        raise ApiError("missing_required_fields", fields=needed)
    for field in request:
        if field not in schema["properties"] and not _is_of_query(name, field):
            raise ApiError(
                "fields_value_error", "not a field of this call", field=field
            )
    wrong = json_schema.fault(request, schema, schema.get("definitions", {}))
    if wrong:
        raise ApiError("validation_error", wrong)
    return request


def of(name: str) -> dict:
    """The JSON schema of a call, with all that is accepted."""
    return _all()[name]


def names_of_sdk() -> set[str]:
    """The calls that the SDK knows, without those of the hosted server alone."""
    return set(_read())


def _is_of_query(name: str, field: str) -> bool:
    if name not in QUERIES:
        return False
    from .projection import split_path

    return split_path(field)[0] in QUERIES[name].columns


@functools.cache
def _all() -> dict[str, dict]:
    schemas = {}
    for name, schema in _read().items():
        schemas[name] = {"properties": {}, "required": []} | schema
    for name, fields in OWN.items():
        schemas.setdefault(name, {"properties": {}, "required": []})
        _extend(schemas[name], fields)
    for name, fields in MORE.items():
        _extend(schemas[name], fields)
    for name, refused in UNSUPPORTED.items():
        for field in refused:
            del schemas[name]["properties"][field]
    for name, entity in QUERIES.items():
        for field in entity.columns:
            schemas[name]["properties"].pop(field, None)
    for field in TASK.columns:  # all that tasks.get_by_id answers can be validated
        schemas["tasks.validate"]["properties"].setdefault(field, {})
    return schemas


def _extend(schema: dict, fields: dict[str, str | dict]) -> None:
    required = set(schema["required"])
    for field, kind in fields.items():
        name = field.rstrip("!?")
        if field.endswith("!"):
            required.add(name)
        if field.endswith("?"):
            required.discard(name)
        schema["properties"][name] = kind if isinstance(kind, dict) else KINDS[kind]
    schema["required"] = sorted(required)


@functools.cache
def _read() -> dict[str, dict]:
    return json.loads(FILE.read_text(encoding="utf-8"))


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.clearml_server.schemas",
        description="Print which of the SDK's calls this server answers.",
    )
    parser.add_argument(
        "--write", action="store_true", help="write schemas.json from the installed SDK"
    )
    if parser.parse_args().write:
        from . import sdk_schemas

        FILE.write_text(sdk_schemas.as_text(), encoding="utf-8")
        return
    from . import calls, services  # noqa: F401

    by_service = {}
    for name in sorted(names_of_sdk()):
        by_service.setdefault(name.partition(".")[0], []).append(name)
    for service, names in by_service.items():
        missing = [name for name in names if name not in calls.names()]
        print(f"{service}: {len(names) - len(missing)} of {len(names)} answered")
        for name in missing:
            print(f"    absent: {name}: {calls.why_absent(name)}")
    more = len(calls.names() - names_of_sdk())
    answered = len(calls.names() & names_of_sdk())
    print(f"{answered} of {len(names_of_sdk())} calls of the SDK, and {more} more")


if __name__ == "__main__":
    main()
