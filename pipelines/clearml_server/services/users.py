"""Logging in, who am I, and what every client asks before anything else.

Relied on by every Session of the SDK and of agents (``auth.login``), by
``clearml-init``, and by `pipelines.tracking.connection` (``embedded.lease``).
"""

from .. import documents
from ..auth import API_VERSION, SERVER_VERSION
from ..calls import endpoint
from ..errors import ApiError
from . import projects

ME = {"id": documents.USER, "name": documents.USER, "role": "user"}
MY_COMPANY = {"id": documents.COMPANY, "name": documents.COMPANY}


@endpoint("auth.login")
def login(call):
    seconds = call.data.get("expiration_sec")
    return {"token": call.server.gate.token(float(seconds) if seconds else None)}


@endpoint("auth.validate_token", needs=["token"])
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


@endpoint("users.get_current_user")
def get_current_user(call):
    return {"user": ME | {"company": MY_COMPANY}}


@endpoint("users.get_by_id")
def get_user(call):
    return {"user": ME}


@endpoint("users.get_all")
@endpoint("users.get_all_ex")
def get_all_users(call):
    return {"users": [ME]}


@endpoint("organization.get_user_companies")
def get_user_companies(call):
    return {"companies": [MY_COMPANY | {"owners": [ME]}]}


@endpoint("organization.get_tags")
def get_tags(call):
    """All tags of tasks and models."""
    wanted = ["tags"] + ["system_tags"] * bool(call.data.get("include_system"))
    return {
        name: sorted(
            {
                tag
                for table in ("tasks", "models")
                for tag in projects.distinct(call.db, table, name, "project")
            }
        )
        for name in wanted
    }


@endpoint("embedded.lease", needs=["pid"])
def lease(call):
    """Keep the server up for as long as this process of the same machine lives."""
    if not call.server.leases.add(int(call.data["pid"])):
        raise ApiError("server_error", "this server is about to end")
