"""The real tritonserver, embedded: started on a model repository, stopped in any case.

    with TritonServer(repository) as server:
        ... server.grpc_url, server.http_url ...

The binary comes from the nvidia-pytriton wheel in the serving environment
(``.venv-serving``), release 24.10, with our Python backend of the name "onnxruntime".
It listens on 127.0.0.1 only.
"""

import contextlib
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from data_prep.errors import InputError
from data_prep.paths import ROOT, data_home
from pipelines.repository import versions
from pipelines.repository.layout import deployed_names, served_names
from pipelines.repository.model_config import default_instances
from pipelines.serving import (
    model_control,
    model_processes,
    server_keys,
    serving_environment,
)
from pipelines.serving.bounded_log import bounded

HOST = "127.0.0.1"
# The image starts the same way: with a key on all that is not inference.
LAUNCH = ROOT / "triton/server/launch.py"
# Idle keep-alive connections hold the server this long after SIGTERM.
EXIT_TIMEOUT_S = 5
START_TIMEOUT_S = 120
CACHE_BYTES = 64 << 20  # for answers of models deployed with --cache
SHM = Path("/dev/shm")
SHM_PREFIX = "asl_triton_"


class TritonServer:
    """A tritonserver process on one repository, in explicit model control.

    It ends with the thread that started it, however that ends. A context manager;
    entering starts it and returns once the models answer.

    Attributes:
        http_url, grpc_url: ``host:port``, as tritonclient takes them.
        metrics_url: Of the Prometheus metrics, a whole URL.
        log_path: Where everything the server says is written.
        process: The running ``subprocess.Popen``, None before and after.

    Args:
        repository: As `versions.render` writes it.
        http_port, grpc_port, metrics_port: 0: any free one.
    """

    def __init__(
        self,
        repository: Path,
        http_port: int = 0,
        grpc_port: int = 0,
        metrics_port: int = 0,
    ):
        self.repository = Path(repository)
        self.ports = pick_ports(http_port, grpc_port, metrics_port)
        self.http_url, self.grpc_url, metrics = (f"{HOST}:{x}" for x in self.ports)
        self.metrics_url = f"http://{metrics}/metrics"
        self.state = data_home() / "triton"
        self.log_path = self.state / f"server-{self.ports[0]}.log"
        self.shm_prefix = f"{SHM_PREFIX}{os.getpid()}_{secrets.token_hex(4)}_"
        self.process: Any = None
        self.leftovers = contextlib.ExitStack()

    def __enter__(self) -> "TritonServer":
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self) -> None:
        """Start the server and wait until the models answer.

        Raises:
            InputError: The serving environment or the repository is not fit, or the
                server ended or did not answer; its last words are in the message.
        """
        versions.all_current(self.repository)  # is there anything to serve?
        with versions.lock(self.repository):
            versions.repair(self.repository)
        serving = serving_environment.describe()
        remove_stale_shared_memory()
        model_processes.end_orphans(self.state.resolve())
        self.state.mkdir(parents=True, exist_ok=True)
        key_file = self.leftovers.enter_context(
            server_keys.made(self.repository, self.grpc_url)
        )
        variables = serving_environment.variables(serving)
        launch = [sys.executable, str(LAUNCH), "--own-shm"]
        launch += ["--end-with", str(os.getpid())]
        if self.log_path.exists():  # of a server that may have failed
            os.replace(self.log_path, f"{self.log_path}.1")
        # Appended to, so that it can be cut while the server writes.
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [*launch, *self.command(serving)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.state,
                env=variables | {"TRITON_KEY_FILE": str(key_file.resolve())},
                start_new_session=True,  # Ctrl-C reaches us alone; we stop it
            )
        self.leftovers.enter_context(bounded(self.log_path))
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    @property
    def shared_memory(self) -> Path:
        """The server's /dev/shm, which others may not see."""
        return Path(f"/proc/{self.process.pid}/root/dev/shm")

    def command(self, serving: dict) -> list[str]:
        """Build the command line."""
        package = Path(serving["pytriton"]) / "tritonserver"
        http_port, grpc_port, metrics_port = self.ports
        backends = serving_environment.backend_directory(serving, self.state)
        deployed = deployed_names(self.repository)
        loaded = [called for name in deployed for called in served_names(name)]
        return [
            str(package / "bin" / "tritonserver"),
            f"--model-repository={self._plain(self.repository)}",
            "--model-control-mode=explicit",
            *[f"--load-model={called}" for called in loaded],
            f"--backend-directory={self._plain(backends)}",
            f"--backend-config=python,shm-region-prefix-name={self.shm_prefix}",
            f"--cache-directory={package / 'caches'}",
            f"--cache-config=local,size={CACHE_BYTES}",
            f"--http-address={HOST}",
            f"--http-port={http_port}",
            # with more than there are cores, time goes into switching
            f"--http-thread-count={default_instances()}",
            f"--grpc-address={HOST}",
            f"--grpc-port={grpc_port}",
            f"--metrics-address={HOST}",
            f"--metrics-port={metrics_port}",
            "--metrics-config=summary_latencies=true",  # quantiles, for the alerts
            f"--exit-timeout-secs={EXIT_TIMEOUT_S}",
        ]

    def _plain(self, path: Path) -> Path:
        """Give a path to the same place that Triton's Python backend can take.

        It starts its processes through a shell, without quoting anything.
        """
        path = path.resolve()
        if re.fullmatch(r"[\w/.+-]+", str(path), re.ASCII):
            return path
        folder = self.leftovers.enter_context(
            tempfile.TemporaryDirectory(prefix="asl-triton-", dir="/tmp")
        )
        link = Path(folder) / "link"
        link.symlink_to(path)
        return link

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            if self.process.poll() is not None:
                raise InputError(
                    f"tritonserver ended with code {self.process.returncode}: "
                    f"{last_words(self.log_path)}; whole log: {self.log_path}"
                )
            fault = self._fault()
            if fault is None:
                return
            if time.monotonic() > deadline:
                raise InputError(
                    f"tritonserver did not answer within {START_TIMEOUT_S} s ({fault}):"
                    f" {last_words(self.log_path)}; whole log: {self.log_path}"
                )
            time.sleep(0.1)

    def _fault(self) -> str | None:
        """Say why the server cannot be used yet; None when it can."""
        try:  # gRPC would wait longer and longer between its attempts to connect
            for port in self.ports:  # opened one after the other
                socket.create_connection((HOST, port), timeout=1).close()
        except OSError as error:
            return str(error)
        for name in deployed_names(self.repository):
            if fault := model_control.probe(self.grpc_url, name=name):
                return fault
        return None

    def stop(self) -> None:
        """Let running requests finish, then end the server; leave nothing behind."""
        with self.leftovers:
            self._end_process()

    def _end_process(self) -> None:
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(EXIT_TIMEOUT_S + 5)
        except subprocess.TimeoutExpired:
            pass
        finally:
            try:  # what is left of the server and its Python models
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.process.wait()
            self.process = None
            remove_shared_memory(self.shm_prefix)


def pick_ports(*wanted: int, host: str = HOST) -> list[int]:
    """Replace each 0 by a free port; check that the others are free.

    Raises:
        InputError: A wanted port is in use.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # All are held until the last is found, so that no two are the same.
    holders, ports = [], []
    try:
        for port in wanted:
            holder = socket.socket(family)
            holders.append(holder)
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                holder.bind((host, port))
            except (OSError, OverflowError) as error:
                raise InputError(
                    f"port {port} cannot be used at {host} ({error}); stop what uses "
                    "it or choose another one"
                ) from None
            ports.append(holder.getsockname()[1])
    finally:
        for holder in holders:
            holder.close()
    return ports


def last_words(log: Path, count: int = 3) -> str:
    """Return the last errors of a server log, or its last lines, in one line."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    lines = [line.strip() for line in lines if line.strip()]
    errors = [line for line in lines if re.match(r"E\d{4} |error:", line)]
    return " | ".join((errors or lines)[-count:]) or "it said nothing"


def remove_shared_memory(prefix: str) -> None:
    for path in SHM.glob(f"{prefix}*"):
        path.unlink(missing_ok=True)


def remove_stale_shared_memory() -> None:
    """Remove what servers left whose starters were killed."""
    for path in SHM.glob(f"{SHM_PREFIX}*"):
        starter = path.name[len(SHM_PREFIX) :].partition("_")[0]
        if starter.isdecimal() and not Path("/proc", starter).exists():
            with contextlib.suppress(PermissionError):  # another user's
                path.unlink(missing_ok=True)
