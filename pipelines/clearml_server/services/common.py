"""What several services share: checks of tags, names and references, batch calls."""

from .. import documents
from ..errors import ApiError
from ..storage import PROJECT

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


def rename_metadata(items) -> dict:
    """Turn the API's list of metadata items into what is kept: by key."""
    return {item["key"]: item for item in items or []}
