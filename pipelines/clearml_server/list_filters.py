"""Filters on what a field holds: texts, and lists of texts such as tags.

Two forms say the same, see `query`: a flat list with operators, and a longer one:
``filters: {"tags": {"any": {"include": [...], "exclude": [...]}, "all": ...}}``.
"""

import json

from .errors import ApiError
from .projection import split_path

OR_OPERATORS = ("__$any", "__$or")
AND_OPERATORS = ("__$all", "__$and")


def parse_list(field: str, values: list) -> tuple[bool, bool, dict]:
    """Read a list of values and operators.

    Returns:
        Whether groups are combined by *or*; whether a missing or empty field matches
        too; and the groups: a dictionary of "all", "in" and "not in" to values.

    Raises:
        ApiError: An operator is unknown or lacks its value.
    """
    any_of, combine_by_or, empty_too = True, None, False
    negated, legacy, groups = False, True, {}
    for value in values:
        if value is None:
            empty_too, negated = True, False
        elif not isinstance(value, str):
            raise ApiError("fields_value_error", "text wanted", field=field, got=value)
        elif value == "__$nop":
            any_of, negated, legacy = True, False, True
            combine_by_or = bool(combine_by_or)
        elif value.startswith("__$"):
            if negated:
                raise ApiError("fields_value_error", "__$not wants a value")
            if value == "__$not":
                negated = True
            elif value in OR_OPERATORS + AND_OPERATORS:
                any_of, legacy = value in OR_OPERATORS, False
                if combine_by_or is None:
                    combine_by_or = any_of
            else:
                raise ApiError(
                    "fields_value_error", "no such operator", field=field, got=value
                )
        else:
            combine_by_or = bool(combine_by_or)
            if legacy and not negated and value.startswith("-"):
                value, negated = value[1:], True
            group = "not in" if negated else "in" if any_of else "all"
            groups.setdefault(group, []).append(value)
            negated = False
    if negated:
        raise ApiError("fields_value_error", "__$not wants a value", field=field)
    return bool(combine_by_or), empty_too, groups


def condition(entity, field: str, column: str, path: list[str], values):
    """Return (SQL, parameters) for a flat list, or None where it says nothing."""
    values = values if isinstance(values, list) else [values]
    by_or, empty_too, groups = parse_list(field, values)
    # qualified, as json_each has columns such as "type" of its own
    name = f"{entity.table}.{column}"
    if column not in entity.json:
        source, at = f"json_array({name})", []
    elif path:
        source, at = f"values_at({name}, ?)", [json.dumps(path)]
    else:
        source, at = name, []
    clauses, parameters = [], []
    for group, members in groups.items():
        members = json.dumps(sorted(set(members)))
        if group == "all":
            clauses.append(
                "NOT EXISTS (SELECT value FROM json_each(?) EXCEPT "
                f"SELECT value FROM json_each({source}))"
            )
            parameters += [members, *at]
        elif column == "id":  # so that the index is used
            clauses.append(f"id {group.upper()} (SELECT value FROM json_each(?))")
            parameters.append(members)
        else:
            negation = "NOT " if group == "not in" else ""
            clauses.append(
                f"{negation}EXISTS (SELECT 1 FROM json_each({source}) AS has "
                "WHERE has.value IN (SELECT value FROM json_each(?)))"
            )
            parameters += [*at, members]
    sql = f"({(' OR ' if by_or else ' AND ').join(clauses)})" if clauses else "0"
    if empty_too:
        sql = (
            f"({sql} OR NOT EXISTS (SELECT 1 FROM json_each({source}) AS has "
            "WHERE has.value IS NOT NULL AND has.value != ''))"
        )
        parameters += at
    elif not clauses:
        return None
    return sql, parameters


def long_form(entity, filters: dict):
    """Return (SQL, parameters) for ``filters``, or None where it names nothing.

    What is in "any" is combined by *or*, what is in "all" by *and*, both by "op",
    beside them ("and" unless given). None stands for a missing or empty field.

    Raises:
        ApiError: A part of it is none of these.
    """
    clauses, parameters = [], []
    for field, wanted in filters.items():
        column, *path = split_path(field)
        if column not in entity.columns or not isinstance(wanted, dict):
            raise ApiError("validation_error", "no filter of this", field=field)
        operator = wanted.get("op", "and")
        if not set(wanted) <= {"any", "all", "op"} or operator not in ("and", "or"):
            raise ApiError("validation_error", "any, all and op are known", **wanted)
        groups = []
        for kind, joint in (("any", " OR "), ("all", " AND ")):
            terms = []
            for sign, term in _terms(field, wanted.get(kind) or {}):
                sql, values = condition(entity, field, column, path, term)
                terms.append(sign + sql)
                parameters += values
            if terms:
                groups.append(f"({joint.join(terms)})")
        if groups:
            clauses.append(f"({f' {operator.upper()} '.join(groups)})")
    return (" AND ".join(clauses), parameters) if clauses else None


def _terms(field: str, group):
    """One flat list for each value of a group of a filter; "NOT " where it excludes."""
    if not isinstance(group, dict) or not set(group) <= {"include", "exclude"}:
        raise ApiError("validation_error", "include, exclude are known", field=field)
    for kind, sign in (("include", ""), ("exclude", "NOT ")):
        values = group.get(kind) or []
        if not isinstance(values, list):
            raise ApiError("validation_error", "a list is wanted", field=field)
        for value in values:
            if isinstance(value, str) and value.startswith("__$"):
                raise ApiError("validation_error", "no operators here", field=field)
            yield sign, [None] if value is None else ["__$any", value]
