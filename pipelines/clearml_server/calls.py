"""The table of endpoints, and how a call becomes an answer.

Services register functions by name::

    @endpoint("tasks.get_by_id", needs=["task"])
    def get_by_id(call): ...

A call runs in one transaction, so that read-modify-write inside an endpoint is atomic.
Every answer has the real API's envelope: ``{"meta": {...}, "data": {...}}``.
"""

import json
import logging
import re
import sqlite3
import threading
from dataclasses import dataclass, field
from typing import Any

from .auth import API_VERSION
from .documents import new_id
from .errors import ApiError

log = logging.getLogger(__name__)

PATH = re.compile(r"/(?:v(\d+(?:\.\d+)?)/)?([a-z_]+\.[a-z_0-9]+)/?$")
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
    db: sqlite3.Connection = None
    after: list = field(default_factory=list)


@dataclass(frozen=True)
class Endpoint:
    function: Any
    needs: tuple[str, ...]
    writes: bool


def endpoint(name: str, needs=(), writes=False):
    """Decorate the function that answers the endpoint `name`.

    Args:
        needs: Fields without which the request is refused.
        writes: Run in a transaction that may write.
    """

    def register(function):
        _endpoints[name] = Endpoint(function, tuple(needs), writes)
        return function

    return register


def names() -> set[str]:
    """The endpoints that exist."""
    return set(_endpoints)


def run(call: Call) -> dict:
    """Answer a call with its data.

    Raises:
        ApiError: The endpoint refused, or there is none of this name.
    """
    found = _endpoints.get(call.name)
    if found is None:
        _log_unknown(call.name)
        raise ApiError("endpoint_not_found", name=call.name, version=call.version)
    missing = [name for name in found.needs if call.data.get(name) is None]
    if missing:
        raise ApiError("missing_required_fields", fields=missing)
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
        # Python writes NaN and Infinity, which are no JSON; nothing is kept of them
        batch = [
            json.loads(line, parse_constant=lambda name: None)
            for line in lines
            if line.strip()
        ]
    except ValueError as error:
        raise ApiError("invalid_request", f"not JSON: {error}") from None
    if not all(isinstance(item, dict) for item in batch):
        raise ApiError("invalid_request", "a JSON object is wanted")
    return query | (batch[0] if batch else {}), batch


def _log_unknown(name: str) -> None:
    """Log each endpoint that is missing here once, so that gaps show."""
    with _unknown_lock:
        if name in _unknown_seen or len(_unknown_seen) > 1000:
            return
        _unknown_seen.add(name)
    log.warning("no such endpoint here: %s", name)
