"""Brings back models whose process has died, and ends what no model needs any more.

Triton goes on calling a model ready whose Python process was killed, and never starts
it again: its share of the requests fails, a second later each. Every second this asks
the machine whether all processes of the parts that are served are there, which takes no
place in any queue; and, as long as it takes, each instance of them about a small
picture. A process that has gone, or an error for an answer, has that part loaded
afresh; a slow answer is no error. Parts of a version that the server has not been told
to serve are let alone, even where the repository calls it the current one: nobody has
tested it.

A model of which a process died with a request inside is never given up by Triton, so
the processes that lived stay as well. What has been of no use for a while is killed.

Each model of the server has a watchdog of its own, so that none waits for another.
"""

import contextlib
import os
import queue
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from data_prep.errors import InputError
from pipelines.repository import versions
from pipelines.repository.layout import CLASSIFIER, as_part, deployed_names
from pipelines.serving import model_control, model_processes, server_keys
from pipelines.serving.client import one_line
from pipelines.serving.model_processes import ModelProcess
from pipelines.serving.triton_server import TritonServer

INTERVAL_S = 1.0
TIMEOUT_S = 10.0
SLOW = ("StatusCode.DEADLINE_EXCEEDED", "StatusCode.UNAVAILABLE")
TIDY_S = 10.0  # from one look at what is of no use to the next
ORPHAN_S = 120.0  # a process may have a long request left; clients wait a minute
STOP_S = 2.0


class Fault(NamedTuple):
    """A part that is not as it should be, the version it is of, and the reason."""

    part: str
    version: int
    reason: str


def repeat(look: Callable[[], None], ended: threading.Event, say, aim: str) -> None:
    """Do something again and again; what fails is told, and the next time may go well.

    Args:
        aim: What the watchdog could not do then, for the message.
    """
    while not ended.wait(INTERVAL_S):
        try:
            look()
        except Exception as error:
            say(f"the watchdog could not {aim}: {error!r}")


class Watchdog:
    """Looks after all models of a server, at work from entering to leaving the context.

    Args:
        server: That runs.
        say: Is told what was found and done, in one line.
    """

    def __init__(self, server: TritonServer, say=print):
        self.server, self.say = server, say
        self.ended = threading.Event()
        self.models: dict[str, ModelWatchdog] = {}
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Watchdog":
        self._look()
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join(STOP_S)
        for model in self.models.values():
            model.ended.set()
        deadline = time.monotonic() + STOP_S
        for model in self.models.values():
            # a server that hangs, which is about to be ended, must not keep us
            model.threads[0].join(max(0, deadline - time.monotonic()))

    def _watch(self) -> None:
        repeat(self._look, self.ended, self.say, "find what else is deployed")

    def _look(self) -> None:
        """Look after models that have been deployed since."""
        for name in deployed_names(self.server.repository):
            if name not in self.models:
                self.models[name] = ModelWatchdog(self.server, name, self.say)
                self.models[name].start()


class ModelWatchdog:
    """Looks after one model, until ``ended`` is set.

    Args:
        server: That runs.
        name: Of the model.
        say: Is told what was found and done, in one line.
    """

    def __init__(self, server: TritonServer, name: str, say):
        self.name = name
        self.grpc_url, self.repository = server.grpc_url, server.repository
        self.process_id, self.say = server.process.pid, say
        # of the version that is served, or was when last seen
        self.record: Any = None
        # by part, when it was loaded afresh: older processes are others
        self.since: dict[str, float] = {}
        self.answered: Fault | None = None  # that an answer has shown
        self.healed = time.monotonic()
        self.tidied = time.monotonic()
        self.useless: dict[ModelProcess, float] = {}  # and since when
        self.ended = threading.Event()
        self.threads = [
            threading.Thread(target=target, daemon=True)
            for target in (self._watch, self._ask_always)
        ]

    def start(self) -> None:
        for thread in self.threads:
            thread.start()

    def _watch(self) -> None:
        repeat(self._look, self.ended, self.say, f"look after {self.name}")

    def _ask_always(self) -> None:
        repeat(self._ask, self.ended, self.say, f"ask {self.name}")

    def _ask(self) -> None:
        """Ask the models once more: a round of requests."""
        record, began = self.record, time.monotonic()
        with contextlib.suppress(InferenceServerException, OSError):
            fault = record and find_fault(self.grpc_url, self.repository, record)
            if fault and began > self.healed:
                self.answered = fault

    def _look(self) -> None:
        self._ask_served()
        if self.record is None:
            return
        fault, self.answered = self._dead() or self.answered, None
        if fault:
            self._heal(fault)
        elif time.monotonic() - self.tidied > TIDY_S:
            with contextlib.suppress(BlockingIOError):  # a deployment is at work
                with versions.lock(self.repository, wait=False):
                    self._tidy()

    def _ask_served(self) -> None:
        """Keep in mind which version is served: with a part that fails, none may be."""
        record = model_control.ask_served(self.grpc_url, self.repository, self.name)
        self.record = record or self.record

    def _dead(self) -> Fault | None:
        """Find a part of the version served of which a process is missing."""
        version, wanted = self.record["version"], self.record["instances"]
        running = [process.part for process in filter(self._of_use, self._processes())]
        for part in self._served_parts():
            if missing := wanted - running.count(part):
                if missing > 0:
                    reason = f"{missing} of its {wanted} processes have ended"
                    return Fault(part, version, reason)
        return None

    def _processes(self) -> list[ModelProcess]:
        """List those of this model."""
        return [
            process
            for process in model_processes.of_server(self.process_id)
            if (part := as_part(process.part)) and part.name == self.name
        ]

    def _served_parts(self) -> list[str]:
        version = self.record["version"]
        return model_control.part_names(self.repository, version, self.name)

    def _of_use(self, process: ModelProcess) -> bool:
        names = self._served_parts()
        younger = process.started >= self.since.get(process.part, 0)
        return process.part in names and younger

    def _heal(self, found: Fault) -> None:
        fault: Fault | None = found
        with versions.lock(self.repository) as waited:
            self._ask_served()
            if waited or self.record["version"] != found.version:
                # A deployment has been at work and replaced the models: look again.
                fault = self._dead()
            if fault is None or self.ended.is_set():
                return
            loaded = model_processes.now()
            try:
                model_control.heal(
                    self.grpc_url, self.repository, fault.version, fault.part
                )
                self.since[fault.part] = loaded
                self.say(f"{fault.part} failed ({fault.reason}); it was loaded afresh")
            except (InputError, InferenceServerException, OSError) as error:
                self.say(f"{fault.part} fails ({fault.reason}): {error}")
            self.healed = time.monotonic()

    def _tidy(self) -> None:
        """Unload models that no version served needs, and end lost processes.

        The caller holds the lock, so no deployment is at work.
        """
        self.tidied = time.monotonic()
        self._ask_served()
        version = self.record["version"]
        with server_keys.client(self.grpc_url, self.repository) as client:
            model_control.retire(client, version, self.name)
        found = [x for x in self._processes() if not self._of_use(x)]
        self.useless = {x: self.useless.get(x, self.tidied) for x in found}
        for process, since in self.useless.items():
            if self.tidied - since > ORPHAN_S:
                os.kill(process.pid, signal.SIGKILL)
                self.say(f"a process of {process.part} that Triton has lost was ended")


def find_fault(grpc_url: str, repository: Path, record: dict) -> Fault | None:
    """Ask every instance of a version's parts, as many at once as there are, twice.

    Requests to a process that has gone fail after a second each, one after the other:
    the first failure is told at once.

    Returns:
        None if nobody answered with an error.
    """
    folders = versions.folders_of(repository, record)
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
