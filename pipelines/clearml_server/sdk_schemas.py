"""The schemas of requests in ClearML's SDK, as ``schemas.json`` has them."""

import ast
import importlib.util
import json
from pathlib import Path

# Services of the hosted server alone.
HOSTED = ("datasets", "dataviews", "frames")
UNCHECKED = (
    "description default format response dependencies minItems maxItems minimum"
).split()


def read_sdk() -> dict[str, dict]:
    """Read the schemas of requests from the installed SDK: the newest of each call."""
    spec = importlib.util.find_spec("clearml")
    package = Path(spec.origin).parent  # type: ignore[union-attr,arg-type]
    folders = (package / "backend_api" / "services").glob("v*")
    found = {}
    for folder in sorted(folders, key=lambda f: [*map(int, f.name[1:].split("_"))]):
        for path in sorted(folder.glob("*.py")):
            if path.stem not in HOSTED:
                found |= _requests(ast.parse(path.read_text(encoding="utf-8")))
    return dict(sorted(found.items()))


def _requests(module: ast.Module) -> dict[str, dict]:
    found = {}
    for part in module.body:
        if not isinstance(part, ast.ClassDef) or not part.name.endswith("Request"):
            continue
        values = {
            target.id: ast.literal_eval(statement.value)
            for statement in part.body
            if isinstance(statement, ast.Assign)
            and isinstance(target := statement.targets[0], ast.Name)
            and target.id in ("_service", "_action", "_schema")
        }
        schema = _without_prose(values.get("_schema") or {})
        found[f"{values['_service']}.{values['_action']}"] = schema
    return found


def _without_prose(value, of_fields=False):
    """A schema without what is not checked here; in a table of fields, all stays.

    That is what only people read, and limits that only hyper-datasets have.
    """
    if isinstance(value, list):
        return [_without_prose(item) for item in value]
    if not isinstance(value, dict):
        return value
    drop = () if of_fields else UNCHECKED
    return {
        key: _without_prose(item, of_fields=key in ("properties", "definitions"))
        for key, item in value.items()
        if key not in drop
    }


def as_text() -> str:
    """The content of ``schemas.json``."""
    lines = [
        f"{json.dumps(name)}: {json.dumps(schema, separators=(',', ':'))}"
        for name, schema in read_sdk().items()
    ]
    return "{\n" + ",\n".join(lines) + "\n}\n"
