"""The table of endpoints, and how a call becomes an answer.

Services register functions by name::

    @endpoint("tasks.get_by_id")
    def get_by_id(call): ...

What a request may contain is in `schemas`; functions rely on it. A call runs in one
transaction, so that read-modify-write inside an endpoint is atomic.
Every answer has the real API's envelope: ``{"meta": {...}, "data": {...}}``.
"""

import json
import logging
import re
import sqlite3
import threading
from dataclasses import dataclass, field
from typing import Any

from . import schemas
from .auth import API_VERSION
from .documents import new_id
from .errors import ApiError

log = logging.getLogger(__name__)

PATH = re.compile(r"/(?:v(\d+(?:\.\d+)?)/)?([a-z_]+\.[a-z_0-9]+)/?$")
# Their items are checked one by one: one that is wrong does not spoil the others.
BATCHES = ("events.add", "events.add_batch", "tasks.update_batch")
# Why calls of these services, or of these names, are not answered.
ABSENT = {
    "datasets": "hyper-datasets are part of the hosted server",
    "dataviews": "hyper-datasets are part of the hosted server",
    "frames": "hyper-datasets are part of the hosted server",
    "reports": "reports are documents of the web application",
    "serving": "Triton has metrics of its own",
    "storage": "settings of cloud storage stand in clearml.conf",
    "create_credentials": "there is one user with one key",
    "edit_credentials": "there is one user with one key",
    "revoke_credentials": "there is one user with one key",
    "create_user": "there is one user with one key",
    "edit_user": "there is one user with one key",
    "make_public": "nothing is shared",
    "make_private": "nothing is shared",
    "share": "nothing is shared",
    "get_vector_metrics_and_variants": "no SDK reports vectors",
    "vector_metrics_iter_histogram": "no SDK reports vectors",
    "get_project_usages": "usage is counted for many users",
}
MAX_DEPTH = 100  # of lists and objects within each other; SQLite reads up to 1000
MAX_WHOLE = 2**63
_endpoints = {}
_unknown_seen = set()
_unknown_lock = threading.Lock()


@dataclass
class Call:
    """One call of an endpoint.

    Attributes:
        name: Such as "tasks.get_all".
        data: The request body; the first line of a batch.
        batch: All lines of a JSON-lines request.
        version: Version in the request's path, or "".
        worker: Name the client gives to itself.
        client: Address it calls from.
        db: Connection inside the call's transaction.
        server: The Server, for gate, files and leases.
        after: Functions to run once the transaction is committed.
    """

    name: str
    data: dict
    batch: list[dict]
    version: str
    worker: str
    server: Any
    client: str = ""
    db: sqlite3.Connection = None  # type: ignore[assignment]
    after: list = field(default_factory=list)


@dataclass(frozen=True)
class Endpoint:
    function: Any
    writes: bool


def endpoint(name: str, writes=False):
    """Decorate the function that answers the endpoint `name`.

    Args:
        writes: Run in a transaction that may write.
    """

    def register(function):
        _endpoints[name] = Endpoint(function, writes)
        return function

    return register


def names() -> set[str]:
    """The endpoints that exist."""
    return set(_endpoints)


def why_absent(name: str) -> str | None:
    """Why an endpoint of the real server is not answered, if that is by choice."""
    service, _, action = name.partition(".")
    return ABSENT.get(service) or ABSENT.get(action)


def writes(name: str) -> bool:
    """Does a call change anything?"""
    return name in _endpoints and _endpoints[name].writes


def run(call: Call) -> dict:
    """Answer a call with its data.

    Raises:
        ApiError: The endpoint refused, or there is none of this name.
    """
    found = _endpoints.get(call.name)
    if found is None:
        _log_unknown(call.name)
        reason = why_absent(call.name) or "not in this server"
        raise ApiError("endpoint_not_found", reason, name=call.name)
    if call.name not in BATCHES:
        call.data = schemas.check(call.name, call.data)
    storage = call.server.storage
    with storage.write() if found.writes else storage.read() as call.db:
        answer = found.function(call)
    for function in call.after:
        function()
    return answer or {}


def envelope(name: str, version: str, data: dict, error: ApiError | None) -> bytes:
    """Put an answer (or a refusal) into the form of the real API, as JSON."""
    message = error.message if error else "OK"
    meta = {
        "id": new_id(),
        "trx": new_id(),
        "endpoint": {
            "name": name,
            "requested_version": version or API_VERSION,
            "actual_version": version or API_VERSION,
        },
        "result_code": error.code if error else 200,
        "result_subcode": error.subcode if error else 0,
        "result_msg": message,
        "error_stack": None,
        "error_data": {},
    }
    return json.dumps({"meta": meta, "data": data}).encode()


def parse_body(body: bytes, content_type: str, query: dict) -> tuple[dict, list[dict]]:
    """Read a request: JSON, JSON lines, or the fields of the query string.

    Raises:
        ApiError: It is not JSON, or not an object.
    """
    lines = body.split(b"\n") if "json-lines" in content_type else [body]
    try:
        batch = [_parse(line) for line in lines if line.strip()]
    except (ValueError, RecursionError) as error:
        raise ApiError("invalid_request", f"not JSON: {error}") from None
    if not all(isinstance(item, dict) for item in batch):
        raise ApiError("invalid_request", "a JSON object is wanted")
    return query | (batch[0] if batch else {}), batch


def _parse(line: bytes):
    # Python writes NaN and Infinity, which are no JSON; nothing is kept of them
    value = json.loads(line, parse_constant=lambda name: None, parse_int=_parse_whole)
    if b"\\ud" in line.lower():  # half a character, of which no file can be made
        text = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
        value = json.loads(text)
    if line.count(b"[") + line.count(b"{") > MAX_DEPTH and _is_deep(value):
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
    return value


def _parse_whole(digits: str) -> int | float:
    """A whole number as SQLite keeps it, or what is left of it as a float."""
    number = int(digits) if len(digits) < 30 else float(digits)
    return number if -MAX_WHOLE <= number < MAX_WHOLE else float(number)


def _is_deep(value) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for item in level
            if isinstance(item, dict | list)
            for inner in (item.values() if isinstance(item, dict) else item)
        ]
    return bool(level)


def _log_unknown(name: str) -> None:
    """Log each endpoint that is missing here once, so that gaps show."""
    with _unknown_lock:
        if name in _unknown_seen or len(_unknown_seen) > 1000:
            return
        _unknown_seen.add(name)
    log.warning("no such endpoint here: %s", name)
