"""Clients that ask all the time, while something is done to the server."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np

from pipelines.serving.client import TritonClient

PAUSE_S = 0.01  # between two requests of one client, to leave the machine usable


@contextmanager
def load(urls, files, expected, clients=4):
    """Ask all the time; give a list that fills with ``(time, whose answer)``.

    Args:
        urls: ``host:port`` of "grpc" and "http".
        expected: By name, the answers to ``files`` of every model that may answer.
        clients: Of each protocol.

    Raises:
        AssertionError: A request failed, or an answer is nobody's.
    """
    seen, ended = [], threading.Event()

    def whose(answer, which):
        for name, answers in expected.items():
            right = answers[which]
            if answer.shape == right.shape and np.allclose(answer, right, atol=1e-4):
                return name
        raise AssertionError(f"nobody's answer: {answer}")

    def client(number):
        protocol = ("grpc", "http")[number % 2]
        with TritonClient(urls[protocol], protocol) as ask:
            for turn in range(10**9):
                if ended.wait(PAUSE_S):
                    return
                which = (turn + number) % len(files)
                seen.append((time.monotonic(), whose(ask([files[which]])[0], which)))
                # Triton looks up the model once more to name the classes
                classes = len(ask.labels(files[which]))
                assert classes in {len(x[which]) for x in expected.values()}

    with ThreadPoolExecutor(2 * clients) as pool:
        running = [pool.submit(client, number) for number in range(2 * clients)]
        try:
            yield seen
        finally:
            ended.set()
    for client in running:
        client.result()
