"""A data folder with programs of a checkout, and ways to ask its ClearML server."""

import base64
import json
import os
import signal
import subprocess
import textwrap
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from data_prep.paths import ROOT

START = (
    "import json\n"
    "from pipelines.tracking.connection import ensure_clearml\n"
    "ensure_clearml()\n"
)


@dataclass
class Place:
    """A data folder, and programs of a checkout that use it.

    The user's home is a folder of its own: nothing of ClearML may appear in it. What
    was fetched for this user, the hand networks among it, is not fetched again.
    """

    folder: Path
    checkout: Path = ROOT
    more: dict[str, str] = field(default_factory=dict)  # environment variables

    @property
    def home(self) -> Path:
        return self.folder / "asl"

    @property
    def conf(self) -> Path:
        return self.home / "clearml" / "clearml.conf"

    @property
    def environment(self) -> dict[str, str]:
        user = self.folder / "user"
        user.mkdir(exist_ok=True)
        kept = {k: v for k, v in os.environ.items() if not k.startswith("CLEARML")}
        kept.pop("PYTHONPATH", None)
        kept.setdefault("XDG_CACHE_HOME", str(Path.home() / ".cache"))
        return kept | {"HOME": str(user), "ASL_HOME": str(self.home)} | self.more

    @property
    def python(self) -> str:
        return str(self.checkout / ".venv" / "bin" / "python")

    def run(self, *command, check=True, timeout=600, **environment):
        """Run a command in the checkout, as a user without any ClearML would."""
        done = subprocess.run(
            [str(word) for word in command],
            cwd=self.checkout,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if check:
            assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done

    def start(self, *command) -> subprocess.Popen:
        """Start a command whose first lines the test reads."""
        return subprocess.Popen(
            [str(word) for word in command],
            cwd=self.checkout,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def show(self, program: str):
        """Run a piece of Python with ClearML ready; return the JSON it prints last."""
        script = self.folder / "program.py"
        script.write_text(START + textwrap.dedent(program), encoding="utf-8")
        done = self.run(self.python, script, timeout=120, PYTHONPATH=str(self.checkout))
        return json.loads(done.stdout.splitlines()[-1])

    def call(self, endpoint: str, **body) -> dict:
        """Call the running server's API."""
        server = self.home / "clearml"
        keys = json.loads((server / "credentials.json").read_text())
        pair = f"{keys['access_key']}:{keys['secret_key']}".encode()
        address = json.loads((server / "server.json").read_text())["address"]
        request = urllib.request.Request(
            f"{address}/{endpoint}",
            data=json.dumps(body).encode(),
            headers={
                "Content-Type": "application/json",
                "Authorization": f"Basic {base64.b64encode(pair).decode()}",
            },
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["data"]

    def tasks(self, **query) -> list[dict]:
        return self.call("tasks.get_all", order_by=["created"], **query)["tasks"]

    def task(self, id_: str) -> dict:
        return self.call("tasks.get_by_id", task=id_)["task"]

    def console(self, id_: str) -> str:
        answer = self.call("events.get_task_log", task=id_, batch_size=10_000)
        lines = sorted(answer["events"], key=lambda event: event["timestamp"])
        return "\n".join(line["msg"] for line in lines)

    def ended(self, id_: str, seconds: float = 500) -> dict:
        """Wait until a task has ended; return it."""
        deadline = time.monotonic() + seconds
        while True:
            task = self.task(id_)
            if task["status"] not in ("created", "queued", "in_progress"):
                return task
            assert time.monotonic() < deadline, self.console(id_)[-3000:]
            time.sleep(0.2)

    def processes(self) -> list[str]:
        """Command lines of the running processes that belong to this place."""
        found = []
        for process in Path("/proc").iterdir():
            try:
                environment = (process / "environ").read_bytes()
                line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:  # no process, somebody else's, or gone
                continue
            if f"ASL_HOME={self.home}\0".encode() in environment and line:
                found.append(line)
        return found


def interrupt(process, seconds: float = 60, number=signal.SIGINT) -> str:
    """Press Ctrl-C; return what the process printed from here on."""
    process.send_signal(number)
    return process.communicate(timeout=seconds)[0]


def start_agents(place: Place, *options: str) -> subprocess.Popen:
    """Start scripts/agents; return when all agents listen."""
    process = place.start("scripts/agents", *options)
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "Ctrl-C stops them" in line:
            return process
    raise AssertionError("".join(lines))
