"""Other servers that do what ours does: a photograph in, the letter out, by HTTP.

Each in an environment of its own, with the versions of ONNX Runtime, OpenCV and numpy
that our server has, and run as its documentation advises: a worker process a core, each
with a session of one thread. What they run lies in ``bench_serve_apps/``.
"""

import base64
import contextlib
import functools
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from benchmarks.serve_contestants import Contestants, check_letter, post
from benchmarks.serve_load import Outcome, cpu_of, http_request, load_http
from data_prep.errors import InputError
from data_prep.paths import ROOT, data_home
from pipelines.serving.triton_server import HOST, last_words, pick_ports

APPS = ROOT / "benchmarks" / "serve_apps"
ALIKE = ROOT / "triton" / "server" / "requirements.txt"
START_TIMEOUT_S = 600
SETTLE_S = 1.0  # for supervisors to hear of their workers again
WORKERS = str(os.cpu_count())


def as_body(host: str, photograph: bytes) -> bytes:
    return http_request(host, "/letter", photograph, {"Content-Type": "image/jpeg"})


def as_form(path: str, host: str, photograph: bytes) -> bytes:
    """Upload it like a form in a browser."""
    part = (
        '--part\r\nContent-Disposition: form-data; name="photograph"; '
        'filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    )
    return http_request(
        host,
        path,
        part.encode() + photograph + b"\r\n--part--\r\n",
        {"Content-Type": "multipart/form-data; boundary=part"},
    )


def as_text(host: str, photograph: bytes) -> bytes:
    """Wrap it in JSON, in base 64."""
    body = json.dumps({"inputs": [base64.b64encode(photograph).decode()]}).encode()
    return http_request(
        host, "/invocations", body, {"Content-Type": "application/json"}
    )


@dataclass(frozen=True)
class Peer:
    """How to install, start and ask another server.

    Attributes:
        packages: Beside `ALIKE`.
        command: Of its environment's ``bin``; PORT and MODEL are replaced.
        prepare: Likewise, run once before.
        request: ``(host, photograph)`` -> the bytes of a request.
    """

    packages: tuple[str, ...]
    command: str
    request: Callable[[str, bytes], bytes]
    prepare: str = ""


PEERS = {
    "FastAPI": Peer(
        ("fastapi==0.165.0", "uvicorn[standard]==0.54.0"),
        f"uvicorn fastapi_app:app --host {HOST} --port PORT --workers {WORKERS} "
        "--log-level warning",
        as_body,
    ),
    "LitServe": Peer(
        ("litserve==0.2.19", "python-multipart==0.0.34"),
        "python -m litserve_app PORT",
        functools.partial(as_form, "/predict"),
    ),
    "BentoML": Peer(
        ("bentoml==1.4.39",),
        f"bentoml serve bentoml_app:Letters --host {HOST} --port PORT",
        functools.partial(as_form, "/letter"),
    ),
    "MLflow": Peer(
        ("mlflow==3.17.2",),
        f"mlflow models serve --model-uri MODEL --host {HOST} --port PORT "
        f"--workers {WORKERS} --env-manager local",
        as_text,
        prepare="python -m mlflow_app MODEL",
    ),
}


def start(
    stack: contextlib.ExitStack,
    artifacts: Path,
    files: list[bytes],
    letter: str,
    seconds: int,
    folder: Path,
) -> Contestants:
    """Start all peers that can be had here; the others are named on standard error.

    Args:
        stack: Stops them.
        artifacts: The network, as training leaves it.
        files: Encoded photographs.
        letter: What the network makes of the first.
        seconds: Of each measurement.
        folder: For what they write.
    """
    contestants = {}
    for name, peer in PEERS.items():
        try:
            host, process = stack.enter_context(running(name, peer, artifacts, folder))
            requests = [peer.request(host, data) for data in files]
            wait_for_answer(name, process, host, requests[0], letter)
        except InputError as error:
            print(f"left out: {error}", file=sys.stderr)
            continue
        by_http = functools.partial(
            load_http,
            host=host,
            requests=requests,
            seconds=seconds,
            cpu=functools.partial(cpu_of, process.pid),
        )
        os.killpg(process.pid, signal.SIGSTOP)
        contestants[f"{name}, HTTP"] = functools.partial(awake, process.pid, by_http)
    return contestants


def awake(group: int, measure: Callable[[], Outcome]) -> Outcome:
    """Measure a server that otherwise stands still: what servers do while they wait
    would cost those their time that are measured meanwhile."""
    os.killpg(group, signal.SIGCONT)
    try:
        time.sleep(SETTLE_S)
        return measure()
    finally:
        os.killpg(group, signal.SIGSTOP)


@contextlib.contextmanager
def running(name: str, peer: Peer, artifacts: Path, folder: Path):
    """Run a peer's server; give its ``host:port`` and the process, which leads a group.

    Raises:
        InputError: It cannot be installed or prepared.
    """
    venv = installed(name, peer)
    here = folder / name
    here.mkdir(parents=True)
    (port,) = pick_ports(0)
    options = {
        "cwd": here,
        "env": {
            **os.environ,
            "PATH": f"{venv / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": f"{ROOT}:{APPS}",
            "ASL_BENCH_ARTIFACTS": str(artifacts),
            "BENTOML_HOME": str(here),
            "BENTOML_DO_NOT_TRACK": "True",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        },
        "stdin": subprocess.DEVNULL,
        "stderr": subprocess.STDOUT,
    }

    def command(text: str) -> list[str]:
        words = {"PORT": str(port), "MODEL": str(here / "model")}
        return [words.get(word, word) for word in text.split()]

    with open(log_of(name), "wb") as log:
        options["stdout"] = log
        if peer.prepare and subprocess.run(command(peer.prepare), **options).returncode:
            raise InputError(f"{name}: {last_words(log_of(name))}")
        process = subprocess.Popen(
            command(peer.command), start_new_session=True, **options
        )
    try:
        yield f"{HOST}:{port}", process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
            os.killpg(process.pid, signal.SIGCONT)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            pass
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def installed(name: str, peer: Peer) -> Path:
    """Make a peer's environment, once for each set of versions; return its folder.

    Raises:
        InputError: pip could not.
    """
    made_of = "\n".join(peer.packages) + ALIKE.read_text()
    digest = hashlib.sha256(made_of.encode()).hexdigest()[:12]
    venv = home() / f"{name}-{digest}"
    if (venv / "complete").exists():
        return venv
    print(f"installing {name} into {venv}", file=sys.stderr)
    pip = [venv / "bin" / "python", "-m", "pip", "install", "--quiet"]
    with open(log_of(name), "wb") as log:
        for command in (
            [sys.executable, "-m", "venv", "--clear", venv],
            [*pip, "--disable-pip-version-check", "-r", ALIKE, *peer.packages],
        ):
            if subprocess.run(command, stdout=log, stderr=log).returncode:
                raise InputError(
                    f"{name} could not be installed: {last_words(log_of(name))}"
                )
    (venv / "complete").touch()
    return venv


def home() -> Path:
    folder = data_home() / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def log_of(name: str) -> Path:
    return home() / f"{name}.log"


def wait_for_answer(
    name: str, process: subprocess.Popen, host: str, request: bytes, letter: str
) -> None:
    """Wait until a server answers a request with the letter.

    Raises:
        InputError: It does not, or with another letter.
    """
    deadline = time.monotonic() + START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            check_letter(name, post(host, request), letter)
            return
        except (OSError, HTTPException):
            time.sleep(0.2)
    raise InputError(f"{name} does not answer: {last_words(log_of(name))}")
