"""Malformed requests beside innocent ones: does the server stay, are these answered?

    scripts/bench reliability requests [--requests 1000] [--seed 0]

Sends requests that are broken in twenty-odd ways, by HTTP and by gRPC, from several
connections at once, while two clients ask for the letters of whole photographs, and
counts how each kind was answered. Bad is a server that has ended, has answered a
stranger who wanted to change it, or has not answered an innocent request rightly. The
same seed sends the same requests.
"""

import collections
import json
import random
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import cv2
import grpc
import numpy as np
from tritonclient.grpc import service_pb2

from benchmarks.serve_load import GRPC_PREFIX, http_request, triton_grpc, triton_http
from data_prep.errors import InputError
from pipelines.repository.model_config import MODEL
from pipelines.serving.client import TritonClient

TIMEOUT_S = 20
SENDERS = 4
UNPACKED = 4 << 20  # of compressed requests; more would be a test of the memory
HTTP, GRPC, WIRE = "HTTP", "gRPC", "HTTP/2"
SERVICE = "/inference.GRPCInferenceService/"
HEAD_LENGTH = "Inference-Header-Content-Length"
ODD_NUMBERS = (0, -1, 2**31, 2**32, 2**63 - 1, -(2**63), 10**30, 0.5, 1e308)
ODD_VALUES = (*ODD_NUMBERS, None, True, "", "1", [], {}, [[1]], "\0", "x" * 70000)
ODD_TYPES = ("", "bytes", "UINT8", "FP16", "BF16", "BOOL", "INT64", "X" * 5000)
# What a stranger must not be answered.
CLOSED = ("repository/index", "repository/models/asl/load", "logging", "trace/setting")
CLOSED_METHODS = ("RepositoryIndex", "RepositoryModelUnload", "LogSettings")


# How requests are broken: each makes the bytes of one, out of a right one. --------


def mutated_bytes(chance: random.Random, data: bytes, most: int = 12) -> bytes:
    """Change, drop, double or insert a few bytes, or cut the end off."""
    data = bytearray(data)
    for _ in range(chance.randint(1, most)):
        at = chance.randrange(len(data) or 1)
        length = chance.choice((1, 1, 2, 8, 64))
        how = chance.choice("change change drop double insert cut".split())
        if how == "cut":
            del data[max(at, 1) :]
        elif how == "drop":
            del data[at : at + length]
        elif how == "double":
            data[at:at] = data[at : at + length]
        else:
            end = at + length if how == "change" else at
            data[at:end] = chance.randbytes(length)
    return bytes(data)


def parts(photograph: bytes) -> tuple[dict, bytes]:
    """A right HTTP request's header and binary data."""
    head, _, body = triton_http("", MODEL, photograph).partition(b"\r\n\r\n")
    length = int(head.decode().partition(f"{HEAD_LENGTH}: ")[2].split()[0])
    return json.loads(body[:length]), body[length:]


def infer(head: dict | bytes, data: bytes, path=f"/v2/models/{MODEL}/infer", **headers):
    head = head if isinstance(head, bytes) else json.dumps(head).encode()
    headers = {HEAD_LENGTH: str(len(head)), **headers}
    return http_request("localhost", path, head + data, headers)


def odd_place(chance: random.Random, value):
    """Replace something, anywhere in a JSON value, by something odd; or drop it."""
    if isinstance(value, dict) and value and chance.random() < 0.85:
        key = chance.choice(sorted(value))
        changed = dict(value)
        if chance.random() < 0.15:
            del changed[key]
        else:
            changed[key] = odd_place(chance, value[key])
        return changed
    if isinstance(value, list) and value and chance.random() < 0.7:
        changed = list(value)
        at = chance.randrange(len(value))
        changed[at] = odd_place(chance, value[at])
        return changed
    return chance.choice(ODD_VALUES)


def broken_photograph(chance, photograph):
    return triton_http("localhost", MODEL, mutated_bytes(chance, photograph))


def odd_json_values(chance, photograph):
    head, data = parts(photograph)
    return infer(odd_place(chance, head), data)


def broken_json(chance, photograph):
    head, data = parts(photograph)
    return infer(mutated_bytes(chance, json.dumps(head).encode(), 4), data)


def deep_json(chance, photograph):
    depth = chance.choice((100, 10_000, 50_000))
    opening, closing = chance.choice((("[", "]"), ('{"a":', "}"), ('{"inputs":[', "")))
    return infer((opening * depth + closing * depth).encode(), b"")


def long_json_tensor(chance, photograph):
    pixels = [chance.choice((0, 255, 256, -1, 1e9, "1", None))] * 32 * 32 * 3
    shape = chance.choice(([1, 32, 32, 3], [3072], [-1, 32, 32, 3], [1 << 20, 3]))
    tensor = {"name": "image", "datatype": "UINT8", "shape": shape, "data": pixels}
    path = "/v2/models/asl_classifier/infer"
    body = json.dumps({"inputs": [tensor]}).encode()
    return http_request("localhost", path, body, {})


def deepest_json(chance, photograph):
    return infer(b"[" * 200_000, b"")


def largest_shape(chance, photograph):
    tensor = {"name": "image", "datatype": "UINT8", "shape": [1 << 40, 3], "data": [0]}
    path = "/v2/models/asl_classifier/infer"
    return infer(json.dumps({"inputs": [tensor]}).encode(), b"", path=path)


def odd_lengths(chance, photograph):
    """Tensors and heads that claim to be as long as they are not."""
    head, data = parts(photograph)
    if chance.random() < 0.5:
        size = chance.choice(ODD_NUMBERS)
        head["inputs"][0]["parameters"]["binary_data_size"] = size
        return infer(head, data)
    return infer(head, data, **{HEAD_LENGTH: str(chance.choice(ODD_VALUES))[:100]})


def short_element(chance, photograph):
    """A photograph that claims to be longer than what is there."""
    head, data = parts(photograph)
    word = chance.choice((2**31, 2**32 - 1, len(data) - 3)).to_bytes(4, "little")
    return infer(head, word + data[4:])


def odd_body_length(chance, photograph):
    request = triton_http("localhost", MODEL, photograph)
    head, _, body = request.partition(b"\r\n\r\n")
    length = chance.choice(("0", "-1", "9" * 20, "0x10", "", str(len(body) + 100), "1"))
    head = head.replace(b"Content-Length: %d" % len(body), b"")
    return head.rstrip() + f"\r\nContent-Length: {length}\r\n\r\n".encode() + body


def broken_chunks(chance, photograph):
    head, data = parts(photograph)
    text = json.dumps(head).encode()
    size = chance.choice((b"%x" % len(text), b"ffffffffffffffff", b"-1", b"zz", b"0"))
    start = f"POST /v2/models/{MODEL}/infer HTTP/1.1\r\nHost: localhost\r\n"
    start += (
        f"Transfer-Encoding: {chance.choice(('chunked', 'chunked, chunked', 'x'))}\r\n"
    )
    start += chance.choice(("", "Content-Length: 5\r\n")) + "\r\n"
    return start.encode() + size + b"\r\n" + text + b"\r\n0\r\n\r\n"


def odd_path(chance, photograph):
    path = chance.choice(
        (
            "/v2/models//infer",
            "/v2/models/%00/infer",
            "/v2/models/asl/versions/-1/infer",
        )
        + ("/v2/models/asl/versions/99999999999999999999/infer", "/" + "a" * 70000)
        + ("/v2/models/../../etc/passwd", "/v2/models/asl/infer/infer", "*", "")
        + ("/v2/models/" + "b" * 5000 + "/infer", "/v2/models/asl_fused_1/generate")
    )
    return infer(*parts(photograph), path=path)


def broken_start(chance, photograph):
    request = triton_http("localhost", MODEL, photograph)
    head, _, body = request.partition(b"\r\n\r\n")
    return mutated_bytes(chance, head, 6) + b"\r\n\r\n" + body


def odd_headers(chance, photograph):
    name = chance.choice(
        ("X", "Cookie", "Content-Type", "Expect", "Connection", "Host")
    )
    value = chance.choice(("x" * 100_000, "100-continue", "", "a\x01b", "close, close"))
    return infer(*parts(photograph), **{name: value})


def garbage(chance, photograph):
    return chance.randbytes(chance.choice((1, 10, 1000, 100_000)))


def compressed(chance, photograph):
    kind = chance.choice(("gzip", "deflate", "br", "gzip, gzip", "identity"))
    packer = zlib.compressobj(9, zlib.DEFLATED, 31 if "gzip" in kind else 15)
    data = packer.compress(bytes(UNPACKED)) + packer.flush()
    data = mutated_bytes(chance, data) if chance.random() < 0.5 else data
    return infer(b"", data, **{"Content-Encoding": kind})


def shared_memory(chance, photograph):
    head, _ = parts(photograph)
    region = {"shared_memory_region": chance.choice(("x", "", "../x", "asl_triton"))}
    region["shared_memory_byte_size"] = chance.choice((0, 64, 2**63 - 1))
    region["shared_memory_offset"] = chance.choice((0, 2**63 - 1))
    head["inputs"][0]["parameters"] = region
    return infer(head, b"")


def closed_calls(chance, photograph):
    body = json.dumps({"parameters": {"config": "{}", "file:1/model.py": "AAAA"}})
    key = {"asl-key": chance.choice(("", "0" * 64, "\xe9" * 64))}
    return http_request("localhost", f"/v2/{chance.choice(CLOSED)}", body.encode(), key)


def message(photograph: bytes) -> bytes:
    return triton_grpc(MODEL, photograph)[GRPC_PREFIX:]


def broken_message(chance, photograph):
    data = message(photograph)
    at = chance.choice((len(data), 120))  # the fields come before the photograph
    return mutated_bytes(chance, data[:at], 6) + data[at:]


def odd_message(chance, photograph):
    request = service_pb2.ModelInferRequest.FromString(message(photograph))
    tensor, output = request.inputs[0], request.outputs[0]
    numbers = [x for x in ODD_NUMBERS if isinstance(x, int) and abs(x) < 2**63]
    for _ in range(chance.randint(1, 3)):
        what = chance.randrange(9)
        if what == 0:
            tensor.shape[:] = chance.choices(numbers, k=chance.choice((0, 1, 2, 5000)))
        elif what == 1:
            tensor.datatype = chance.choice(ODD_TYPES)
        elif what == 2:
            tensor.name = output.name = chance.choice(("", "x" * 70000, "\0"))
        elif what == 3:
            request.raw_input_contents.append(b"\xff" * chance.choice((0, 4, 5000)))
        elif what == 4:
            tensor.contents.bytes_contents.append(photograph[:100])
        elif what == 5:
            output.parameters["classification"].int64_param = chance.choice(numbers)
        elif what == 6:
            name = chance.choice(("priority", "timeout", "sequence_id", "sequence_end"))
            request.parameters[name].int64_param = chance.choice(numbers)
        elif what == 7:
            request.model_version = chance.choice(("-1", "x", "9" * 30))
        else:
            tensor.parameters["shared_memory_region"].string_param = "x"
    return request.SerializeToString()


def random_message(chance, photograph):
    return chance.randbytes(chance.choice((0, 1, 100, 100_000)))


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def broken_frames(chance, photograph):
    frames = b""
    for _ in range(chance.randint(1, 50)):
        body = chance.randbytes(chance.choice((0, 4, 6, 100)))
        length = chance.choice((len(body), 0, 2**24 - 1)).to_bytes(3, "big")
        kind = bytes([chance.randrange(12), chance.randrange(256)])
        frames += length + kind + chance.randrange(2**31).to_bytes(4, "big") + body
    return chance.choice((PREFACE, PREFACE[:-3], b"")) + frames


KINDS = (
    *((HTTP, x) for x in (broken_photograph, odd_json_values, broken_json, deep_json)),
    *((HTTP, x) for x in (long_json_tensor, odd_lengths, odd_body_length, odd_path)),
    *((HTTP, x) for x in (broken_chunks, broken_start, odd_headers, garbage)),
    *((HTTP, x) for x in (compressed, shared_memory, closed_calls)),
    *((GRPC, x) for x in (broken_photograph, broken_message, odd_message)),
    *((GRPC, x) for x in (random_message, compressed, closed_calls)),
    *((WIRE, x) for x in (broken_frames, garbage)),
)
# What Triton 24.10 does not stand: the first two end it, the third costs the requests
# that were batched with it. See "What reaching a port allows" in triton/README.md.
HARMFUL = ((HTTP, deepest_json), (HTTP, largest_shape), (HTTP, short_element))


# How they are sent, and what comes of it. -----------------------------------------


@dataclass
class Result:
    """What `run` has seen.

    Attributes:
        answers: By kind of request, how many were answered how.
        opened: Closed calls that were answered; there should be none.
        asked: Innocent requests; wrong, failed: those of them.
        slowest: The longest that an innocent one took, in seconds.
        alive: Whether the server classifies afterwards.
        interrupted: Whether not all were sent, as Ctrl-C was pressed.
    """

    answers: dict[str, collections.Counter] = field(default_factory=dict)
    opened: int = 0
    asked: int = 0
    wrong: int = 0
    failed: list[str] = field(default_factory=list)
    slowest: float = 0.0
    alive: bool = False
    interrupted: bool = False

    @property
    def good(self) -> bool:
        return self.alive and not (self.wrong or self.failed or self.opened)


def run(
    http_url: str,
    grpc_url: str,
    photographs: list[bytes],
    count: int = 1000,
    seed: int = 0,
    say: Callable[[str], None] = lambda text: None,
    kinds=KINDS,
) -> Result:
    """Send malformed requests to a server while innocent ones are answered.

    Args:
        http_url, grpc_url: ``host:port``.
        photographs: Encoded, small; what the server answers before counts as right.
        count: Malformed requests; each kind has its share.
        say: Is told of the progress, now and then.
        kinds: How the requests are broken.

    Raises:
        InputError: The server does not serve the model.
    """
    result = Result()
    urls = {"http": http_url, "grpc": grpc_url}
    with TritonClient(grpc_url) as by_grpc, grpc.insecure_channel(grpc_url) as channel:
        right = by_grpc(photographs)

        def send(number: int) -> None:
            chance = random.Random(f"{seed} {number}")
            door, kind = kinds[number % len(kinds)]
            photograph = photographs[number % len(photographs)]
            if door == GRPC:
                outcome = send_message(channel, kind, chance, photograph)
            else:
                url = http_url if door == HTTP else grpc_url
                outcome = send_bytes(url, kind(chance, photograph))
            name = f"{door} {kind.__name__.replace('_', ' ')}"
            result.answers.setdefault(name, collections.Counter())[outcome] += 1
            result.opened += kind is closed_calls and outcome in ("200", "OK")
            if number and number % 250 == 0:
                say(f"{number} of {count} malformed requests, {result.asked} innocent")

        try:
            with innocents(urls, photographs, right, result):
                with ThreadPoolExecutor(SENDERS) as pool:
                    list(pool.map(send, range(count)))
        except KeyboardInterrupt:
            result.interrupted = True
        try:
            result.alive = is_right(by_grpc(photographs), right)
        except InputError as error:
            result.failed.append(str(error))
    return result


@contextmanager
def innocents(urls, photographs, right, result: Result) -> Iterator[None]:
    """Ask for whole photographs until the end of the block; count in ``result``.

    A client a protocol; a client library must not be used by two threads.
    """
    ended, lock = threading.Event(), threading.Lock()

    def ask_on(protocol: str) -> None:
        with TritonClient(urls[protocol], protocol) as ask:
            while not ended.wait(0.01):
                start = time.monotonic()
                try:
                    wrong, failed = not is_right(ask(photographs), right), []
                except InputError as error:
                    wrong, failed = False, [str(error)]
                with lock:
                    result.asked += 1
                    result.wrong += wrong
                    result.slowest = max(result.slowest, time.monotonic() - start)
                    result.failed += failed

    threads = [threading.Thread(target=ask_on, args=[protocol]) for protocol in urls]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def is_right(answers: np.ndarray, right: np.ndarray) -> bool:
    return answers.shape == right.shape and bool(np.allclose(answers, right, atol=1e-4))


def send_bytes(url: str, data: bytes) -> str:
    """Send bytes as they are; return the HTTP status, or what else came of it."""
    host, _, port = url.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), TIMEOUT_S) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(1 << 16)
    except TimeoutError:
        return "no answer"
    except OSError:
        return "closed"
    if answer.startswith(b"HTTP/1."):
        return answer.split()[1].decode("ascii", "replace")
    return "other" if answer else "closed"


def send_message(channel, kind, chance: random.Random, photograph: bytes) -> str:
    """Send a message by gRPC; return the status of the answer."""
    method, compression, data = "ModelInfer", None, b""
    if kind is closed_calls:
        method = chance.choice(CLOSED_METHODS)
    elif kind is compressed:
        compression, data = grpc.Compression.Gzip, message(photograph) + bytes(UNPACKED)
    elif kind is broken_photograph:
        data = message(mutated_bytes(chance, photograph))
    else:
        data = kind(chance, photograph)
    call = channel.unary_unary(SERVICE + method)
    try:
        call(data, timeout=TIMEOUT_S, compression=compression)
    except grpc.RpcError as error:
        return error.code().name
    return "OK"


def table(result: Result) -> str:
    """Say what was seen, as a table of Markdown and a line."""
    lines = ["| malformed requests | sent | answered |", "|---|---|---|"]
    for kind in sorted(result.answers):
        counts = result.answers[kind].most_common()
        answers = ", ".join(f"{number} x {answer}" for answer, number in counts)
        lines.append(f"| {kind} | {result.answers[kind].total()} | {answers} |")
    total = sum(counts.total() for counts in result.answers.values())
    lines += [
        "",
        f"{'interrupted: ' if result.interrupted else ''}{total} malformed requests, "
        f"{result.opened} closed calls answered; beside "
        f"them {result.asked} innocent ones, {result.wrong} answered wrongly, "
        f"{len(result.failed)} failed, the slowest in {result.slowest:.2f} s; "
        f"the server {'goes on' if result.alive else 'HAS ENDED'}",
    ]
    return "\n".join(lines + sorted(set(result.failed))[:5])


def pictures(count: int = 4) -> list[bytes]:
    """Blurred noise, as small JPEGs and PNGs."""
    noise = np.random.default_rng(0)
    made = []
    for number in range(count):
        pixels = noise.integers(0, 256, (60, 80, 3), np.uint8)
        kind = (".jpg", ".png")[number % 2]
        made.append(cv2.imencode(kind, cv2.blur(pixels, (9, 9)))[1].tobytes())
    return made
