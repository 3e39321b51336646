"""One embedded server for all tests here, and a way to run SDK programs against it.

The SDK keeps global state, so each scenario is a process of its own: a piece of Python
that calls ``show(value)`` to hand a JSON value to the test.
"""

import base64
import json
import os
import signal
import subprocess
import sys
import textwrap
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest

from data_prep.paths import ROOT

PRELUDE = """
import json, os, sys
from pathlib import Path
from pipelines.tracking.connection import ensure_clearml, report_from_threads
address = ensure_clearml()
if "as a stranger" not in sys.argv:
    report_from_threads()
def show(value):
    Path(os.environ["SHOWN"]).write_text(json.dumps(value, default=str))
"""


@dataclass
class Embedded:
    """A data folder with (once started) a running server."""

    folder: Path
    process: subprocess.Popen = None

    @property
    def home(self):
        return self.folder / "asl" / "clearml"

    @property
    def environment(self):
        clean = {k: v for k, v in os.environ.items() if not k.startswith("CLEARML")}
        return clean | {
            "ASL_HOME": str(self.folder / "asl"),
            "HOME": str(self.folder),
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "ignore",
            "SHOWN": str(self.folder / "shown.json"),
        }

    def start(self, *options):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pipelines.clearml_server", *options],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        line = self.process.stdout.readline()
        assert "embedded ClearML server at" in line, line
        return self

    def stop(self, number=signal.SIGTERM):
        if self.process and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(timeout=20)
        if self.process:
            self.process.stdout.close()

    @property
    def address(self):
        return json.loads((self.home / "server.json").read_text())["address"]

    def keys(self):
        keys = json.loads((self.home / "credentials.json").read_text())
        return f"{keys['access_key']}:{keys['secret_key']}"

    def run(self, program, *arguments, check=True, timeout=300, **environment):
        """Run a piece of Python; return what it showed (and the process if unchecked).

        The program is a file in the folder, as the SDK looks at the script it runs in.
        """
        shown = self.folder / "shown.json"
        shown.unlink(missing_ok=True)
        script = self.folder / "scenario.py"
        script.write_text(PRELUDE + textwrap.dedent(program))
        done = subprocess.run(
            [sys.executable, str(script), *arguments],
            env=self.environment | environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        value = json.loads(shown.read_text()) if shown.exists() else None
        if not check:
            return value, done
        assert done.returncode == 0, done.stdout + done.stderr
        return value

    def call(self, endpoint, body=None, lines=None, keys=None, headers=()):
        """Call an endpoint as a client without the SDK; return (code, answer)."""
        data = json.dumps(body or {}).encode()
        kind = "application/json"
        if lines is not None:
            data = b"\n".join(json.dumps(line).encode() for line in lines)
            kind = "application/json-lines"
        sent = {"Content-Type": kind} | dict(headers)
        if keys != "":
            pair = base64.b64encode((keys or self.keys()).encode()).decode()
            sent.setdefault("Authorization", f"Basic {pair}")
        return self.http("POST", f"/{endpoint}", data, sent, as_json=True)

    def data(self, endpoint, body=None, lines=None):
        """The data of a call that must succeed."""
        code, answer = self.call(endpoint, body, lines)
        assert code == 200, answer
        return answer["data"]

    def http(self, method, path, data=None, headers=None, as_json=False):
        request = urllib.request.Request(
            self.address + path, data=data, headers=headers or {}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                code, body = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            code, body = error.code, error.read()
        return code, json.loads(body) if as_json else body


@pytest.fixture(scope="session")
def embedded_in():
    """Makes a server of a folder."""
    return Embedded


@pytest.fixture(scope="session")
def embedded(tmp_path_factory):
    """A running server that all tests share; each uses a project of its own."""
    server = Embedded(tmp_path_factory.mktemp("embedded")).start()
    yield server
    server.stop()


@pytest.fixture
def own_embedded(tmp_path):
    """A folder for a server of the test's own, not started yet."""
    server = Embedded(tmp_path)
    yield server
    server.stop()
