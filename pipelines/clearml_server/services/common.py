"""What several services share: checks of tags, names and references, batch calls."""

from .. import documents
from ..errors import ApiError
from ..storage import MODEL, PROJECT, TASK

LEAST_NAME = 3
HIDDEN = "hidden"
ARCHIVED = "archived"


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
    below = [child for id_ in ids for child in with_below(db, id_)]
    return request | {"project": below}


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
REFERENCES = {"project": PROJECT, "parent": TASK, "task": TASK}


def with_names(db, records: list[dict], entity) -> None:
    """Replace ids in records by ``{"id", "name"}``, as ``..._ex`` calls answer."""
    names = {}

    def named(of, id_):
        if (of.table, id_) not in names:
            found = documents.select(db, of, "id = ?", [id_], ["id", "name"])
            names[of.table, id_] = found[0] if found else {"id": id_}
        return dict(names[of.table, id_])

    references = REFERENCES | ({"parent": PROJECT} if entity is PROJECT else {})
    references |= {"parent": MODEL} if entity is MODEL else {}
    for record in records:
        for field, of in references.items():
            if record.get(field):
                record[field] = named(of, record[field])
        for field, name in (("user", documents.USER), ("company", documents.COMPANY)):
            if field in record:
                record[field] = {"id": record[field], "name": name}
        for entries in (record.get("models") or {}).values():
            for entry in entries or []:
                entry["model"] = named(MODEL, entry.get("model"))


def retag(db, entity, id_: str, request: dict) -> dict:
    """Add and remove tags of one record; return its fields."""
    tags = set(documents.get(db, entity, id_, "tags").get("tags", []))
    add = request.get("add_tags") or []
    check_tags({"tags": add})
    tags = sorted((tags | set(add)) - set(request.get("remove_tags") or []))
    return {"tags": tags}


def rename_metadata(items) -> dict:
    """Turn the API's list of metadata items into what is kept: by key."""
    return {item["key"]: item for item in items or []}
