"""Reading and writing one record of an Entity as a dictionary.

Fields without a value are left out of the dictionary, as in the real API's answers.
"""

import json
import uuid
from datetime import datetime, timezone

from .errors import ApiError
from .storage import Entity

USER = "embedded"
COMPANY = "embedded"
# Lists whose order means nothing; the SDK sends sets of tags.
SORTED = ("tags", "system_tags")


def now() -> str:
    """The time in UTC, of a fixed width, so that texts compare as times do."""
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")


def new_id() -> str:
    return uuid.uuid4().hex


def from_row(entity: Entity, row) -> dict:
    """Turn an SQL row with columns of `entity` into a record."""
    record = {}
    for name in row.keys():
        value = row[name]
        if value is None:
            continue
        if name in entity.json:
            value = json.loads(value)
        elif name in entity.boolean:
            value = bool(value)
        record[name] = value
    return record


def to_column(entity: Entity, name: str, value):
    """Turn a field's value into what SQL keeps.

    Raises:
        ApiError: A value that does not fit the field.
    """
    if value is None:
        return None
    if name in SORTED and isinstance(value, list):
        value = sorted(value)
    if isinstance(value, (dict, list)) != (name in entity.json):
        raise ApiError("data_validation_error", field=name, value=value)
    if name not in entity.json:
        return value
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    except ValueError as error:  # 1e999
        raise ApiError("data_validation_error", str(error), field=name) from None


def insert(db, entity: Entity, record: dict) -> str:
    """Add a record and return its id; one is made where it has none."""
    record = {"id": new_id()} | record
    names = [name for name in entity.columns if record.get(name) is not None]
    db.execute(
        f"INSERT INTO {entity.table} ({', '.join(names)}) "
        f"VALUES ({', '.join('?' * len(names))})",
        [to_column(entity, name, record[name]) for name in names],
    )
    return record["id"]


def get(db, entity: Entity, id_: str, *fields: str) -> dict:
    """Return the record with this id, or some fields of it.

    Raises:
        ApiError: There is none.
    """
    names = ", ".join(fields or entity.columns)
    row = db.execute(
        f"SELECT {names} FROM {entity.table} WHERE id = ?", (id_,)
    ).fetchone()
    if row is None:
        raise ApiError(entity.unknown, id=id_)
    return from_row(entity, row)


def exists(db, entity: Entity, id_: str) -> bool:
    sql = f"SELECT 1 FROM {entity.table} WHERE id = ?"
    return db.execute(sql, (id_,)).fetchone() is not None


def update(db, entity: Entity, id_: str, fields: dict) -> int:
    """Set fields of a record (None clears one); return how many records it was."""
    names = [name for name in fields if name in entity.columns]
    if not names:
        return 0
    assignments = ", ".join(f"{name} = ?" for name in names)
    values = [to_column(entity, name, fields[name]) for name in names]
    return db.execute(
        f"UPDATE {entity.table} SET {assignments} WHERE id = ?", [*values, id_]
    ).rowcount


def delete(db, entity: Entity, id_: str) -> int:
    return db.execute(f"DELETE FROM {entity.table} WHERE id = ?", (id_,)).rowcount


def select(db, entity: Entity, where: str, parameters=(), fields=()) -> list[dict]:
    """Return the records that fulfil an SQL condition, oldest first."""
    rows = db.execute(
        f"SELECT {', '.join(fields or entity.columns)} FROM {entity.table} "
        f"WHERE {where} ORDER BY rowid",
        parameters,
    )
    return [from_row(entity, row) for row in rows]
