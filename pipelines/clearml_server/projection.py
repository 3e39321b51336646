"""``only_fields``: which parts of records an answer has.

``["runtime.version", "-script.diff"]`` includes the first path and excludes the second.
The id is always there, and so are containers on the way, even if they are empty.
``execution.*`` is all that is in the execution.
"""

from typing import Any

from .storage import Entity

# What a path in a request uses for characters that mean something there.
ESCAPES = {"%2E": ".", "%24": "$", "%5F": "_"}


def split_path(field: str) -> list[str]:
    """Split ``a.b%2Ec`` into ``["a", "b.c"]``."""
    parts = field.split(".")
    for escape, character in ESCAPES.items():
        parts = [part.replace(escape, character) for part in parts]
    return parts


def of(request: dict) -> tuple[list, list]:
    """The paths a request includes (all if empty), and those it excludes."""
    fields = request.get("only_fields") or request.get("projection") or []
    fields = [fields] if isinstance(fields, str) else fields
    fields = [] if "*" in fields else fields
    include = [split_path(f) for f in fields if not f.startswith("-")]
    exclude = [split_path(f[1:]) for f in fields if f.startswith("-")]
    return include, exclude


def columns(entity: Entity, include: list, exclude: list) -> list[str]:
    """The columns to read for these paths."""
    whole = [path[0] for path in exclude if len(path) == 1]
    if include:
        wanted = {"id"} | {path[0] for path in include}
    else:
        wanted = set(entity.columns).difference(whole)
    return [name for name in entity.columns if name in wanted]


def cut(record: dict, include: list, exclude: list) -> dict:
    """Cut a record down to the requested paths; containers on the way stay."""
    if include:
        result = {"id": record["id"]}
        for path in include:
            _copy_path(record, result, path)
        record = result
    for *way, last in exclude:
        inner: Any = record
        for key in way:
            inner = inner.get(key) if isinstance(inner, dict) else None
        if isinstance(inner, dict):
            inner.pop(last, None)
    return record


def _copy_path(source, target, path):
    key, *rest = path
    rest = [] if rest == ["*"] else rest
    if not isinstance(source, dict) or key not in source:
        return
    value = source[key]
    if not rest or not isinstance(value, (dict, list)):
        target[key] = value
    elif isinstance(value, dict):
        inner = target.setdefault(key, {})
        if inner is not value:
            _copy_path(value, inner, rest)
    else:
        inner = target.setdefault(key, [{} for _ in value])
        for item, copy in zip(value, inner):
            _copy_path(item, copy, rest)
