"""Watches a server by real inference, and brings back models whose process has died.

Triton goes on calling a model ready whose Python process was killed, and never starts
it again. Every second each instance is, as likely as not, asked about a small picture;
an error has the served version's parts loaded afresh. A slow answer is no error.
"""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from data_prep.errors import InputError
from pipelines import model_control, model_repository
from pipelines.asker import one_line
from pipelines.model_config import CLASSIFIER, MODEL

INTERVAL_S = 1.0
TIMEOUT_S = 10.0
SLOW = ("StatusCode.DEADLINE_EXCEEDED", "StatusCode.UNAVAILABLE")


class Watchdog:
    """A thread at work from entering to leaving the context.

    Args:
        grpc_url: Of the server.
        repository: Of the server.
        say: Is told what was found and done, in one line.
    """

    def __init__(self, grpc_url: str, repository: Path, say=print):
        self.grpc_url, self.repository, self.say = grpc_url, Path(repository), say
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
            fault = find_fault(self.grpc_url, self.repository)
            if fault:
                self._heal()

    def _heal(self) -> None:
        # A deployment that is under way replaces the models anyway: wait for it,
        # then look again.
        with model_repository.lock(self.repository):
            fault = find_fault(self.grpc_url, self.repository)
            if fault is None or self.ended.is_set():
                return
            try:
                model_control.heal(self.grpc_url, self.repository)
                self.say(f"a model did not answer ({fault}); it was loaded afresh")
            except (InputError, InferenceServerException) as error:
                self.say(f"a model does not answer ({fault}): {error}")


def find_fault(grpc_url: str, repository: Path) -> str | None:
    """Ask every instance of what is served, as many at once as there are, twice.

    Returns:
        None if nobody answered with an error, else the reason in one line.
    """
    count = 2 * model_repository.current(repository)["instances"]
    with triton.InferenceServerClient(grpc_url) as client:
        try:
            taken = client.get_model_metadata(CLASSIFIER).inputs[0]
        except InferenceServerException as error:
            return None if error.status() in SLOW else one_line(error)
        black = np.zeros([1, *taken.shape[1:]], np.uint8)
        pixels = triton.InferInput(taken.name, black.shape, "UINT8")
        pixels.set_data_from_numpy(black)
        tensors = {MODEL: model_control.picture(), CLASSIFIER: pixels}

        def ask(model: str) -> str | None:
            try:
                client.infer(model, [tensors[model]], client_timeout=TIMEOUT_S)
            except InferenceServerException as error:
                return None if error.status() in SLOW else one_line(error)
            return None

        with ThreadPoolExecutor(count) as pool:
            answers = list(pool.map(ask, [MODEL, CLASSIFIER] * count))
    return next((answer for answer in answers if answer), None)
