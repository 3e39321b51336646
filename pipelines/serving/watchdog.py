"""Watches a server by real inference, and brings back models whose process has died.

Triton goes on calling a model ready whose Python process was killed, and never starts
it again. Every second each instance of the parts that are served is, as likely as not,
asked about a small picture; an error has that part loaded afresh. A slow answer is no
error. Parts of a version that the server has not been told to serve are let alone, even
where the repository calls it the current one: nobody has tested it.
"""

import queue
import threading
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from data_prep.errors import InputError
from pipelines.repository import versions
from pipelines.repository.model_config import CLASSIFIER
from pipelines.serving import model_control
from pipelines.serving.client import one_line

INTERVAL_S = 1.0
TIMEOUT_S = 10.0
SLOW = ("StatusCode.DEADLINE_EXCEEDED", "StatusCode.UNAVAILABLE")


class Fault(NamedTuple):
    """A part that answers with an error, the version it is of, and the error."""

    part: str
    version: int
    reason: str


class Watchdog:
    """A thread at work from entering to leaving the context.

    Args:
        grpc_url: Of the server.
        repository: Of the server.
        say: Is told what was found and done, in one line.
    """

    def __init__(self, grpc_url: str, repository: Path, say=print):
        self.grpc_url, self.repository, self.say = grpc_url, Path(repository), say
        self.record = None  # of the version that is served, or was when last seen
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Watchdog":
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()

    def _watch(self) -> None:
        while not self.ended.wait(INTERVAL_S):
            try:
                self._look()
            except Exception as error:  # whatever it is: the next look may go well
                self.say(f"the watchdog could not look after the model: {error!r}")

    def _look(self) -> None:
        self._ask_served()
        fault = self.record and find_fault(self.grpc_url, self.repository, self.record)
        if fault:
            self._heal(fault)

    def _ask_served(self) -> None:
        """Keep in mind which version is served: with a part that fails, none may be."""
        record = model_control.ask_served(self.grpc_url, self.repository)
        self.record = record or self.record

    def _heal(self, fault: Fault) -> None:
        with versions.lock(self.repository) as waited:
            self._ask_served()
            if waited or self.record["version"] != fault.version:
                # A deployment has been at work and replaced the models: look again.
                fault = find_fault(self.grpc_url, self.repository, self.record)
            if fault is None or self.ended.is_set():
                return
            try:
                model_control.heal(
                    self.grpc_url, self.repository, fault.version, fault.part
                )
                self.say(f"{fault.part} failed ({fault.reason}); it was loaded afresh")
            except (InputError, InferenceServerException, OSError) as error:
                self.say(f"{fault.part} fails ({fault.reason}): {error}")


def find_fault(grpc_url: str, repository: Path, record: dict) -> Fault | None:
    """Ask every instance of a version's parts, as many at once as there are, twice.

    Requests to a process that has gone fail after a second each, one after the other:
    the first failure is told at once.

    Returns:
        None if nobody answered with an error.
    """
    folders = versions.part_folders(repository, record["version"])
    count = 2 * record["instances"]
    answers = queue.SimpleQueue()
    with triton.InferenceServerClient(grpc_url) as client:
        for kind, folder in folders.items():
            ask_part(client, kind, folder.name, count, answers)
        for _ in range(count * len(folders)):
            part, error = answers.get()
            if error is not None and error.status() not in SLOW:
                return Fault(part, record["version"], one_line(error))
    return None


def ask_part(client, kind: str, part: str, count: int, answers: queue.SimpleQueue):
    """Send ``count`` requests; each one's (part, error or None) goes to ``answers``."""
    try:
        taken = client.get_model_metadata(part).inputs[0]
    except InferenceServerException as error:  # it is not loaded
        for _ in range(count):
            answers.put((part, error))
        return
    for _ in range(count):
        tensor = noise(taken) if kind == CLASSIFIER else model_control.picture()
        client.async_infer(
            part,
            [tensor],
            lambda result, error: answers.put((part, error)),
            request_id=model_control.PROBE,
            client_timeout=TIMEOUT_S,
        )


def noise(taken) -> triton.InferInput:
    """An image of noise, as the input of a classifier that its metadata describes."""
    values = np.random.randint(0, 256, [1, *taken.shape[1:]], np.uint8)
    tensor = triton.InferInput(taken.name, values.shape, "UINT8")
    tensor.set_data_from_numpy(values)
    return tensor
