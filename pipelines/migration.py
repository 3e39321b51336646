"""What `pipelines.migrate` is made of: two servers, files, and new ids in old texts."""

import hashlib
import json
import re
import tempfile
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import requests

from data_prep.errors import InputError
from pipelines.tracking.uploads import must_arrive

PAGE = 500
EVENTS_PAGE = 5000
ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")


class Server:
    """A ClearML server, by the SDK's session.

    Attributes:
        host: Address of the API.
        files: Address of the file server (or of another store), without "/" at its end.
    """

    def __init__(self, host=None, access_key=None, secret_key=None):
        """Log in; without arguments, to the server that the SDK is configured for.

        Raises:
            InputError: The server cannot be reached, or refuses the keys.
        """
        from clearml.backend_api import Session
        from clearml.backend_api.session.errors import SessionError

        try:
            self._session = Session(
                host=host, api_key=access_key, secret_key=secret_key
            )
        except (SessionError, ValueError, requests.RequestException) as error:
            raise InputError(
                f"cannot log in to {host or 'the ClearML server'}: {error}; check the "
                "address and the keys in its clearml.conf"
            ) from None
        self.host = self._session.host
        files = f"{host}/files" if host else Session.get_files_server_host()
        self.files = files.rstrip("/")

    def call(self, endpoint: str, **body) -> dict:
        """Call an endpoint.

        Raises:
            InputError: The server refuses; its reason is in the message.
        """
        return self._send(endpoint, json=body)

    def _send(self, endpoint, **request) -> dict:
        service, action = endpoint.split(".")
        try:
            answer = self._session.send_request(service, action, **request)
        except requests.RequestException as error:
            raise InputError(
                f"{self.host} does not answer {endpoint}: {error}; copy again when it "
                "does"
            ) from None
        if not answer.ok:
            try:
                reason = answer.json()["meta"]["result_msg"]
            except (ValueError, KeyError, TypeError):
                reason = answer.reason
            raise InputError(f"{self.host} refused {endpoint}: {reason}")
        return answer.json()["data"]

    def all(self, endpoint: str, key: str, **query) -> list[dict]:
        """All records that a ``get_all`` endpoint finds."""
        found = []
        while True:
            page = len(found) // PAGE
            some = self.call(endpoint, page=page, page_size=PAGE, **query)[key]
            found += some
            if len(some) < PAGE:
                return found

    def events(self, task: str, kind: str) -> Iterator[list[dict]]:
        """A task's events of one type, in batches."""
        scroll = None
        while True:
            answer = self.call(
                "events.get_task_events",
                task=task,
                event_type=kind,
                batch_size=EVENTS_PAGE,
                order="asc",
                **({"scroll_id": scroll} if scroll else {}),
            )
            if not answer["events"]:
                return
            yield answer["events"]
            scroll = answer["scroll_id"]

    def log(self, task: str) -> Iterator[list[dict]]:
        """A task's console lines, oldest first, in batches."""
        last = 0
        while True:
            lines = self.call(
                "events.get_task_log",
                task=task,
                navigate_earlier=False,
                from_timestamp=last,
                batch_size=EVENTS_PAGE,
            )["events"]
            if len(lines) == EVENTS_PAGE:  # the last moment's lines may go on
                end = lines[-1]["timestamp"]
                lines = [x for x in lines if x["timestamp"] < end] or lines
            if not lines:
                return
            yield lines
            last = lines[-1]["timestamp"]

    def add_events(self, events: list[dict]) -> None:
        self._send(
            "events.add_batch",
            headers={"Content-Type": "application/json-lines"},
            data="\n".join(json.dumps(event) for event in events).encode(),
        )

    def download(self, url: str, path: Path) -> bool:
        """Fetch a file of the file server; say whether it is there."""
        headers = {"Authorization": f"Bearer {self._session.token}"}
        with requests.get(url, headers=headers, stream=True, timeout=60) as answer:
            if answer.status_code == 404:
                return False
            answer.raise_for_status()
            with open(path, "wb") as file:
                for part in answer.iter_content(1 << 20):
                    file.write(part)
        return True


class Translation:
    """Turns records of the source into records of the target, with their files.

    Attributes:
        ids: Of the source's tasks and models that have a copy: that copy's id.
        missing: Addresses of files that the source does not have any more.
    """

    def __init__(self, source: Server, target: Server):
        self.source, self.target = source, target
        self.ids, self.missing = {}, []
        self._url = re.compile(re.escape(source.files) + r'/[^"\\\s]+')
        self._copied = {}

    def with_new_ids(self, text: str) -> str:
        return ID.sub(lambda match: self.ids.get(match[0], match[0]), text)

    def of(self, record):
        """Copy the files that a JSON value names; return it with new names and ids."""
        text = json.dumps(record, ensure_ascii=False)
        for url in set(self._url.findall(text)):
            self.copy_file(url)
        return json.loads(
            self.with_new_ids(text.replace(self.source.files, self.target.files))
        )

    def copy_file(self, url: str, rewrite: bool = False) -> str:
        """Copy a file, once; return its SHA-256, "" if it is missing.

        Args:
            rewrite: It is a text with ids in it.
        """
        if url not in self._copied:
            self._copied[url] = self._copy(url, rewrite)
        return self._copied[url]

    def _copy(self, url, rewrite) -> str:
        from clearml import StorageManager

        address = url.removeprefix(self.source.files)
        new = self.target.files + self.with_new_ids(address)
        with tempfile.TemporaryDirectory(prefix="asl-migrate-") as folder:
            path = Path(folder) / "file"
            if not self.source.download(url, path):
                self.missing.append(url)
                return ""
            if rewrite:
                text = path.read_text(encoding="utf-8")
                path.write_text(self.with_new_ids(text), encoding="utf-8")
            with open(path, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            # Addresses in records are quoted, those for uploading are not.
            with must_arrive(new):
                StorageManager.upload_file(str(path), urllib.parse.unquote(new))
        return digest
