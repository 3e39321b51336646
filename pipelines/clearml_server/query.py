"""The query language of the ``get_all`` endpoints, translated to SQL.

A request such as ``{"project": [...], "tags": ["__$all", "a", "__$not", "b"], "name":
"^train", "status_changed": [">=2024-01-01"], "order_by": ["-last_update"], "page": 0,
"page_size": 20, "only_fields": ["id", "runtime.version"]}`` is read as the real server
does:

- text and list fields take a list of values; any of them may match. Values after
  ``__$all``/``__$and`` must all be there; those after ``__$any``/``__$or`` (and before
  any operator) may be; ``__$not`` (or a leading ``-`` where no operator came before)
  excludes the next one; ``__$nop`` ends an operator's reach. The groups are combined
  by *or* if the first operator is an *or*, else by *and*. None also finds records
  where the field is missing or empty.
- names, comments and descriptions are regular expressions that may match anywhere;
  see `patterns`.
- dates take ``[from, to]`` (None is open) or conditions such as ``>=2024-01-01``.
- numbers take ``[from, to]``.
- dotted fields (``hyperparams.Args.lr.value``, ``models.input.model``) reach inside.
- ``filters`` takes, for list fields, the same in a longer form; see `list_filters`.
- ``_any_`` and ``_all_`` look for one pattern or date in several fields.
- a field that does not exist is refused: a filter that did nothing would make a list
  longer than meant, and such lists are deleted.
- records without a value come last, in either order.
"""

import json
import re
from datetime import datetime, timezone
from typing import Any

from . import documents, list_filters, patterns, projection
from .errors import ApiError
from .projection import split_path
from .storage import Entity

MAX_PAGE_SIZE = 500
MOST = 2**31  # pages, and records of one
COMPARISONS = {">=": ">=", "<=": "<=", ">": ">", "<": "<", "": "="}


def search(
    db, entity: Entity, request: dict, also: dict | None = None, complete=None
) -> dict:
    """Answer a ``get_all`` request: ``{<table>: [records], "scroll_id": ...}``.

    Args:
        also: Filters on top of those in the request.
        complete: Called with the records, to add to them before they are cut down to
            the fields that are asked for.

    Raises:
        ApiError: The request has an invalid value.
    """
    where, parameters = conditions(entity, request)
    if also:
        more, more_parameters = conditions(entity, also)
        where, parameters = f"{where} AND {more}", parameters + more_parameters
    order, order_parameters = _order(entity, request)
    start, size = _page(request)
    include, exclude = projection.of(request)
    columns = ", ".join(projection.columns(entity, include, exclude))
    rows = db.execute(
        f"SELECT {columns} FROM {entity.table} "
        f"WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?",
        [*parameters, *order_parameters, size, start],
    ).fetchall()
    records = [documents.from_row(entity, row) for row in rows]
    if complete:
        complete(records)
    cut = [projection.cut(record, include, exclude) for record in records]
    answer: dict[str, Any] = {entity.table: cut}
    if request.get("count_total"):
        sql = f"SELECT count(*) FROM {entity.table} WHERE {where}"
        answer["total"] = db.execute(sql, parameters).fetchone()[0]
    if "size" in request:
        answer["scroll_id"] = f"at:{start + len(records)}"
    return answer


def count(db, entity: Entity, request: dict, also: dict) -> int:
    """How many records fulfil a request's filters."""
    where, parameters = conditions(entity, request)
    more, more_parameters = conditions(entity, also)
    sql = f"SELECT count(*) FROM {entity.table} WHERE {where} AND {more}"
    return db.execute(sql, parameters + more_parameters).fetchone()[0]


def conditions(entity: Entity, request: dict) -> tuple[str, list]:
    """Translate the filters of a request to an SQL condition and its parameters."""
    clauses, parameters = ["1"], []
    for field, value in request.items():
        if value is None:
            continue
        if field in ("_any_", "_or_", "_all_", "_and_"):
            clause = _several_fields(entity, field, value)
        elif field == "filters":
            clause = list_filters.long_form(entity, value)
        elif field == "search_text":
            clause = _text_search(entity, value)
        else:
            clause = _field_condition(entity, field, value)
        if clause is not None:
            clauses.append(clause[0])
            parameters += clause[1]
    return " AND ".join(clauses), parameters


def _field_condition(entity, field, value):
    """Return (SQL, parameters) for one field of a request, or None to ignore it."""
    column, *path = split_path(field)
    if column not in entity.columns:
        return None
    if column in entity.patterns:
        return _pattern(column, value) if value != "" else None
    if column in entity.dates:
        return _dates(column, value)
    if column in entity.number or column == "last_metrics":
        return _range(field, _value_of(column, path), value)
    if column in entity.boolean:
        return f"ifnull({column}, 0) = ?", [int(bool(value))]
    return list_filters.condition(entity, field, column, path, value)


def _value_of(column, path):
    """SQL for the one value at a path inside a column, with its parameters."""
    if not path:
        return column, []
    # SQLite has no escape for a quote inside a quoted key: nothing matches then
    keys = "".join('."%s"' % key.replace('"', "") for key in path)
    return f"json_extract({column}, ?)", ["$" + keys]


def _pattern(column, pattern, ignore_case=False):
    patterns.compiled(pattern)
    return f"matches(?, {int(ignore_case)}, {column})", [pattern]


def _range(field, value_of, bounds):
    if not isinstance(bounds, list) or len(bounds) != 2 or bounds == [None, None]:
        raise ApiError(
            "validation_error", "range wants [min, max]", field=field, value=bounds
        )
    sql, parameters = value_of
    low, high = bounds
    if not all(isinstance(bound, str | int | float | None) for bound in bounds):
        raise ApiError("fields_value_error", "numbers are wanted", field=field)
    clauses, values = [], []
    if low is not None:
        clauses.append(f"{sql} >= ?")
        values += [*parameters, low]
    if high is not None:
        # an open lower end includes records without a value
        clauses.append(
            f"{sql} <= ?" if low is not None else f"({sql} <= ? OR {sql} IS NULL)"
        )
        values += [*parameters, high] + ([] if low is not None else parameters)
    return "(" + " AND ".join(clauses) + ")", values


def parse_date(text) -> str:
    """Bring a date (ISO 8601 or seconds since 1970; UTC assumed) to stored form.

    Raises:
        ValueError: It is no date.
    """
    try:
        moment = datetime.fromtimestamp(float(text), timezone.utc)
    except ValueError:
        moment = datetime.fromisoformat(str(text).strip())
    except (OverflowError, OSError):
        raise ValueError(f"{text} is out of range") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    try:
        return moment.astimezone(timezone.utc).isoformat(timespec="microseconds")
    except OverflowError:
        raise ValueError(f"{text} is out of range") from None


def _comparison(text: str) -> tuple[str, str]:
    """Split ">=2026-01-01" into sign and date."""
    sign = next(sign for sign in COMPARISONS if text.startswith(sign))
    return sign, text.removeprefix(sign)


def _dates(column, value):
    values = value if isinstance(value, list) else [value]
    try:
        split = [v if v is None else _comparison(str(v)) for v in values]
        if len(split) == 2 and not any(v and v[0] for v in split):
            bounds = [v and parse_date(v[1]) for v in split]
            return _range(column, (column, []), bounds)
        limits = [(COMPARISONS[v[0]], parse_date(v[1])) for v in split if v]
    except ValueError as error:
        raise ApiError("fields_value_error", str(error), field=column) from None
    if not limits:
        return None
    sql = " AND ".join(f"{column} {comparison} ?" for comparison, _ in limits)
    return f"({sql})", [date for _, date in limits]


def _several_fields(entity, operator, value):
    """``_any_``/``_all_``: ``{"fields": [...], "pattern": ...}`` or ``"datetime"``."""
    if not isinstance(value, dict) or not isinstance(value.get("fields"), list):
        raise ApiError("fields_value_error", "incorrect field format", field=operator)
    clauses, parameters = [], []
    for field in value["fields"]:
        column, *path = split_path(str(field))
        if column not in entity.columns:
            raise ApiError("invalid_fields", field=field)
        if value.get("datetime") is not None:
            clause = _dates(column, value["datetime"])
        elif column in entity.json:
            sql, found = _pattern("has.value", value.get("pattern"), ignore_case=True)
            source = f"values_at({entity.table}.{column}, ?)"
            clause = (
                f"EXISTS (SELECT 1 FROM json_each({source}) AS has WHERE {sql})",
                [json.dumps(path), *found],
            )
        else:
            clause = _pattern(column, value.get("pattern"), ignore_case=True)
        if clause is not None:
            clauses.append(clause[0])
            parameters += clause[1]
    if not clauses:
        return None
    joint = " OR " if operator in ("_any_", "_or_") else " AND "
    return f"({joint.join(clauses)})", parameters


def _text_search(entity, text):
    columns = [*entity.patterns, "id"]
    pattern = re.escape(str(text).strip('"'))
    sql = " OR ".join(f"matches(?, 1, {column})" for column in columns)
    return f"({sql})", [pattern] * len(columns)


def _order(entity, request):
    fields = request.get("order_by") or []
    fields = fields if isinstance(fields, list) else [fields]
    terms, parameters = [], []
    for field in fields:
        name = field.removeprefix("-")
        column, *path = split_path(name)
        if name == "@text_score":
            continue
        if column not in entity.columns:
            raise ApiError("invalid_fields", field=name)
        sql, values = _value_of(column, path)
        collation = " COLLATE by_number" if column == "hyperparams" else ""
        direction = " DESC" if field.startswith("-") else ""
        terms.append(f"{sql}{collation}{direction} NULLS LAST")
        parameters += values
    # the order must be complete, or pages would overlap
    return ", ".join([*terms, "rowid"]), parameters


def _page(request):
    """Return (first record, number of records)."""
    if "size" in request:
        scroll = str(request.get("scroll_id") or "at:0")
        if not re.fullmatch(r"at:\d+", scroll):
            raise ApiError("invalid_scroll_id", scroll_id=scroll)
        start, size = int(scroll[3:]), _whole(request, "size", 1)
        # a refresh shows anew all that was shown
        return (0, max(start, size)) if request.get("refresh_scroll") else (start, size)
    page = _whole(request, "page", 0, default=0)
    size = _whole(request, "page_size", 1, default=MAX_PAGE_SIZE)
    size = min(size, MAX_PAGE_SIZE)
    return page * size, size


def _whole(request, name, least, default=None):
    value = request.get(name)
    if value is None and default is not None:
        return default
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or not least <= value < MOST:
        raise ApiError(
            "validation_error",
            f"must be a whole number >= {least} and < {MOST}",
            **{name: value},
        )
    return value
