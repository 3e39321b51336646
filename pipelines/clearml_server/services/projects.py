"""Projects: a tree of names such as ``ASL/.datasets/ASL``.

Relied on by everything that names a project: ``Task.init``, ``Dataset.create`` (hidden
projects), ``PipelineController``, ``Task.get_projects``, ``Task.get_project_id``,
``Task.move_to_project``, ``project.delete`` of the APIClient.
"""

from .. import documents, query, schemas
from ..calls import endpoint
from ..errors import ApiError
from ..storage import MODEL, PROJECT, TASK
from . import project_stats
from .common import check_name, check_tags, in_projects, visible, with_below, with_names

FIELDS = "name description tags system_tags default_output_destination".split()


@endpoint("projects.get_by_id")
def get_by_id(call):
    return {"project": documents.get(call.db, PROJECT, call.data["project"])}


@endpoint("projects.get_all")
@endpoint("projects.get_all_ex")
def get_all(call):
    request = dict(call.data)
    request.pop("path", None)
    if request.pop("shallow_search", False):
        request.setdefault("parent", [None])
    elif "parent" in request:
        request["path"] = request.pop("parent")
    also = visible(request)
    if users := request.get("active_users"):
        also |= project_stats.active(call.db, users)
    complete = None
    if call.name == "projects.get_all_ex":
        complete = lambda found: with_names(call.db, found, PROJECT)  # noqa: E731
    answer = query.search(call.db, PROJECT, request, also, complete)
    for project in answer["projects"]:
        project |= project_stats.asked_for(call, project["id"])
    return answer


@endpoint("projects.create", writes=True)
def create(call):
    name = _clean(call.data["name"])
    if _find(call.db, name):
        raise ApiError(
            "expected_unique_data", "Project with the same name already exists"
        )
    return {"id": _create(call.db, name, _fields(call.data))}


def find_or_create(db, name: str) -> str:
    """Return the id of the project with this name; it and its parents are made."""
    name = _clean(name)
    return _find(db, name) or _create(db, name, {})


@endpoint("projects.update", writes=True)
def update(call):
    db, project_id = call.db, call.data["project"]
    project = documents.get(db, PROJECT, project_id)
    fields = _fields(call.data)
    if "name" in fields:
        name = fields["name"] = _clean(fields["name"])
        if _parent_name(name) != _parent_name(project["name"]):
            raise ApiError("cannot_update_project_location", name=name)
        if _find(db, name) not in (None, project_id):
            raise ApiError("expected_unique_data", name=name)
        fields["basename"] = name.rpartition("/")[2]
        _rename_below(db, project_id, project["name"], name)
    fields["last_update"] = documents.now()
    updated = documents.update(db, PROJECT, project_id, fields)
    return {"updated": updated, "fields": fields}


@endpoint("projects.move", writes=True)
def move(call):
    db, project_id = call.db, call.data["project"]
    project = documents.get(db, PROJECT, project_id)
    location = _clean(call.data["new_location"]) if call.data["new_location"] else ""
    if f"{location}/".startswith(f"{project['name']}/"):
        raise ApiError("project_cannot_be_moved_under_itself", to=location)
    return {"moved": place(db, project_id, location)}


def place(db, project_id: str, location: str) -> int:
    """Move a project below another ("" is the top); return how many moved."""
    project = documents.get(db, PROJECT, project_id)
    parent = find_or_create(db, location) if location else None
    name = f"{location}/{project['basename']}".lstrip("/")
    path = _path_below(db, parent)
    documents.update(db, PROJECT, project_id, {"name": name, "parent": parent})
    moved = _rename_below(db, project_id, project["name"], name)
    for child in moved:
        start = child["path"].index(project_id)
        documents.update(
            db, PROJECT, child["id"], {"path": path + child["path"][start:]}
        )
    documents.update(db, PROJECT, project_id, {"path": path})
    return 1 + len(moved)


@endpoint("projects.get_task_tags")
@endpoint("projects.get_model_tags")
@endpoint("projects.get_project_tags")
def get_tags(call):
    entity = {
        "projects.get_task_tags": TASK,
        "projects.get_model_tags": MODEL,
        "projects.get_project_tags": PROJECT,
    }[call.name]
    projects, among = call.data.get("projects"), call.data.get("filter") or {}
    if projects:
        of = {"id": projects} if entity is PROJECT else in_projects(call.db, projects)
        among = among | of
    wanted = ["tags"] + ["system_tags"] * bool(call.data.get("include_system"))
    return {name: distinct(call.db, entity, name, among) for name in wanted}


def distinct(db, entity, name: str, among: dict) -> list:
    """The different values in a list column, sorted; of the records of a query."""
    schemas.check(f"{entity.table}.get_all", among)
    where, parameters = query.conditions(entity, among)
    sql = (
        f"SELECT DISTINCT has.value FROM (SELECT {name} AS list FROM {entity.table} "
        f"WHERE {where}) AS found, json_each(found.list) AS has ORDER BY has.value"
    )
    return [row[0] for row in db.execute(sql, parameters)]


@endpoint("projects.get_unique_metric_variants")
def get_unique_metric_variants(call):
    """The metrics of the tasks of a project (or of all), with their hashes."""
    among = {"id": call.data.get("ids") or None}
    if project := call.data.get("project"):
        below = call.data.get("include_subprojects", True)
        among["project"] = with_below(call.db, project) if below else [project]
    where, parameters = query.conditions(TASK, among)
    found = {}
    for task in documents.select(call.db, TASK, where, parameters, ["last_metrics"]):
        for metric_hash, variants in task.get("last_metrics", {}).items():
            for variant_hash, last in variants.items():
                key = (last["metric"], last["variant"])
                found[key] = {
                    "metric": last["metric"],
                    "metric_hash": metric_hash,
                    "variant": last["variant"],
                    "variant_hash": variant_hash,
                }
    return {"metrics": [found[key] for key in sorted(found)]}


def _fields(request: dict) -> dict:
    fields = {name: request[name] for name in FIELDS if request.get(name) is not None}
    check_tags(fields)
    return fields


def _clean(name) -> str:
    """Return a project name without white space around its parts.

    Raises:
        ApiError: It is too short, or has an empty part.
    """
    parts = [part.strip() for part in name.strip("/").split("/")]
    if not all(parts):
        raise ApiError("invalid_project_name", "empty part", name=name)
    return check_name("/".join(parts))


def _parent_name(name: str) -> str:
    return name.rpartition("/")[0]


def _find(db, name: str) -> str | None:
    row = db.execute("SELECT id FROM projects WHERE name = ?", (name,)).fetchone()
    return row and row["id"]


def _create(db, name: str, fields: dict) -> str:
    parent_name, _, basename = name.rpartition("/")
    parent = None
    if parent_name:
        parent = _find(db, parent_name) or _create(db, parent_name, {})
    time = documents.now()
    record = {
        "description": "",
        "tags": [],
        "system_tags": [],
        "user": documents.USER,
        "company": documents.COMPANY,
        "created": time,
        "last_update": time,
    }
    place = {"name": name, "basename": basename, "parent": parent}
    return documents.insert(
        db, PROJECT, record | fields | place | {"path": _path_below(db, parent)}
    )


def _path_below(db, parent: str | None) -> list[str]:
    """Ids from the root to `parent`."""
    if parent is None:
        return []
    return documents.get(db, PROJECT, parent, "path").get("path", []) + [parent]


def _rename_below(db, project_id: str, old: str, new: str) -> list[dict]:
    """Change the start of the names of the projects below; return these projects."""
    ids = with_below(db, project_id)[1:]
    children = [documents.get(db, PROJECT, id_, "id", "name", "path") for id_ in ids]
    for child in children:
        name = new + child["name"].removeprefix(old)
        documents.update(db, PROJECT, child["id"], {"name": name})
    return children
