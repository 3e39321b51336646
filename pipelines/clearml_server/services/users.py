"""Logging in, who am I, and what every client asks before anything else.

Relied on by every Session of the SDK and of agents (``auth.login``), by
``clearml-init``, and by `pipelines.tracking.connection` (``embedded.lease``).
"""

import json
from typing import Any

from .. import calls, documents, query, schemas
from ..auth import API_VERSION, SERVER_VERSION
from ..calls import endpoint
from ..errors import ApiError
from ..storage import MODEL, PROJECT, TASK
from . import project_stats, projects

ME = {"id": documents.USER, "name": documents.USER, "role": "user"}
MY_COMPANY = {"id": documents.COMPANY, "name": documents.COMPANY}


@endpoint("auth.login")
def login(call):
    seconds = call.data.get("expiration_sec")
    return {"token": call.server.gate.token(float(seconds) if seconds else None)}


@endpoint("auth.validate_token")
def validate_token(call):
    try:
        payload = call.server.gate.check_token(call.data["token"])
    except ApiError as error:
        return {"valid": False, "msg": error.message}
    identity = payload["identity"]
    return {"valid": True, "user": identity["user"], "company": identity["company"]}


@endpoint("auth.get_credentials")
def get_credentials(call):
    access_key = call.server.gate.credentials["access_key"]
    return {"credentials": [{"access_key": access_key, "label": "embedded"}]}


@endpoint("debug.ping")
def ping(call):
    return {"msg": "embedded"}


@endpoint("server.info")
@endpoint("server.config")
def info(call):
    return {"version": SERVER_VERSION, "api_version": API_VERSION}


@endpoint("server.endpoints")
def endpoints(call):
    """The calls that are answered, by service."""
    found = {}
    for name in sorted(calls.names()):
        service, _, action = name.partition(".")
        found.setdefault(service, []).append({"name": action})
    return {"endpoints": found}


@endpoint("server.report_stats_option")
def report_stats_option(call):
    """Nothing is reported to anybody."""
    return {"enabled": False, "supported": False}


@endpoint("users.get_current_user")
def get_current_user(call):
    return {"user": ME | {"company": MY_COMPANY}}


@endpoint("users.get_by_id")
def get_user(call):
    return {"user": ME}


@endpoint("users.get_all")
@endpoint("users.get_all_ex")
def get_all_users(call):
    ids, projects = call.data.get("id"), call.data.get("active_in_projects")
    found = not ids or ME["id"] in ids
    if found and projects is not None:
        found = bool(project_stats.with_contents(call.db, projects))
    return {"users": [ME] if found else []}


@endpoint("organization.get_user_companies")
def get_user_companies(call):
    owner = ME | {"avatar": None}
    return {"companies": [MY_COMPANY | {"owners": [owner], "allocated": 1}]}


@endpoint("organization.get_tags")
def get_tags(call):
    """All tags of tasks and models."""
    wanted = ["tags"] + ["system_tags"] * bool(call.data.get("include_system"))
    among = call.data.get("filter") or {}
    return {
        name: sorted(
            {
                tag
                for entity in (TASK, MODEL)
                for tag in projects.distinct(call.db, entity, name, among)
            }
        )
        for name in wanted
    }


@endpoint("organization.get_entities_count")
def get_entities_count(call):
    """How many things match the filters that are given by kind."""
    kinds = {  # to what is asked, and what it is among
        "projects": (PROJECT, {}),
        "tasks": (TASK, {"system_tags": ["__$all", "__$not", "pipeline"]}),
        "models": (MODEL, {}),
        "pipelines": (PROJECT, {"system_tags": ["pipeline"]}),
        "pipeline_runs": (TASK, {"system_tags": ["pipeline"]}),
        "datasets": (PROJECT, {"system_tags": ["dataset"]}),
        "dataset_versions": (TASK, {"system_tags": ["dataset"]}),
    }
    answer = {}
    for kind, (entity, also) in kinds.items():
        asked = call.data.get(kind)
        if asked is None:
            continue
        asked = schemas.check(f"{entity.table}.get_all", asked)
        if users := call.data.get("active_users"):
            if entity is PROJECT:
                also = also | project_stats.active(call.db, users)
            else:
                also = also | {"user": users}
        answer[kind] = query.count(call.db, entity, asked, also)
    return answer


@endpoint("users.get_preferences")
def get_preferences(call):
    row = call.db.execute("SELECT doc FROM preferences").fetchone()
    return {"preferences": json.loads(row["doc"]) if row else {}}


@endpoint("users.set_preferences", writes=True)
def set_preferences(call):
    """Add to what a web interface keeps for its user."""
    found = get_preferences(call)["preferences"] | call.data["preferences"]
    call.db.execute("DELETE FROM preferences")
    call.db.execute("INSERT INTO preferences VALUES (?)", (json.dumps(found),))
    answer: dict[str, Any] = {"updated": 1}
    if call.data.get("return_updated"):
        answer["fields"] = {"preferences": found}
    return answer


@endpoint("login.supported_modes")
def supported_modes(call):
    return {
        "authenticated": True,
        "basic": {"enabled": False, "guest": {"enabled": False}},
        "sso": {},
        "sso_providers": [],
        "server_errors": {"missed_es_upgrade": False, "es_connection_error": False},
    }


@endpoint("embedded.lease")
def lease(call):
    """Keep the server up for as long as this process of the same machine lives."""
    if not call.server.leases.add(int(call.data["pid"])):
        raise ApiError("server_error", "this server is about to end")
