"""Constant load on a server, from programs in C: wrk for HTTP, h2load for gRPC.

A client in Python would take more of the cores than the server's own work. Requests are
made beforehand, byte for byte; the programs only send them and wait for the answers,
with `CLIENTS` connections that are always busy.
"""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tritonclient.grpc import service_pb2

from data_prep.errors import InputError

CLIENTS = 8
PROGRAMS = {"wrk": "wrk", "h2load": "nghttp2-client"}  # and their Debian packages
GRPC_METHOD = "/inference.GRPCInferenceService/ModelInfer"
GRPC_PREFIX = 5  # bytes before a message: whether compressed, and its length

# What wrk runs: send the requests named in a file, in turn; print the outcome as JSON.
SCRIPT = """
local requests, sent = {}, 0
function init(arguments)
  for path in io.lines(arguments[1]) do
    local file = assert(io.open(path, "rb"))
    requests[#requests + 1] = file:read("*a")
    file:close()
  end
end
function request()
  sent = sent + 1
  return requests[sent % #requests + 1]
end
function done(summary, latency)
  local failed = summary.errors
  io.write(string.format(
    '\\n{"done": %d, "seconds": %f, "failed": %d, "p50": %f, "p99": %f}\\n',
    summary.requests, summary.duration / 1e6, failed.connect + failed.read
    + failed.write + failed.status + failed.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
"""


@dataclass(frozen=True)
class Outcome:
    """What a contestant reached in one measurement.

    Attributes:
        rate: Images a second.
        cpu: Processor time an image, in all processes and the client's, ms.
        p50, p99: From a request to its answer, ms.
    """

    rate: float
    cpu: float
    p50: float
    p99: float


def check_programs() -> None:
    """Look for the programs that send requests.

    Raises:
        InputError: One is not installed.
    """
    for program, package in PROGRAMS.items():
        if not shutil.which(program):
            raise InputError(
                f"{program} is missing; install it (Debian: apt-get install {package})"
            )


def http_request(host: str, path: str, body: bytes, headers: dict[str, str]) -> bytes:
    """Make the bytes of a POST."""
    lines = [f"POST {path} HTTP/1.1", f"Host: {host}"]
    lines += [f"{key}: {value}" for key, value in headers.items()]
    lines += [f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


def triton_http(host: str, model: str, photograph: bytes) -> bytes:
    """Ask a model for the letter, by HTTP with the extension for binary tensors."""
    data = len(photograph).to_bytes(4, "little") + photograph
    image = {"name": "image", "shape": [1, 1], "datatype": "BYTES"}
    image["parameters"] = {"binary_data_size": len(data)}
    letter = {"name": "probabilities"}
    letter["parameters"] = {"classification": 1, "binary_data": True}
    head = json.dumps({"inputs": [image], "outputs": [letter]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    return http_request(host, f"/v2/models/{model}/infer", head + data, headers)


def triton_grpc(model: str, image: bytes | np.ndarray, region: str = "") -> bytes:
    """Ask a model for the letter, by gRPC.

    Args:
        image: Encoded, or ``(H, W, 3)`` uint8.
        region: Of shared memory where the pixels lie; "" sends them.
    """
    encoded = isinstance(image, bytes)
    data = len(image).to_bytes(4, "little") + image if encoded else image.tobytes()
    request = service_pb2.ModelInferRequest(model_name=model)
    tensor = request.inputs.add(name="image", datatype="BYTES" if encoded else "UINT8")
    tensor.shape.extend([1, 1] if encoded else [1, *image.shape])
    if region:
        tensor.parameters["shared_memory_region"].string_param = region
        tensor.parameters["shared_memory_byte_size"].int64_param = len(data)
    else:
        request.raw_input_contents.append(data)
    letter = request.outputs.add(name="probabilities")
    letter.parameters["classification"].int64_param = 1
    message = request.SerializeToString()
    return len(message).to_bytes(GRPC_PREFIX, "big") + message


def load_http(
    host: str, requests: list[bytes], seconds: int, cpu: Callable[[], float]
) -> Outcome:
    """Send requests in turn by HTTP.

    Args:
        host: ``host:port``.
        cpu: Tells the processor seconds the server has had so far.

    Raises:
        InputError: A request failed.
    """
    with tempfile.TemporaryDirectory(prefix="asl-bench-") as name:
        folder = Path(name)
        paths = [folder / f"request-{number}" for number in range(len(requests))]
        for path, request in zip(paths, requests):
            path.write_bytes(request)
        (folder / "list").write_text("".join(f"{path}\n" for path in paths))
        (folder / "script.lua").write_text(SCRIPT)
        command = ["wrk", "-t1", f"-c{CLIENTS}", f"-d{seconds}s", "--timeout=10s"]
        command += ["-s", f"{folder}/script.lua", f"http://{host}/", "--"]
        text, used = run([*command, f"{folder}/list"], cpu)
    result = json.loads(text.splitlines()[-1])
    done = result["done"]
    check_failures(result["failed"], done, host)
    return Outcome(
        done / result["seconds"], 1e3 * used / done, result["p50"], result["p99"]
    )


def load_grpc(
    host: str, request: bytes, seconds: int, cpu: Callable[[], float]
) -> Outcome:
    """Send one request again and again by gRPC, for about as long; see `load_http`.

    Whether answers are errors is for the caller to find out: gRPC says so where h2load
    does not look.
    """
    # A number of requests instead of a time, found by a short trial. After a time it
    # would leave requests unanswered, and Triton 24.10 can crash when clients do that.
    trial, _ = send_grpc(host, request, 10 * CLIENTS, cpu)
    starts, times = trial
    count = round(seconds * len(times) / ((starts + times).max() - starts.min()))
    (starts, times), used = send_grpc(host, request, max(count, 10 * CLIENTS), cpu)
    p50, p99 = 1e3 * np.percentile(times, [50, 99])
    return Outcome(
        rate=len(times) / float((starts + times).max() - starts.min()),
        cpu=1e3 * used / len(times),
        p50=float(p50),
        p99=float(p99),
    )


def send_grpc(
    host: str, request: bytes, count: int, cpu: Callable[[], float]
) -> tuple[tuple[np.ndarray, np.ndarray], float]:
    """Send ``count`` requests.

    Returns:
        When each was sent and how long it took, seconds; and what `run` says.
    """
    with tempfile.TemporaryDirectory(prefix="asl-bench-") as name:
        path, log = Path(name, "request"), Path(name, "log")
        path.write_bytes(request)
        command = ["h2load", "-t1", f"-c{CLIENTS}", "-m1", f"-n{count}"]
        command += ["-H", "content-type: application/grpc", "-H", "te: trailers"]
        command += [f"--data={path}", f"--log-file={log}"]
        _, used = run([*command, f"http://{host}{GRPC_METHOD}"], cpu)
        starts, statuses, times = np.loadtxt(log, ndmin=2).reshape(-1, 3).T
    check_failures(count - int((statuses == 200).sum()), count, host)
    return (starts / 1e6, times / 1e6), used


def run(command: list[str], cpu: Callable[[], float]) -> tuple[str, float]:
    """Run a client.

    Returns:
        What it printed, and the processor seconds that it and the server took.

    Raises:
        InputError: It failed.
    """
    before, server = os.times(), cpu()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        words = " ".join((done.stderr or done.stdout).split())
        raise InputError(f"{command[0]} failed: {words[-200:]}")
    after = os.times()
    client = (
        after.children_user
        + after.children_system
        - before.children_user
        - before.children_system
    )
    return done.stdout, cpu() - server + client


def check_failures(failed: int, done: int, host: str) -> None:
    if failed or not done:
        raise InputError(f"{failed} of {done} requests to {host} failed; see its log")


def cpu_of(pid: int) -> float:
    """Processor seconds that a process and those under it have had so far."""
    parents, ticks = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            # behind the name, which may hold anything: state, parent, ...
            values = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        process = int(path.parent.name)
        parents[process] = int(values[1])
        ticks[process] = sum(map(int, values[11:15]))  # and of children that ended

    def under(process: int) -> bool:
        return process == pid or (process in parents and under(parents[process]))

    return sum(ticks[x] for x in ticks if under(x)) / os.sysconf("SC_CLK_TCK")
