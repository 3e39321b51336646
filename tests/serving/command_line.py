"""A container's own tritonserver command line, run with the embedded binary."""

import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from data_prep.paths import ROOT
from pipelines.serving import server_keys, serving_environment
from pipelines.serving.triton_server import LAUNCH, TritonServer

PROBE = ROOT / "triton/server/probe.py"


def launched(command: list[str]) -> list[str]:
    """Return the options, launch.py's first, of a container's command that gives
    tritonserver a key."""
    assert command[:2] == ["python3", "/opt/asl/launch.py"]
    program = command.index("tritonserver")
    return command[2:program] + command[program + 1 :]


@contextmanager
def running(options: list[str], repository: Path, log: Path):
    """Run tritonserver with a container's options, until a real inference succeeds.

    What only the embedded binary needs is added: backends, free loopback ports.

    Args:
        options: With ``--model-repository=/models``, which becomes ``repository``.

    Yields:
        A TritonServer with the addresses, and with the process.
    """
    embedded = TritonServer(repository)
    embedded.state.mkdir(exist_ok=True)
    serving = serving_environment.describe()
    assert "--model-repository=/models" in options
    options = [option.replace("=/models", f"={repository}") for option in options]
    launch = [option for option in options if option == "--load-deployed"]
    options = [option for option in options if option not in launch]
    given = {option.partition("=")[0] for option in options}
    binary, *rest = embedded.command(serving)
    ours = [x for x in rest if x.partition("=")[0] not in {*given, "--load-model"}]
    key = server_keys.make(repository, embedded.grpc_url)
    variables = serving_environment.variables(serving)
    with open(log, "wb") as output:
        embedded.process = subprocess.Popen(
            [sys.executable, LAUNCH, *launch, binary, *options, *ours],
            env=variables | {"TRITON_KEY_FILE": str(key)},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 60
        while probe(embedded, count=1).returncode and time.monotonic() < deadline:
            assert embedded.process.poll() is None, log.read_text()[-2000:]
            time.sleep(0.2)
        yield embedded
    finally:
        embedded.stop()


def probe(server: TritonServer, count: int = 8):
    """Ask by the image's own health check; return its completed process."""
    return run_probe("--url", f"http://{server.http_url}", "--count", str(count))


def run_probe(*options: str):
    return subprocess.run(
        [sys.executable, "-I", PROBE, *options],
        capture_output=True,
        text=True,
    )
