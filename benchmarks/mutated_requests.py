"""Malformed requests beside innocent ones: does the server stay, are these answered?

    scripts/bench reliability requests [--requests 1000] [--seed 0]

Sends requests that are broken in twenty-odd ways, by HTTP and by gRPC, from several
connections at once, while two clients ask for the letters of whole photographs, and
counts how each kind was answered. Bad is a server that has ended, has answered a
stranger who wanted to change it, or has not answered an innocent request rightly. The
same seed sends the same requests.
"""

import collections
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import cv2
import grpc
import numpy as np

from benchmarks.broken_requests import (
    CLOSED_METHODS,
    GRPC,
    HTTP,
    KINDS,
    UNPACKED,
    broken_photograph,
    closed_calls,
    compressed,
    message,
    mutated_bytes,
)
from data_prep.errors import InputError
from pipelines.serving.client import TritonClient

TIMEOUT_S = 20
SENDERS = 4
SERVICE = "/inference.GRPCInferenceService/"


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
