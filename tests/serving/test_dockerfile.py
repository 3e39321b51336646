"""The server image's own command line, run with the embedded binary."""

import json
import os
import re
import signal
import socket

import pytest
from command_line import probe, run_probe, running
from leftovers import running_in_session

from data_prep.paths import ROOT
from pipelines import model_repository
from pipelines.docker_server import run_command
from pipelines.model_config import Settings

DOCKERFILE = (ROOT / "triton/server/Dockerfile").read_text()


def command(instruction: str) -> list[str]:
    text = re.search(rf"{instruction} (\[.*?\])", DOCKERFILE, re.DOTALL)
    return json.loads(text.group(1).replace("\\\n", ""))


@pytest.mark.slow
def test_the_entry_point_serves_the_repository_and_the_health_check_finds_its_death(
    artifacts, tmp_path, home
):
    model_repository.render(artifacts, tmp_path / "models", {}, Settings(instances=2))
    wrapper, program, *options = command("ENTRYPOINT")
    assert (wrapper, program) == ("/opt/nvidia/nvidia_entrypoint.sh", "tritonserver")
    assert command("CMD") == ["python3", "/opt/asl/probe.py"]

    with running(options, tmp_path / "models", tmp_path / "log") as server:
        healthy = probe(server)
        assert (healthy.returncode, healthy.stdout, healthy.stderr) == (0, "", "")

        for process in running_in_session(server.process.pid):
            if "/asl_fused_1/" in process.command:
                os.kill(process.pid, signal.SIGKILL)
                break
        ill = probe(server)
        assert ill.returncode == 1
        assert "is not healthy" in ill.stdout and len(ill.stdout.splitlines()) == 1

    gone = probe(server)
    assert gone.returncode == 1 and gone.stdout.startswith("no answer: ")


def test_a_server_that_accepts_and_says_nothing_is_ill():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"

        done = run_probe("--url", url, "--timeout", "0.5")

    assert (done.returncode, done.stdout) == (1, "no answer within 0.5 s\n")


def test_what_the_image_copies_is_there():
    for source in re.findall(r"^COPY (\S+) ", DOCKERFILE, re.MULTILINE):
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
    model_repository.render(artifacts, tmp_path, {}, Settings(device))

    command = run_command(
        tmp_path, model_repository.current(tmp_path), 18000, 18001, 18002
    )

    assert f"--volume={tmp_path}:/models:ro" in command
    published = [x for x in command if x.startswith("--publish=")]
    assert published == [
        f"--publish=127.0.0.1:1{inside}:{inside}" for inside in (8000, 8001, 8002)
    ]
    assert ("--gpus=all" in command) == (device == "gpu")
    assert command[-1] == "triton-server"
