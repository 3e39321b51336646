"""Which server runs on a model repository: `scripts/serve` notes it, deploying asks.

The note lies in the repository. One that a killed server has left is no harm: it counts
only if what answers there serves a version of this very repository.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines import model_control, model_repository

FILE = ".server.json"


@contextmanager
def noted(repository: Path, grpc_url: str, http_url: str) -> Iterator[None]:
    """Let `find` tell a server's addresses until the end of the block.

    Of several servers on one repository the last to start is found.
    """
    path, urls = Path(repository) / FILE, {"grpc": grpc_url, "http": http_url}
    model_repository.write_json(path, urls)
    try:
        yield
    finally:
        if read(path) == urls:  # and not another server's
            path.unlink()


def find(repository: Path) -> dict[str, str] | None:
    """Find the server that runs on a repository.

    Returns:
        ``host:port`` by protocol, "grpc" and "http"; None if there is none.
    """
    urls = read(Path(repository) / FILE)
    if urls and model_control.ask_served(urls["grpc"], repository):
        return urls
    return None


def read(path: Path) -> dict[str, str] | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # none, or not ours
        return None
