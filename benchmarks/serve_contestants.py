"""Who takes part in `scripts/bench serve`: computing alone, and our server.

A contestant is a function without arguments that measures for some seconds.
"""

import contextlib
import functools
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import onnxruntime
import tritonclient.grpc as triton

from benchmarks.serve_load import (
    GRPC_METHOD,
    GRPC_PREFIX,
    Outcome,
    cpu_of,
    load_grpc,
    load_http,
    triton_grpc,
    triton_http,
)
from data_prep import packed
from data_prep.errors import InputError
from data_prep.paths import ROOT
from data_prep.preprocessing import FILE_NAME, Preprocessing
from pipelines.repository import model_config, versions
from pipelines.repository.graph_check import check_graph
from pipelines.repository.layout import served_names
from pipelines.repository.model_config import Settings
from pipelines.serving import server_keys
from pipelines.serving.serving_environment import SERVING_PYTHON
from pipelines.serving.triton_server import TritonServer
from training.reports import GRAPH_FILE

CLASSIFIER, MODEL = served_names()  # what clients call
IDLE = "idle"
Contestants = dict[str, Callable[[], Outcome]]


def bare(artifacts: Path, inputs: list[Path], seconds: int, decode: bool) -> Outcome:
    """Compute without a server, in processes with the server's versions.

    Args:
        inputs: Encoded photographs; without ``decode`` arrays (``.npy``) of pixels.
    """
    record = artifacts / FILE_NAME if decode else "-"
    command = [SERVING_PYTHON, "-m", "benchmarks.serve_bare", str(seconds)]
    done = subprocess.run(
        [*command, artifacts / GRAPH_FILE, record, *inputs],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
    )
    result = json.loads(done.stdout)
    return Outcome(
        rate=result["done"] / seconds,
        cpu=1e3 * result["cpu"] / result["done"],
        p50=result["p50"],
        p99=result["p99"],
    )


@contextlib.contextmanager
def serving(
    folder: Path, artifacts: Path, idle: Path, files: list[bytes], seconds: int
) -> Iterator["Ours"]:
    """Run our server on one network, with an idle model beside it.

    Args:
        folder: For the model repository.
        artifacts: The network, as training leaves it.
        idle: Artifacts of a model that computes nothing.
        files: Encoded photographs; the first is what gRPC sends.
        seconds: Of each measurement.
    """
    pixels = Preprocessing.load(artifacts / FILE_NAME).apply(files[0])
    letter = letter_of(artifacts, pixels)
    versions.render(artifacts, folder, {})
    add_idle(folder, idle)
    with (
        TritonServer(folder) as server,
        server_keys.client(server.grpc_url, folder) as client,
    ):
        client.load_model(IDLE)
        region = server.shared_memory / f"asl_bench_{os.getpid()}"
        try:
            region.write_bytes(pixels.tobytes())
            client.register_system_shared_memory(
                region.name, f"/{region.name}", pixels.nbytes
            )
            yield Ours(server, client, files, pixels, region.name, letter, seconds)
        finally:
            region.unlink(missing_ok=True)


@dataclass(frozen=True)
class Ours:
    """Our server that runs: what `serving` gives.

    Attributes:
        pixels: Of the first of ``files``; they lie in the shared memory ``region``.
        letter: What the network makes of it.
    """

    server: TritonServer
    client: triton.InferenceServerClient
    files: list[bytes]
    pixels: np.ndarray
    region: str
    letter: str
    seconds: int

    def of_pixels(self) -> Contestants:
        return {
            f"{title}gRPC{how}": self.by_grpc(model, self.pixels, region)
            for title, model in (("", CLASSIFIER), ("idle model, ", IDLE))
            for how, region in (("", ""), (", shared memory", self.region))
        }

    def of_letters(self) -> Contestants:
        host = self.server.http_url
        requests = [triton_http(host, MODEL, data) for data in self.files]
        check_letter("Triton", post(host, requests[0]), self.letter)
        by_http = functools.partial(load_http, host, requests, self.seconds, self.cpu)
        return {
            "Triton, HTTP": by_http,
            "Triton, gRPC": self.by_grpc(MODEL, self.files[0]),
        }

    def by_grpc(self, model: str, image, region: str = "") -> Callable[[], Outcome]:
        host, request = self.server.grpc_url, triton_grpc(model, image, region)
        if model != IDLE:
            with grpc.insecure_channel(host) as channel:
                answer = channel.unary_unary(GRPC_METHOD)(request[GRPC_PREFIX:])
            check_letter("Triton", answer, self.letter)

        def measure() -> Outcome:
            before = self.failures(model)
            outcome = load_grpc(host, request, self.seconds, self.cpu)
            if self.failures(model) > before:
                raise InputError(
                    f"requests to {model} failed; see {self.server.log_path}"
                )
            return outcome

        return measure

    def failures(self, model: str) -> int:
        (found,) = self.client.get_inference_statistics(model).model_stats
        return found.inference_stats.fail.count

    def cpu(self) -> float:
        return cpu_of(self.server.process.pid)


def add_idle(repository: Path, artifacts: Path) -> None:
    """Add a model to the repository under its own name, run like the classifier."""
    shapes = check_graph(artifacts / GRAPH_FILE)
    config = model_config.classifier(shapes, Settings())
    config.name = IDLE
    config.ClearField("model_warmup")
    (repository / IDLE / "1").mkdir(parents=True)
    shutil.copy(artifacts / GRAPH_FILE, repository / IDLE / "1")
    shutil.copy(artifacts / model_config.LABELS_FILE, repository / IDLE)
    versions.write_text(
        repository / IDLE / "config.pbtxt", model_config.to_text(config)
    )


def letter_of(artifacts: Path, pixels: np.ndarray) -> str:
    """What the network makes of one image."""
    session = onnxruntime.InferenceSession(artifacts / GRAPH_FILE)
    inputs = {session.get_inputs()[0].name: pixels[None]}
    (answers,) = session.run(["probabilities"], inputs)
    names = packed.read_names(artifacts / model_config.LABELS_FILE)
    return names[answers[0].argmax()]


def check_letter(who: str, answer: bytes, letter: str) -> None:
    """Look for the letter in an answer, behind a colon or in quotation marks.

    Raises:
        InputError: It is not there.
    """
    if not re.search(rf'[:"]{letter}\b'.encode(), answer):
        raise InputError(f"{who} answers {answer[:200]} instead of {letter}")


def post(host: str, request: bytes) -> bytes:
    """Send one request by HTTP; return the body of the answer.

    Raises:
        InputError: The answer is no success.
        OSError, http.client.HTTPException: There is none.
    """
    name, port = host.split(":")
    with socket.create_connection((name, int(port)), timeout=60) as connection:
        connection.sendall(request)
        response = http.client.HTTPResponse(connection)
        response.begin()
        body = response.read()
    if response.status != 200:
        raise InputError(f"{host} answers {response.status}: {body[:200]}")
    return body
