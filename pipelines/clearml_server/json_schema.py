"""Values against the part of JSON Schema that ClearML's SDK uses.

(The package jsonschema would do the same for a tenth of the memory that this server
needs in all.)
"""

import json

KINDS: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "boolean": bool,
    "object": dict,
    "array": list,
    "integer": int,
    "number": (int, float),
    "null": type(None),
}
MOST_SHOWN = 100  # characters of a wrong value
KNOWN = set(
    "$ref additionalProperties anyOf const definitions enum items minLength oneOf "
    "properties required type".split()
)


def fault(value, schema: dict, definitions: dict, place: str = "") -> str | None:
    """What is wrong with a value, in a few words; None if it fits.

    Args:
        definitions: What "$ref" refers to.
        place: Of the value in the whole, for the words.
    """
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    for several in (schema.get("oneOf"), schema.get("anyOf")):
        faults = [fault(value, one, definitions, place) for one in several or ()]
        if faults and None not in faults:
            return faults[0]
    kinds = schema.get("type")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_is(value, kind) for kind in kinds):
        return _words(place, value, " or ".join(kinds))
    if "enum" in schema and value not in schema["enum"]:
        return _words(place, value, f"one of {schema['enum']}")
    if "const" in schema and value != schema["const"]:
        return _words(place, value, schema["const"])
    if isinstance(value, str) and len(value) < schema.get("minLength", 0):
        return _words(place, value, "some text")
    if isinstance(value, list) and "items" in schema:
        for i, item in enumerate(value):
            if found := fault(item, schema["items"], definitions, f"{place}.{i}"):
                return found
    return _fault_inside(value, schema, definitions, place)


def _fault_inside(value, schema: dict, definitions: dict, place: str) -> str | None:
    if not isinstance(value, dict):
        return None
    for name in schema.get("required", ()):
        if name not in value:
            return _words(place, value, f"a field {name}")
    known, others = schema.get("properties", {}), schema.get("additionalProperties")
    for name, item in value.items():
        if inner := known.get(name, others if isinstance(others, dict) else None):
            if found := fault(item, inner, definitions, f"{place}.{name}"):
                return found
    return None


def _is(value, kind: str) -> bool:
    # Python's True is a whole number
    return isinstance(value, KINDS[kind]) and (
        kind == "boolean" or not isinstance(value, bool)
    )


def _words(place: str, value, wanted) -> str:
    shown = json.dumps(value)[:MOST_SHOWN]
    return f"{place.lstrip('.') or 'the request'} is {shown}, not {wanted}"
