"""The SQLite file: its schema, and transactions.

Every record of the API (a task, a model, ...) is a row with one column for each field
at its top level; lists and dictionaries are kept as JSON text. Scalars are kept as
points of a series; plots, debug images and console lines as events.

Write-ahead logging with one writer: a call either happened whole or not at all, at
whatever moment the process is killed, and readers never wait for the writer.
"""

import json
import queue
import re
import sqlite3
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from .errors import ApiError
from .patterns import Matcher


@dataclass(frozen=True)
class Entity:
    """A kind of record.

    Attributes:
        table: Name of the SQL table, and of the list in ``get_all`` answers.
        unknown: Name of the error for an id that does not exist.
        text, dates, number, boolean, json: The columns by kind. Large ones are last,
            so that reading the small ones touches few pages of the file.
        patterns: Text columns that a query matches as regular expressions.
    """

    table: str
    unknown: str
    text: tuple[str, ...]
    dates: tuple[str, ...]
    json: tuple[str, ...]
    number: tuple[str, ...] = ()
    boolean: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ("name",)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        return (*self.text, *self.dates, *self.number, *self.boolean, *self.json)


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


TASK = Entity(
    table="tasks",
    unknown="invalid_task_id",
    text=_words(
        "id name type status project parent user company comment status_message "
        "status_reason last_worker last_changed_by enqueue_status"
    ),
    dates=_words(
        "created started completed published status_changed last_update last_change "
        "last_worker_report"
    ),
    number=("last_iteration", "active_duration"),
    json=_words(
        "tags system_tags output models runtime container execution script "
        "hyperparams last_metrics configuration"
    ),
    patterns=("name", "comment"),
)
MODEL = Entity(
    table="models",
    unknown="invalid_model_id",
    text=_words("id name project parent task user company comment uri framework"),
    dates=("created", "last_update", "last_change"),
    number=("last_iteration",),
    boolean=("ready",),
    json=_words("tags system_tags labels metadata stats ui_cache last_metrics design"),
    patterns=("name", "comment"),
)
PROJECT = Entity(
    table="projects",
    unknown="invalid_project_id",
    text=_words(
        "id name basename parent description default_output_destination user company"
    ),
    dates=("created", "last_update"),
    json=("tags", "system_tags", "path"),
    patterns=("name", "basename", "description"),
)
QUEUE = Entity(
    table="queues",
    unknown="invalid_queue_id",
    text=_words("id name display_name user company"),
    dates=("created", "last_update"),
    json=("tags", "system_tags", "metadata", "entries"),
)
WORKER = Entity(
    table="workers",
    unknown="invalid_worker_id",
    text=("id", "ip", "task", "queue"),
    dates=("register_time", "last_activity_time", "last_report_time"),
    number=("register_timeout",),
    json=("queues", "tags", "system_tags", "machine_stats"),
    patterns=(),
)
ENTITIES = (TASK, MODEL, PROJECT, QUEUE, WORKER)

EVENTS_SCHEMA = """
CREATE TABLE IF NOT EXISTS series (
    id INTEGER PRIMARY KEY, task TEXT NOT NULL, metric TEXT NOT NULL,
    variant TEXT NOT NULL, UNIQUE (task, metric, variant));
CREATE TABLE IF NOT EXISTS points (
    series INTEGER NOT NULL, iter INTEGER NOT NULL, value REAL, timestamp INTEGER,
    PRIMARY KEY (series, iter)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY, task TEXT NOT NULL, type TEXT NOT NULL,
    metric TEXT NOT NULL, variant TEXT NOT NULL, iter INTEGER NOT NULL,
    key TEXT NOT NULL, timestamp INTEGER, doc TEXT NOT NULL,
    UNIQUE (task, type, metric, variant, iter, key));
CREATE TABLE IF NOT EXISTS logs (
    id INTEGER PRIMARY KEY, task TEXT NOT NULL, timestamp INTEGER NOT NULL,
    doc TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS logs_of_task ON logs (task, timestamp, id);
CREATE TABLE IF NOT EXISTS worker_samples (
    time REAL NOT NULL, worker TEXT NOT NULL, task TEXT, stats TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS worker_samples_by_time ON worker_samples (time, worker);
CREATE TABLE IF NOT EXISTS queue_samples (
    time REAL NOT NULL, queue TEXT NOT NULL, length INTEGER NOT NULL,
    waiting REAL NOT NULL);
CREATE INDEX IF NOT EXISTS queue_samples_by_time ON queue_samples (time, queue);
CREATE TABLE IF NOT EXISTS preferences (doc TEXT NOT NULL);
"""
INDEXES = {
    "tasks": ("project", "parent", "status"),
    "models": ("project", "task", "uri"),
    "projects": ("name", "parent"),
}


def _schema() -> str:
    statements = []
    for entity in ENTITIES:
        kinds = dict.fromkeys(entity.number, "NUMERIC")
        kinds |= dict.fromkeys(entity.boolean, "INTEGER")
        columns = ", ".join(
            f"{name} {kinds.get(name, 'TEXT')}" for name in entity.columns
        )
        statements.append(
            f"CREATE TABLE IF NOT EXISTS {entity.table} "
            f"({columns}, PRIMARY KEY (id));"
        )
        for column in INDEXES.get(entity.table, ()):
            statements.append(
                f"CREATE INDEX IF NOT EXISTS {entity.table}_{column} "
                f"ON {entity.table} ({column});"
            )
    return "\n".join(statements) + EVENTS_SCHEMA


class Connection(sqlite3.Connection):
    """A connection that knows how long a call has matched patterns.

    Attributes:
        matcher: The SQL function ``matches``.
    """

    def __init__(self, *arguments, **settings):
        super().__init__(*arguments, **settings)
        self.matcher = Matcher()
        self.create_function("matches", 3, self.matcher, deterministic=True)
        self.create_function("values_at", 2, _values_at, deterministic=True)
        self.create_collation("by_number", _compare_by_number)

    @contextmanager
    def one_call(self):
        """Raises ApiError where the time for matching patterns is used up."""
        self.matcher.start()
        try:
            yield self
        except sqlite3.OperationalError:
            if self.matcher.is_exhausted:
                raise ApiError("invalid_regex_error", "it takes too long") from None
            raise


class Storage:
    """Transactions on one SQLite file, from any thread."""

    def __init__(self, path: str | Path):
        self._path = str(path)
        self._writing = threading.Lock()
        self._readers = queue.SimpleQueue()
        self._writer = self._connect()
        self._writer.executescript(_schema())

    @contextmanager
    def write(self):
        """A connection inside a transaction that nobody else writes during.

        Commits at the end, rolls back on any exception.
        """
        with self._writing:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                with self._writer.one_call() as db:
                    yield db
            except BaseException:
                self._writer.execute("ROLLBACK")
                raise
            self._writer.execute("COMMIT")

    @contextmanager
    def read(self):
        """A connection that sees one moment of the data for as long as it is held."""
        try:
            connection = self._readers.get_nowait()
        except queue.Empty:
            connection = self._connect()
        try:
            connection.execute("BEGIN")
            with connection.one_call() as db:
                yield db
        finally:
            connection.execute("ROLLBACK")
            self._readers.put(connection)

    def close(self):
        """Fold the write-ahead log into the file and close it."""
        with self._writing:
            while not self._readers.empty():
                self._readers.get_nowait().close()
            self._writer.close()

    def _connect(self):
        connection = sqlite3.connect(
            self._path,
            check_same_thread=False,
            isolation_level=None,
            timeout=60,
            factory=Connection,
        )
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode = WAL")
        # With a write-ahead log this loses nothing when the process dies, and no
        # consistency when the machine does.
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection


def _values_at(text, path):
    """SQL: JSON list of what lies at a JSON list of keys; lists on the way fan out."""
    found = [] if text is None else [json.loads(text)]
    for key in json.loads(path):
        found = [item for value in found for item in _as_list(value)]
        found = [v[key] for v in found if isinstance(v, dict) and key in v]
    values = [item for value in found for item in _as_list(value)]
    return json.dumps([v for v in values if not isinstance(v, (dict, list))])


def _as_list(value):
    return value if isinstance(value, list) else [value]


def _compare_by_number(a, b):
    """Collation in which digits inside text count as numbers: x9 < x10."""
    a, b = (
        [int(part) if part.isdigit() else part for part in re.split(r"([0-9]+)", text)]
        for text in (a, b)
    )
    return (a > b) - (a < b)
