"""The server's folder: who owns it, its keys, and the files that clients read.

``server.sqlite``     all records, see `storage`
``files/``            uploads, see `files`
``credentials.json``  the random keys (mode 600)
``clearml.conf``      configuration of the SDK that leads to this server (mode 600)
``server.json``       process id and address while the server runs
``server.log``        what it has to say
``server.lock``       locked while it runs
``cache/``            the SDK's cache of downloads
"""

import fcntl
import json
import os
import uuid
from pathlib import Path
from typing import Any

from data_prep.errors import InputError
from data_prep.paths import data_home

from .auth import new_credentials
from .files import PREFIX

# Settings beyond addresses and keys: no message about newer releases, and no waiting
# for minutes when the server is gone. Not development.report_use_subprocess = false,
# though it makes closing a task quick: processes that a program forks would wait for
# threads that only their parent has; see
# `pipelines.tracking.connection.report_from_threads`.
CONF = """\
# Written by the embedded ClearML server at each start. Do not edit.
api {{
  api_server: {api}
  web_server: {web}
  files_server: {files}
  credentials {{ access_key: {access_key}, secret_key: {secret_key} }}
  http.retries {{ total: 6, connect: 6, read: 6, status: 6, backoff_max: 4.0 }}
}}
sdk {{
  development {{
    suppress_update_message: true
    worker {{ report_period_sec: 1 }}
  }}
  storage.cache.default_base_dir: {cache}
}}
"""


def home_folder() -> Path:
    """Where the embedded server of this data folder keeps everything."""
    return data_home() / "clearml"


def conf_path(home: Path) -> Path:
    return home / "clearml.conf"


class Home:
    """A server's folder, owned by this process from `lock` to `release`."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._lock: Any = None  # the locked file

    def lock(self) -> None:
        """Make the folder and become its owner.

        Raises:
            InputError: Another server owns it.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder.chmod(0o700)  # it may have been there
        self._lock = open(self.folder / "server.lock", "a")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            state = running(self.folder) or {}
            where = f" at {state['address']}" if state else ""
            raise InputError(
                f"another embedded ClearML server{where} uses {self.folder}; "
                "stop it, or give this one another folder with --home"
            ) from None

    def credentials(self) -> dict:
        """The keys of this folder; made at the first start."""
        path = self.folder / "credentials.json"
        if not path.exists():
            write_private(path, json.dumps(new_credentials(), indent=2) + "\n")
        return json.loads(path.read_text(encoding="utf-8"))

    def last_port(self) -> int:
        """The port of the last run, or 0."""
        try:
            return int((self.folder / "port").read_text(encoding="ascii"))
        except (OSError, ValueError):
            return 0

    def announce(self, address: str, port: int, credentials: dict) -> None:
        """Write what clients need to find and use the running server."""
        (self.folder / "port").write_text(f"{port}\n", encoding="ascii")
        values = {
            "api": address,
            "web": address,
            "files": address + PREFIX,
            "cache": str(self.folder / "cache"),
            "access_key": credentials["access_key"],
            "secret_key": credentials["secret_key"],
        }
        conf = CONF.format(**{k: json.dumps(v) for k, v in values.items()})
        write_private(conf_path(self.folder), conf)
        state = {"pid": os.getpid(), "port": port, "address": address}
        write_private(self.folder / "server.json", json.dumps(state) + "\n")

    def release(self) -> None:
        """Take back the announcement, and the ownership."""
        (self.folder / "server.json").unlink(missing_ok=True)
        self._lock.close()


def running(folder: Path) -> dict | None:
    """What the running server of a folder announced, or None."""
    try:
        return json.loads((folder / "server.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def write_private(path: Path, text: str) -> None:
    """Write a file at once, readable by its owner alone."""
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(partial, path)
