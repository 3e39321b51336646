"""The server image's own command line, run with the embedded binary."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest
import yaml
from command_line import PROBE, launched, probe, run_probe, running
from leftovers import running_in_session

from data_prep.paths import ROOT
from pipelines.repository import versions
from pipelines.repository.model_config import Settings, default_instances
from pipelines.serving.docker_server import run_command

DOCKERFILE = (ROOT / "triton/server/Dockerfile").read_text()


def command(instruction: str) -> list[str]:
    text = re.search(rf"{instruction} (\[.*?\])", DOCKERFILE, re.DOTALL)
    return json.loads(text.group(1).replace("\\\n", ""))


def kill_a_model_process(server):
    for process in running_in_session(server.process.pid):
        if "/asl_fused_1/" in process.command:
            os.kill(process.pid, signal.SIGKILL)
            break


@pytest.fixture
def health_check(tmp_path):
    """A function that runs the check as compose does, for a process other than 1."""
    compose = yaml.safe_load((ROOT / "triton/compose.yaml").read_text())
    named = compose["services"]["cpu"]["environment"]
    variables = {name: value for name, value in named.items() if value}

    def check(url: str, process: int):
        options = ["--process", str(process), "--state", str(tmp_path / "state")]
        return subprocess.run(
            [sys.executable, "-I", PROBE, "--url", url, *options],
            capture_output=True,
            text=True,
            env={**os.environ, **variables},
        )

    return check


@pytest.mark.slow
def test_the_entry_point_serves_and_the_health_check_finds_its_death_and_ends_it(
    artifacts, tmp_path, home, health_check
):
    """So that Docker starts it again."""
    versions.render(artifacts, tmp_path / "models", {}, Settings(instances=1))
    wrapper, *launch = command("ENTRYPOINT")
    assert wrapper == "/opt/nvidia/nvidia_entrypoint.sh"
    options = launched(launch)
    assert command("CMD") == ["python3", "/opt/asl/probe.py"]

    with running(options, tmp_path / "models", tmp_path / "log") as server:
        healthy = probe(server)
        assert (healthy.returncode, healthy.stdout, healthy.stderr) == (0, "", "")
        asked = f"http://{server.http_url}", server.process.pid
        assert health_check(*asked).returncode == 0

        kill_a_model_process(server)
        ill = probe(server)
        assert ill.returncode == 1
        assert "is not healthy" in ill.stdout and len(ill.stdout.splitlines()) == 1
        for _ in range(2):
            assert health_check(*asked).returncode == 1
            assert server.process.poll() is None
        last = health_check(*asked)
        assert last.returncode == 1
        assert last.stdout.endswith("3 failures in a row: the server is asked to end\n")
        server.process.wait(30)

    gone = probe(server)
    assert gone.returncode == 1 and gone.stdout.startswith("no answer: ")


def test_a_server_that_has_not_answered_yet_is_left_to_start(health_check):
    with subprocess.Popen(["sleep", "60"]) as starting:
        for _ in range(5):
            done = health_check("http://127.0.0.1:1", starting.pid)
            assert done.returncode == 1 and len(done.stdout.splitlines()) == 1
        assert starting.poll() is None
        starting.kill()


def test_a_server_that_accepts_and_says_nothing_is_ill():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"

        done = run_probe("--url", url, "--timeout", "0.5")

    assert (done.returncode, done.stdout) == (1, "no answer within 0.5 s\n")


def test_what_the_image_copies_is_there():
    for sources in re.findall(r"^COPY (.+) \S+$", DOCKERFILE, re.MULTILINE):
        for source in sources.split():
            assert (ROOT / "triton/server" / source).exists()


def test_the_image_does_not_run_as_root():
    assert re.search(r"^USER 1000", DOCKERFILE, re.MULTILINE)


def test_the_tag_of_the_image_is_one_argument():
    assert DOCKERFILE.count("24.10") == 1
    assert "FROM nvcr.io/nvidia/tritonserver:${TRITON_TAG}" in DOCKERFILE


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_docker_run_mounts_the_repository_and_publishes_on_loopback(
    device, artifacts, tmp_path
):
    versions.render(artifacts, tmp_path, {}, Settings(device))

    command = run_command(tmp_path, [versions.current(tmp_path)], 18000, 18001, 18002)

    assert f"--volume={tmp_path}:/models:ro" in command
    published = [x for x in command if x.startswith("--publish=")]
    assert published == [
        f"--publish=127.0.0.1:1{inside}:{inside}" for inside in (8000, 8001, 8002)
    ]
    assert ("--gpus=all" in command) == (device == "gpu")
    image, threads = command[-2:]
    assert image == "triton-server"
    assert threads == f"--http-thread-count={default_instances()}"


@pytest.fixture
def other_machine(tmp_path):
    """A function that runs scripts/serve where some programs say something else."""

    def serve(programs: dict[str, str], *options: str) -> subprocess.Popen:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        for name, text in programs.items():
            (folder / name).write_text(f"#!/bin/sh\n{text}\n")
            (folder / name).chmod(0o755)
        return subprocess.Popen(
            [ROOT / "scripts/serve", "--repository", tmp_path / "models", *options],
            env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return serve


@pytest.mark.parametrize(
    "programs", [{"uname": "echo aarch64"}, {"getconf": "echo glibc 2.31"}], ids=str
)
def test_where_the_embedded_server_cannot_run_one_line_names_docker(
    programs, other_machine
):
    embedded = other_machine(programs)
    _, message = embedded.communicate()
    assert embedded.returncode == 2
    assert message.startswith("error: the embedded tritonserver needs x86_64 and glibc")
    assert message.endswith("scripts/serve --docker\n") and message.count("\n") == 1

    # which gets as far as to miss a model
    docker = other_machine(programs, "--docker")
    _, message = docker.communicate()
    assert docker.returncode == 2 and "no model has been deployed" in message


def test_what_is_to_end_docker_run_reaches_docker(artifacts, tmp_path, other_machine):
    versions.render(artifacts, tmp_path / "models", {}, Settings())
    docker = '[ "$1" != run ] || exec sleep 60  # info and build succeed'

    with other_machine({"docker": docker}, "--docker") as serving:
        deadline = time.monotonic() + 60
        while b"sleep" not in command_of(serving.pid):
            assert time.monotonic() < deadline and serving.poll() is None
            time.sleep(0.1)
        serving.terminate()
        assert serving.wait(10) == -signal.SIGTERM  # in docker's place


def command_of(pid: int) -> bytes:
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read()
