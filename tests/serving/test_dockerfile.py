"""The server image's own command line, run with the embedded binary."""

import json
import re
import subprocess
import time
from pathlib import Path

import pytest

from data_prep.paths import ROOT
from pipelines import model_control, model_repository, serving_environment
from pipelines.docker_server import run_command
from pipelines.model_config import Settings
from pipelines.triton_server import TritonServer

DOCKERFILE = (ROOT / "triton/server/Dockerfile").read_text()


def entry_point() -> list[str]:
    text = re.search(r"^ENTRYPOINT (\[.*?\])", DOCKERFILE, re.DOTALL | re.MULTILINE)
    return json.loads(text.group(1).replace("\\\n", ""))


@pytest.mark.slow
def test_the_entry_point_serves_the_rendered_repository(artifacts, tmp_path, home):
    model_repository.render(artifacts, tmp_path / "models", {}, Settings(instances=1))
    # Used for what only the embedded binary needs: backends and free loopback ports.
    embedded = TritonServer(tmp_path / "models")
    embedded.state.mkdir(exist_ok=True)
    serving = serving_environment.describe()
    wrapper, program, *options = entry_point()
    assert (wrapper, program) == ("/opt/nvidia/nvidia_entrypoint.sh", "tritonserver")
    assert "--model-repository=/models" in options
    options = [x.replace("=/models", f"={tmp_path}/models") for x in options]
    given = {option.partition("=")[0] for option in options}
    binary, *rest = embedded.command(serving)
    options += [x for x in rest if x.partition("=")[0] not in given]

    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen(
            [binary, *options],
            env=serving_environment.variables(serving),
            stdout=log,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            fault = model_control.probe(embedded.grpc_url)
            if fault is None:
                break
            time.sleep(0.2)
        assert fault is None, (tmp_path / "log").read_text()[-2000:]
    finally:
        process.terminate()
        process.wait(20)
        for path in Path("/dev/shm").glob(f"{embedded.shm_prefix}*"):
            path.unlink()


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
