"""Which server runs on a model repository: `scripts/serve` notes it, deploying asks.

The note lies in the repository. It counts as long as the process runs that wrote it; a
server that is ill is found as well, since what is deployed next may be its remedy.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.clearml_server.leases import start_time
from pipelines.repository import versions

FILE = ".server.json"


@contextmanager
def noted(repository: Path, grpc_url: str, http_url: str) -> Iterator[None]:
    """Let `find` tell a server's addresses until the end of the block.

    Of several servers on one repository the last to start is found.
    """
    path, process = Path(repository) / FILE, os.getpid()
    note = {
        "urls": {"grpc": grpc_url, "http": http_url},
        "process": process,
        "started": start_time(process),
        "repository": str(path.parent.resolve()),  # and not of a copy
    }
    versions.write_json(path, note)
    try:
        yield
    finally:
        if read(path) == note:  # and not another server's
            path.unlink()


def find(repository: Path) -> dict[str, str] | None:
    """Find the server that runs on a repository.

    Returns:
        ``host:port`` by protocol, "grpc" and "http"; None if there is none.
    """
    path = Path(repository).resolve() / FILE
    note = read(path)
    if not note or note["repository"] != str(path.parent):
        return None
    runs = start_time(note["process"]) == note["started"]
    return note["urls"] if runs else None


def read(path: Path) -> dict | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # none, or not ours
        return None
