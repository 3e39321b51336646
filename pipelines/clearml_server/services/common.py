"""What several services share: checks of tags, names and references, batch calls."""

from .. import documents
from ..errors import ApiError
from ..storage import MODEL, PROJECT, QUEUE, TASK

LEAST_NAME = 3
DEFAULT_BATCH = 500
MAX_BATCH = 10_000
HIDDEN = "hidden"
ARCHIVED = "archived"
DELETED = "__DELETED__"  # before the id of what a record once referred to


def check_name(name) -> str:
    """Return a name without surrounding white space.

    Raises:
        ApiError: It is shorter than 3 characters, as the real server demands.
    """
    name = name.strip() if isinstance(name, str) else ""
    if len(name) < LEAST_NAME:
        raise ApiError(
            "data_validation_error",
            f"a name has at least {LEAST_NAME} characters",
            name=name,
        )
    return name


def check_tags(fields: dict) -> None:
    """Refuse tags that would read as operators in a query."""
    for field in ("tags", "system_tags"):
        tags = fields.get(field)
        if tags is None:
            continue
        if not isinstance(tags, list) or not all(isinstance(t, str) for t in tags):
            raise ApiError("data_validation_error", field=field, value=tags)
        if any(tag.startswith("__$") for tag in tags):
            raise ApiError("fields_value_error", "unsupported tag prefix", **fields)


def visible(request: dict) -> dict:
    """The filter that leaves hidden records out, unless the request wants them."""
    if request.get("search_hidden") or request.get("id"):
        return {}
    return {"system_tags": ["__$not", HIDDEN]}


def with_subprojects(db, request: dict) -> dict:
    """Widen a filter by project to the projects below, if the request asks for it."""
    ids = request.get("project")
    if not ids or not request.get("include_subprojects"):
        return request
    ids = ids if isinstance(ids, list) else [ids]
    return request | in_projects(db, ids)


def in_projects(db, ids: list[str] | None) -> dict:
    """The filter for what is in projects or below them; without any, for everything."""
    below = {child for id_ in ids or [] for child in with_below(db, id_)}
    return {"project": sorted(below)} if below else {}


def with_below(db, project_id: str) -> list[str]:
    """Ids of a project and of all below it."""
    sql = (
        "SELECT projects.id FROM projects, json_each(projects.path) AS has "
        "WHERE has.value = ?"
    )
    return [project_id, *(row["id"] for row in db.execute(sql, (project_id,)))]


def touch_project(db, project_id) -> None:
    """Note that something in a project changed."""
    documents.update(db, PROJECT, project_id, {"last_update": documents.now()})


def for_each(call, act) -> dict:
    """Answer an ``..._many`` call: `act(id)` for each id; refusals are listed.

    Args:
        act: Returns the fields of the answer for one id.
    """
    succeeded, failed = [], []
    for id_ in call.data["ids"]:
        call.db.execute("SAVEPOINT one")
        try:
            succeeded.append({"id": id_} | act(id_))
        except ApiError as error:
            call.db.execute("ROLLBACK TO one")
            details = {"codes": [error.code, error.subcode], "msg": error.message}
            failed.append({"id": id_, "error": details | {"data": {}}})
        call.db.execute("RELEASE one")
    return {"succeeded": succeeded, "failed": failed}


# Ids in records, and what they are the ids of.
REFERENCES = {
    "project": PROJECT,
    "parent": TASK,
    "task": TASK,
    "execution.queue": QUEUE,
    "execution.model": MODEL,
    "queue": QUEUE,
}


def with_names(db, records: list[dict], entity) -> None:
    """Replace ids in records by ``{"id", "name"}``, as ``..._ex`` calls answer."""
    names = {}

    def named(of, id_):
        if (of.table, id_) not in names:
            names[of.table, id_] = name_of(db, of, id_)
        return dict(names[of.table, id_])

    references = REFERENCES | ({"parent": PROJECT} if entity is PROJECT else {})
    references |= {"parent": MODEL} if entity is MODEL else {}
    for record in records:
        for path, of in references.items():
            *way, field = path.split(".")
            inner = record.get(way[0], {}) if way else record
            if isinstance(inner, dict) and inner.get(field):
                inner[field] = named(of, inner[field])
        for field, name in (("user", documents.USER), ("company", documents.COMPANY)):
            if field in record:
                record[field] = {"id": record[field], "name": name}
        for entries in (record.get("models") or {}).values():
            for entry in entries or []:
                entry["model"] = named(MODEL, entry.get("model"))


def name_of(db, entity, id_) -> dict:
    """The id and the name of a record, as far as there is one."""
    shown = ["id", "name"] + ["display_name"] * (entity is QUEUE)
    found = documents.select(db, entity, "id = ?", [id_], shown)
    return found[0] if found else {"id": id_}


def retag(db, entity, id_: str, request: dict) -> dict:
    """Add and remove tags of one record; return its fields."""
    tags = set(documents.get(db, entity, id_, "tags").get("tags", []))
    add = request.get("add_tags") or []
    check_tags({"tags": add})
    left = (tags | set(add)) - set(request.get("remove_tags") or [])
    return {"tags": sorted(left)}


def rename_metadata(items) -> dict:
    """Turn metadata, a list of items or a dictionary of them, into what is kept.

    Returns:
        Key to ``{"key", "type", "value"}``.
    """
    if isinstance(items, dict):
        items = [{"key": key} | item for key, item in items.items()]
    return {item["key"]: item for item in items or []}


def batch_size(call) -> int:
    """How many events a call wants in one answer."""
    size = call.data.get("batch_size") or DEFAULT_BATCH
    return min(max(1, size), MAX_BATCH)


def reporter(call, id_: str) -> str:
    """The name of the task (or model, where the call is about models) of events.

    Raises:
        ApiError: There is none of this id.
    """
    entity = MODEL if call.data.get("model_events") else TASK
    return documents.get(call.db, entity, id_, "name")["name"]


def of_metrics(metrics, metric="metric", variant="variant") -> tuple[str, list]:
    """SQL condition and parameters for what a request names in "metrics".

    Args:
        metrics: ``[{"metric": ..., "variants": [...]}]``; no list, or no variants,
            means all of them.
        metric, variant: SQL for the names that a record has.
    """
    clauses, parameters = [], []
    for one in metrics or []:
        clause, parameters = f"{metric} = ?", [*parameters, one["metric"]]
        if variants := one.get("variants"):
            clause += f" AND {variant} IN ({', '.join('?' * len(variants))})"
            parameters += variants
        clauses.append(f"({clause})")
    return f"({' OR '.join(clauses)})" if clauses else "1", parameters
