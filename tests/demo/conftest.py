"""One Triton server with the model of the drawings, and the demo beside it."""

import os
import subprocess
import sys
from contextlib import contextmanager

import pytest
from drawn_model import make_artifacts

from data_prep.paths import ROOT
from pipelines.repository import versions
from pipelines.serving.triton_server import TritonServer, pick_ports


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory):
    """Keep logs and backends of all servers out of the user's data folder."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASL_HOME", str(home))
        yield home


@pytest.fixture(scope="session")
def triton(tmp_path_factory, home):
    repository = tmp_path_factory.mktemp("served") / "models"
    artifacts = make_artifacts(tmp_path_factory.mktemp("drawn"))
    versions.render(artifacts, repository, {"task_id": "0" * 32, "model": "drawn"})
    with TritonServer(repository, *pick_ports(0, 0, 0)) as server:
        yield server


@contextmanager
def running(server, *options):
    """Run scripts/demo's program for a server; yields its address and first lines."""
    (port,) = pick_ports(0)
    command = [sys.executable, "-m", "demo.serve", "--url", server.grpc_url]
    command += ["--metrics-url", server.metrics_url, "--port", str(port), *options]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        lines = []
        for line in process.stdout:
            lines.append(line.strip())
            if "Ctrl-C" in line:
                break
        yield f"http://localhost:{port}", lines
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="session")
def demo(triton):
    with running(triton) as (address, _):
        yield address
