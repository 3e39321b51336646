"""ClearML agents on this machine, on the embedded server, until Ctrl-C.

    scripts/agents                 agents for the queues services and default
    scripts/agents --execute ID    one task, without a daemon

The pipeline's controller runs on ``services`` and its steps on ``default``: a single
agent would be busy with the controller and never run its steps. Controllers and
schedules last long and use little of the machine, so several agents listen to
``services``, each with folders of its own. (Outside containers, the tasks of
clearml-agent's --services-mode share one folder and delete each other's files.) Each
task gets a clone of its own at the task's commit, with the uncommitted changes that
the task carries, and runs in the environment .venv.
All that agents keep lies in ``<data folder>/agents``: clones, caches, logs, temporary
files.
"""

import argparse
import fcntl
import json
import logging
import logging.handlers
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

from data_prep.command_line import command_parser
from data_prep.errors import InputError, exit_2_on_input_error
from data_prep.paths import ROOT, data_home
from data_prep.stopping import until_stopped
from pipelines.child_process import ending_with_us
from pipelines.clearml_server.home import home_folder
from pipelines.tracking import checkout
from pipelines.tracking.connection import ensure_clearml, is_configured, quiet_sdk

QUEUES = ("services", "default")
SERVICES = 3  # agents for the queue services
PROGRAM = ROOT / ".venv-agent" / "bin" / "clearml-agent"
# Agents look for tasks, and at the tasks they run, that often.
POLL_SECONDS = 0.3
READY = "Listening to queues:"
# What an agent says, twice a poll, while there is nothing to do.
IDLE = re.compile(r"No tasks in (queue \w+|Queues, sleeping for .*)$")
LOG_BYTES = 5_000_000
START_SECONDS = 120.0
STOP_SECONDS = 15.0


def arguments() -> argparse.ArgumentParser:
    parser = command_parser(
        "scripts/agents",
        description="Run ClearML agents on this machine, on the embedded server.",
        example="--services 2",
    )
    parser.add_argument(
        "--execute", metavar="ID", help="run this one task instead, and end"
    )
    parser.add_argument(
        "--services",
        type=int,
        default=SERVICES,
        metavar="N",
        help="agents for pipeline controllers and schedules (default: %(default)s)",
    )
    return parser


def agent_environment(name: str) -> dict[str, str]:
    """The environment of an agent and of the tasks it runs; makes their folder.

    Args:
        name: Agents of different names may run at the same time.
    """
    agents = data_home() / "agents"
    temporary = agents / name / "tmp"
    temporary.mkdir(parents=True, exist_ok=True, mode=0o700)
    checkout.write_settings(agents / name / "gitconfig")
    environment = dict(os.environ)
    # The code comes from the clone, not from here.
    for variable in ("PYTHONPATH", "VIRTUAL_ENV"):
        environment.pop(variable, None)
    folders = {
        "VENVS_DIR": agents / name / "work",
        "VCS_CACHE__PATH": agents / "vcs-cache",
        "VENVS_CACHE__PATH": agents / "venvs-cache",
        "PIP_DOWNLOAD_CACHE__PATH": agents / "pip-download-cache",
        "DOCKER_PIP_CACHE": agents / "docker-pip-cache",
        "DOCKER_APT_CACHE": agents / "docker-apt-cache",
    }
    for key, folder in folders.items():  # entries of clearml-agent's configuration
        environment[f"CLEARML_AGENT__AGENT__{key}"] = json.dumps(str(folder))
    return environment | {
        "CLEARML_AGENT__AGENT__DISABLE_AGENT_UPDATE_CHECK": "true",
        "CLEARML_AGENT_QUEUE_POLL_FREQ_SEC": str(POLL_SECONDS),
        "CLEARML_WORKER_ID": f"embedded:{name}",
        # tasks run in the environment that exists, which takes seconds, not minutes
        "CLEARML_AGENT_SKIP_PIP_VENV_INSTALL": sys.executable,
        "CLEARML_AGENT_SKIP_PYTHON_ENV_INSTALL": "1",
        "PYTHONUNBUFFERED": "1",
        # a clone has no data folder of its own
        "ASL_HOME": str(data_home()),
        "GIT_CONFIG_GLOBAL": str(agents / name / "gitconfig"),
        # agents write their configuration there, with the server's keys
        "TMPDIR": str(temporary),
    }


def write_shell_file() -> Path:
    """Write what a shell must export to reach the server; return the file."""
    path = data_home() / "agents" / "environment"
    names = ("CLEARML_CONFIG_FILE", "no_proxy", "NO_PROXY")
    values = {name: os.environ[name] for name in names}
    values = checkout.lend_remote(values | {"ASL_HOME": str(data_home())})
    lines = [f"export {key}={shlex.quote(value)}" for key, value in values.items()]
    lines.append(f'export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"')
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


class Agent:
    """A running clearml-agent that takes tasks from one queue, one after the other.

    Attributes:
        log: What it says, without the lines of idle polls; an older half beside it.
    """

    def __init__(self, queue: str, name: str):
        self.queue = queue
        environment = agent_environment(name)
        self.log = data_home() / "agents" / name / "agent.log"
        self.log.unlink(missing_ok=True)
        self._is_ready = False
        self.process = subprocess.Popen(
            ending_with_us([str(PROGRAM), "daemon", "--foreground", "--queue", queue]),
            cwd=self.log.parent,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # Ctrl-C is for us; `stop` ends all in order
        )
        threading.Thread(target=self._keep_log, daemon=True).start()

    def _keep_log(self) -> None:
        handler = logging.handlers.RotatingFileHandler(
            self.log, maxBytes=LOG_BYTES, backupCount=1, encoding="utf-8"
        )
        for line in self.process.stdout or ():
            # it may stand behind a text without a line's end
            line = IDLE.sub("", line.rstrip())
            self._is_ready = self._is_ready or READY in line
            if line:
                handler.emit(logging.makeLogRecord({"msg": line}))
        handler.close()

    def check(self) -> None:
        """Raises InputError if the agent has ended."""
        code = self.process.poll()
        if code is not None:
            raise InputError(
                f"the agent of queue {self.queue} ended with code {code}; see "
                f"{self.log}"
            )

    def is_ready(self) -> bool:
        self.check()
        return self._is_ready

    def stop(self) -> None:
        """End the agent and, with it, the task that it runs."""
        if self.process.poll() is None:
            # the agent first: it takes leave of the server, and takes no new task
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                pass
        _end_session(self.process.pid)
        self.process.wait()


def _end_session(leader: int) -> None:
    """End what an agent has left: ask first, so that tasks are reported as stopped."""
    for number, seconds in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, 5.0)):
        deadline = time.monotonic() + seconds
        try:
            os.killpg(leader, number)
            while time.monotonic() < deadline:
                os.killpg(leader, 0)
                time.sleep(0.05)
        except ProcessLookupError:
            return


@contextmanager
def only_one(kind: str):
    """Be the only process of its kind on the agents' folder.

    Raises:
        InputError: Another one is running.
    """
    folder = data_home() / "agents"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(folder / f"{kind}.lock", "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"another scripts/agents uses {folder}; stop it first, or set ASL_HOME "
                "to another folder"
            ) from None
        yield


def serve(web: str, services: int) -> None:
    """Run `services` agents for that queue and one for the other until interrupted."""
    agents = []
    try:
        names = ["services", *(f"services-{i}" for i in range(2, services + 1))]
        for name in (*names, "default"):
            agents.append(Agent(name.partition("-")[0], name))
        deadline = time.monotonic() + START_SECONDS
        while not all(agent.is_ready() for agent in agents):
            if time.monotonic() > deadline:
                raise InputError(
                    f"the agents did not start within {START_SECONDS:.0f} s; see "
                    f"{agents[0].log}"
                )
            time.sleep(0.1)
        print(announcement(web, write_shell_file()), flush=True)
        while True:
            for agent in agents:
                agent.check()
            time.sleep(0.5)
    finally:
        # A second Ctrl-C must not leave half of them.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for agent in agents:
            agent.stop()


def announcement(web: str, shell_file: Path) -> str:
    logs = data_home() / "agents"
    return f"""\
agents listen to the queues {' and '.join(QUEUES)}
  ClearML  {web}
  logs     {logs}/*/agent.log
use them, from another terminal:
  source {shlex.quote(str(shell_file))}
  python -m pipelines.asl --raw DIR --queue default
  clearml-task --project ASL --name train --script training/train.py --queue default
  scripts/agents --execute ID      # a task in no queue, at once
Ctrl-C stops them"""


def execute(task_id: str) -> int:
    """Run one task as an agent does; return the exit code of clearml-agent.

    Raises:
        InputError: There is no such task.
    """
    from clearml import Task

    try:
        with quiet_sdk():
            Task.get_task(task_id=task_id)
    except ValueError:
        raise InputError(
            f"there is no task '{task_id}' in ClearML; its page there shows its id"
        ) from None
    done = subprocess.run(
        [str(PROGRAM), "execute", "--id", task_id], env=agent_environment("execute")
    )
    return done.returncode


@exit_2_on_input_error
def main() -> None:
    args = arguments().parse_args()
    # A terminal's Ctrl-C ends everything in order; other ways to stop us shall, too
    # (and a shell's background jobs ignore Ctrl-C's signal).
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    if is_configured(home_folder()):
        raise InputError(
            "this machine has a ClearML configuration, and scripts/agents is for the "
            "embedded server; for yours, run clearml-agent daemon --queue default"
        )
    if not PROGRAM.exists():
        raise InputError(f"there is no {PROGRAM}; run scripts/setup agent")
    if not 1 <= args.services <= 20:
        raise InputError(f"--services is {args.services}, not between 1 and 20")
    checkout.remote()
    with only_one("execute" if args.execute else "daemons"):
        web = ensure_clearml()
        if args.execute:
            sys.exit(execute(args.execute))
        with until_stopped():
            serve(web, args.services)


if __name__ == "__main__":
    main()
