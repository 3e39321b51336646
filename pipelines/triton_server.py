"""The real tritonserver, embedded: started on a model repository, stopped in any case.

    with TritonServer(repository) as server:
        ... server.grpc_url, server.http_url ...

The binary comes from the nvidia-pytriton wheel in the serving environment
(``.venv-serving``), release 24.10, with our Python backend of the name "onnxruntime".
It listens on 127.0.0.1 only.
"""

import ctypes
import functools
import hashlib
import json
import os
import platform
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from data_prep.errors import InputError
from data_prep.paths import ROOT, data_home
from pipelines import model_control, model_repository

SERVING_PYTHON = ROOT / ".venv-serving" / "bin" / "python"
ONNXRUNTIME_BACKEND = (
    ROOT / "triton" / "server" / "backends" / "onnxruntime" / "model.py"
)
HOST = "127.0.0.1"
# Idle keep-alive connections hold the server this long after SIGTERM.
EXIT_TIMEOUT_S = 5
START_TIMEOUT_S = 120
SHM = Path("/dev/shm")
SHM_PREFIX = "asl_triton_"

# Run by the serving environment's Python: what the launcher must know of it.
DESCRIBE = """
import importlib.metadata, importlib.util, json, sys, sysconfig
found = {"python": "%d.%d" % sys.version_info[:2],
         "shared": bool(sysconfig.get_config_var("Py_ENABLE_SHARED")),
         "libdir": sysconfig.get_config_var("LIBDIR")}
for name in ("numpy", "onnxruntime", "opencv-python-headless", "nvidia-pytriton"):
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        found[name] = None
spec = importlib.util.find_spec("pytriton")
found["pytriton"] = spec and spec.submodule_search_locations[0]
print(json.dumps(found))
"""


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
        repository: As `model_repository.render` writes it.
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
        self.process = None

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
        model_repository.current(self.repository)  # is there anything to serve?
        serving = serving_environment()
        remove_stale_shared_memory()
        self.state.mkdir(parents=True, exist_ok=True)
        command = self.command(serving)
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.state,
                env=process_environment(serving),
                start_new_session=True,  # Ctrl-C reaches us alone; we stop it
                preexec_fn=functools.partial(_end_with_parent, os.getpid()),
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def command(self, serving: dict) -> list[str]:
        """Build the command line."""
        package = Path(serving["pytriton"]) / "tritonserver"
        http_port, grpc_port, metrics_port = self.ports
        return [
            str(package / "bin" / "tritonserver"),
            f"--model-repository={self.repository.resolve()}",
            "--model-control-mode=explicit",
            "--load-model=*",
            f"--backend-directory={backend_directory(serving, self.state)}",
            f"--backend-config=python,shm-region-prefix-name={self.shm_prefix}",
            f"--cache-directory={package / 'caches'}",
            f"--http-address={HOST}",
            f"--http-port={http_port}",
            f"--grpc-address={HOST}",
            f"--grpc-port={grpc_port}",
            f"--metrics-address={HOST}",
            f"--metrics-port={metrics_port}",
            f"--exit-timeout-secs={EXIT_TIMEOUT_S}",
        ]

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
            socket.create_connection((HOST, self.ports[1]), timeout=1).close()
        except OSError as error:
            return str(error)
        return model_control.probe(self.grpc_url)

    def stop(self) -> None:
        """Let running requests finish, then end the server; leave nothing behind."""
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


def serving_environment() -> dict:
    """Describe the environment of the embedded server, having checked it.

    Raises:
        InputError: It is missing, or what it holds would not serve correctly.
    """
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise InputError(
            f"the embedded tritonserver runs on Linux x86_64, this is "
            f"{platform.system()} {platform.machine()}; use scripts/serve --docker"
        )
    remedy = "run scripts/setup serving"
    if not SERVING_PYTHON.exists():
        raise InputError(f"the serving environment is missing; {remedy}")
    answer = subprocess.run(
        [SERVING_PYTHON, "-I", "-c", DESCRIBE], capture_output=True, text=True
    )
    if answer.returncode:
        raise InputError(
            f"{SERVING_PYTHON} does not start ({answer.stderr.strip()[-200:]}); "
            f"delete {SERVING_PYTHON.parent.parent}, then {remedy}"
        )
    found = json.loads(answer.stdout)
    for name in ("nvidia-pytriton", "numpy", "onnxruntime", "opencv-python-headless"):
        if found[name] is None:
            raise InputError(f"the serving environment lacks {name}; {remedy}")
    if int(found["numpy"].split(".")[0]) >= 2:
        # tensors would arrive wrong, without any error
        raise InputError(
            f"the serving environment has numpy {found['numpy']}, this tritonserver "
            f"needs one below 2; {remedy}"
        )
    if not found["shared"]:
        raise InputError(
            f"Python {found['python']} of the serving environment has no shared "
            "libpython, which tritonserver needs; make it with another one: "
            f"delete {SERVING_PYTHON.parent.parent}, set PYTHON, {remedy}"
        )
    return found


def process_environment(serving: dict) -> dict[str, str]:
    """Build the variables that make Triton's Python stubs use our environment."""
    variables = {
        key: value
        for key, value in os.environ.items()
        if key not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    }
    variables["PATH"] = f"{SERVING_PYTHON.parent}:{os.environ.get('PATH', os.defpath)}"
    libraries = [serving["libdir"], os.environ.get("LD_LIBRARY_PATH")]
    variables["LD_LIBRARY_PATH"] = ":".join(filter(None, libraries))
    return variables


def backend_directory(serving: dict, state: Path) -> Path:
    """Make the directory of backends if it is not there: "python" and "onnxruntime".

    The name carries a hash of all that goes in, so servers can share one.
    """
    package = Path(serving["pytriton"]) / "tritonserver"
    stub = Path(
        package, "python_backend_stubs", serving["python"], "triton_python_backend_stub"
    )
    if not stub.exists():
        raise InputError(
            f"nvidia-pytriton has nothing for Python {serving['python']}; make the "
            "serving environment with Python 3.11"
        )
    source = ONNXRUNTIME_BACKEND.read_bytes()
    made_of = f"{package}\n{serving['nvidia-pytriton']}\n{stub}\n".encode() + source
    folder = state / f"backends-{hashlib.sha256(made_of).hexdigest()[:12]}"
    if folder.exists():
        return folder
    with tempfile.TemporaryDirectory(dir=state, prefix=".backends-") as temporary:
        staged = Path(temporary) / folder.name
        python = staged / "python"
        python.mkdir(parents=True)
        # The library must be a copy: Triton refuses a link for Python-based backends.
        # The stub must be a link: it finds its own libraries beside the original.
        for name in ("libtriton_python.so", "triton_python_backend_utils.py"):
            shutil.copy(package / "backends" / "python" / name, python / name)
        (python / stub.name).symlink_to(stub)
        (staged / "onnxruntime").mkdir()
        (staged / "onnxruntime" / "model.py").write_bytes(source)
        try:
            os.rename(staged, folder)
        except OSError:  # another server was faster
            if not folder.exists():
                raise
    return folder


def pick_ports(*wanted: int) -> list[int]:
    """Replace each 0 by a free port; check that the others are free.

    Raises:
        InputError: A wanted port is in use.
    """
    # All are held until the last is found, so that no two are the same.
    holders, ports = [], []
    try:
        for port in wanted:
            holder = socket.socket()
            holders.append(holder)
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                holder.bind((HOST, port))
            except (OSError, OverflowError) as error:
                raise InputError(
                    f"port {port} cannot be used ({error}); stop what uses it or "
                    "choose another one"
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
    errors = [line for line in lines if line.startswith(("E", "error:"))]
    return " | ".join((errors or lines)[-count:]) or "it said nothing"


def remove_shared_memory(prefix: str) -> None:
    for path in SHM.glob(f"{prefix}*"):
        path.unlink(missing_ok=True)


def remove_stale_shared_memory() -> None:
    """Remove what servers left whose starters were killed."""
    for path in SHM.glob(f"{SHM_PREFIX}*"):
        starter = path.name[len(SHM_PREFIX) :].partition("_")[0]
        if starter.isdecimal() and not Path("/proc", starter).exists():
            path.unlink(missing_ok=True)


def _end_with_parent(parent: int) -> None:
    """In the child: be told to end when the parent does, even if that is killed."""
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)
