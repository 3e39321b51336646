"""Find the server that runs on a model repository: `scripts/serve` leaves a note there.

The notes lie in the repository, one a server. A note counts as long as the process runs
that wrote it. A server that does not answer is found as well, since the next deployment
may repair it.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.clearml_server.leases import start_time
from pipelines.repository import versions
from pipelines.serving import server_keys

SUFFIX = ".json"


@contextmanager
def noted(
    repository: Path, grpc_url: str, http_url: str, metrics_url: str = ""
) -> Iterator[None]:
    """Let `find` tell a server's addresses until the end of the block."""
    path = write(repository, grpc_url, http_url, metrics_url)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def write(
    repository: Path, grpc_url: str, http_url: str, metrics_url: str = ""
) -> Path:
    """Note a server's addresses for as long as this process runs; return the note.

    What servers left that were killed is removed.
    """
    path = server_keys.note(repository, grpc_url, SUFFIX)
    process = os.getpid()
    note = {
        "urls": {"grpc": grpc_url, "http": http_url},
        "metrics": metrics_url,
        "process": process,
        "started": start_time(process),
        "noted": time.time(),
        "repository": str(path.parent.resolve()),  # and not of a copy
    }
    for other in path.parent.glob(f".server-*{SUFFIX}"):
        if not read(other):
            other.unlink(missing_ok=True)
    versions.write_json(path, note)
    return path


def find(repository: Path) -> dict[str, str] | None:
    """Find the server that runs on a repository; of several the last to start.

    Returns:
        ``host:port`` by protocol, "grpc" and "http"; None if there is none.
    """
    note = find_note(repository)
    return note["urls"] if note else None


def find_note(repository: Path) -> dict | None:
    """As `find`; the whole note, with the address of the metrics and the process that
    has started the server."""
    notes = map(read, Path(repository).glob(f".server-*{SUFFIX}"))
    running = [note for note in notes if note]
    return max(running, key=lambda x: x["noted"]) if running else None


def read(path: Path) -> dict | None:
    """Read a note; None where its server is gone, or it is of another repository.

    A damaged one counts as that of a server that is gone.
    """
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
        here = note["repository"] == str(path.parent.resolve())
        runs = start_time(note["process"]) == note["started"]
    except (FileNotFoundError, ValueError, LookupError, TypeError):
        return None
    return note if here and runs else None
