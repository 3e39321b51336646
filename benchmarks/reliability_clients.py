"""Clients that ask a server all the time, in a process of their own, and keep count.

Every answer is held against those of the versions that may answer: it must be wholly
one's. By turns they ask for probabilities and for labels, by gRPC and by HTTP.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from data_prep.errors import InputError
from pipelines.serving.client import TritonClient

TOLERANCE = 1e-4
WITHIN_S = 120  # that clients have to start and to end
# Until killed, or until whoever started it has gone.
COMPUTE = """
import os
parent = os.getppid()
while os.getppid() == parent:
    sum(range(100_000))
"""


@dataclass
class Count:
    """What became of requests.

    Attributes:
        asked: How many there were.
        wrong: Answers that are no version's.
        failed: Of each that failed: when, and why.
        slowest_s: Of the answered ones.
    """

    asked: int = 0
    wrong: int = 0
    failed: list[tuple[float, str]] = field(default_factory=list)
    slowest_s: float = 0

    def add(self, other: "Count") -> None:
        self.asked += other.asked
        self.wrong += other.wrong
        self.failed += other.failed
        self.slowest_s = max(self.slowest_s, other.slowest_s)


@contextmanager
def asking(
    urls: dict[str, str],
    files: list[bytes],
    expected: list[np.ndarray],
    labels: list[str],
    clients: int,
    busy: int = 0,
) -> Iterator[Count]:
    """Ask all the time until the end of the block; the count is complete after it.

    Args:
        urls: ``host:port`` by protocol, "grpc" and "http".
        expected: Of each version that may answer, ``(len(files), classes)``.
        labels: Of all versions.
        clients: How many ask, one after the other each.
        busy: Processes beside them that only compute, so that all wait for a core.
    """
    context = multiprocessing.get_context("spawn")
    ready, ended, counts = context.Event(), context.Event(), context.Queue()
    task = urls, files, expected, labels
    asks = context.Process(target=ask_all, args=(clients, task, ready, ended, counts))
    computing = [subprocess.Popen([sys.executable, "-c", COMPUTE]) for _ in range(busy)]
    total = Count()
    asks.start()
    try:
        if not ready.wait(WITHIN_S):
            raise InputError(f"the clients have not started within {WITHIN_S} s")
        yield total
    finally:
        ended.set()
        for process in computing:
            process.kill()
            process.wait()
        if ready.is_set():
            total.add(counts.get(timeout=WITHIN_S))
        asks.join()


def ask_all(clients: int, task, ready, ended, counts) -> None:
    """Ask from several threads until told to end; put the count into a queue."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to answer
    end_with_parent(ended)
    total = Count()
    with ThreadPoolExecutor(clients) as pool:
        running = [pool.submit(client, n, task, ready, ended) for n in range(clients)]
        for future in running:
            total.add(future.result())
    counts.put(total)


def client(number: int, task, ready, ended) -> Count:
    """Ask until told to end."""
    urls, files, expected, labels = task
    protocol = ("grpc", "http")[number % 2]
    count, turn = Count(), number
    with TritonClient(urls[protocol], protocol) as ask:
        ready.set()
        while not ended.is_set():
            which, began = turn % len(files), time.monotonic()
            try:
                if turn // len(files) % 2:
                    right = ask.labels(files[which]) == labels
                else:
                    answer = ask([files[which]])[0]
                    right = any(is_same(answer, version[which]) for version in expected)
                count.wrong += not right
                count.slowest_s = max(count.slowest_s, time.monotonic() - began)
            except InputError as error:
                count.failed.append((time.time(), str(error)))
            count.asked += 1
            turn += 1
    return count


def is_same(answer: np.ndarray, right: np.ndarray) -> bool:
    same = answer.shape == right.shape
    return same and np.allclose(answer, right, rtol=0, atol=TOLERANCE)


def end_with_parent(ended) -> None:
    """Have the clients end if the process that started them was killed."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        ended.set()

    threading.Thread(target=watch, daemon=True).start()
