"""Serve the repository with Docker: build triton/server's image and run it."""

import os
import shutil
import subprocess
from pathlib import Path

from data_prep.errors import InputError
from data_prep.paths import ROOT
from pipelines.repository import versions
from pipelines.repository.model_config import ENGINE_CACHE, default_instances
from pipelines.serving import running_server, server_keys

IMAGE = "triton-server"
# Triton has no limit on the size of a request: its own memory must end somewhere.
MEMORY = "8g"
# What the container may write; it is gone with it.
WRITABLE = ("/tmp", ENGINE_CACHE)


def run(repository: Path, http_port: int, grpc_port: int, metrics_port: int) -> None:
    """Build the image, and become the ``docker run`` of it on a repository.

    Raises:
        InputError: No deployed model, no Docker engine, or Docker failed.
    """
    records = versions.all_current(repository)
    if shutil.which("docker") is None:
        raise InputError(
            "docker is not installed; install it, or serve without --docker"
        )
    engine = subprocess.run(["docker", "info"], capture_output=True, text=True)
    if engine.returncode:
        raise InputError(
            f"the Docker engine does not answer ({engine.stderr.strip()[-200:]}); "
            "start it, or serve without --docker"
        )
    with versions.lock(repository):
        versions.repair(repository)
    build = ["docker", "build", "--tag", IMAGE, str(ROOT / "triton" / "server")]
    if code := subprocess.run(build).returncode:
        raise InputError(f"'{' '.join(build)}' ended with code {code}")
    command = run_command(repository, records, http_port, grpc_port, metrics_port)
    grpc_url, http_url = f"127.0.0.1:{grpc_port}", f"127.0.0.1:{http_port}"
    key_file = server_keys.make(repository, grpc_url)
    os.environ[server_keys.VARIABLE] = key_file.read_text(encoding="ascii").split()[0]
    metrics_url = f"http://127.0.0.1:{metrics_port}/metrics"
    running_server.write(repository, grpc_url, http_url, metrics_url)
    # In place of this process: docker gets its signals, and passes them on.
    os.execvp(command[0], command)


def run_command(
    repository: Path,
    records: list[dict],
    http_port: int,
    grpc_port: int,
    metrics_port: int,
) -> list[str]:
    """Build the ``docker run`` command: loopback ports, the repository read-only.

    Args:
        records: Of the versions that are served, one a name.
    """
    on_gpu = any(record["device"] == "gpu" for record in records)
    ports = {8000: http_port, 8001: grpc_port, 8002: metrics_port}
    command = ["docker", "run", "--rm", "--init", "--read-only"]
    command += ["--cap-drop=ALL", "--security-opt=no-new-privileges"]
    command += [f"--tmpfs={folder}" for folder in WRITABLE]
    command.append("--log-driver=local")  # which does not grow without bound
    command.append(f"--env={server_keys.VARIABLE}")  # its value is not in sight
    # Python models and server exchange tensors through it; Docker's 64 MB are few
    command.append("--shm-size=1g")
    command.append(f"--memory={MEMORY}")
    command += ["--gpus=all"] if on_gpu else []
    for inside, host in ports.items():
        command.append(f"--publish=127.0.0.1:{host}:{inside}")
    command += [f"--volume={repository.resolve()}:/models:ro", IMAGE]
    # with more than there are cores, time goes into switching
    return [*command, f"--http-thread-count={default_instances()}"]
