"""A Triton server that runs: is it answering, and make it serve another version.

All by gRPC: loading over HTTP would stall every other HTTP request meanwhile. The
server, embedded or not, must run in explicit model control.

How no request fails while versions are swapped: the new parts are loaded beside the old
ones and asked the golden images; then the two models that clients call, which only pass
requests on, are loaded anew, which Triton does in one moment each; and the old parts
are unloaded once the server says that no request is left in what passed on to them.
"""

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from data_prep.errors import InputError
from pipelines.repository import versions
from pipelines.repository.model_config import (
    CLASSIFIER,
    DECODE,
    ENCODED,
    FUSED,
    MODEL,
    SERVED,
    part_name,
)
from pipelines.serving import golden_check, server_keys
from pipelines.serving.client import one_line

ANSWER_TIMEOUT_S = 10
LOAD_TIMEOUT_S = 300  # TensorRT builds engines
DRAIN_TIMEOUT_S = 60
PROBE = "probe"  # id of requests that the models do not count in their metrics


def switch(urls: dict[str, str], repository: Path, record: dict) -> None:
    """Make a running server serve a version, and the repository name it as current.

    On any failure the version served before goes on, on the server and in the
    repository. Once the repository names the version there is no way back: what comes
    after that, such as unloading the version before, may fail or be interrupted.

    Args:
        urls: ``host:port`` by protocol: "grpc", and "http" to be checked as well.
        record: Of a version whose parts are in the repository.

    Raises:
        InputError: No server, one with another repository or control mode, one that
            cannot load the version, or a version that answers wrongly.
    """
    version = record["version"]
    with server_keys.client(urls["grpc"], repository) as client:
        before = served(client, repository)
        noted = versions.current_number(repository)
        names = part_names(repository, version)
        check_repository(client, urls, repository, names)
        if before:
            # loaded by name they stay, whatever becomes of what refers to them
            load(client, urls, part_names(repository, before["version"]))
        try:
            load(client, urls, names)
            golden_check.check_parts(urls, repository, record)
            versions.accept(repository, record)
            versions.point_to(repository, version)
            load(client, urls, SERVED)
            golden_check.check_served(urls, repository, record)
            versions.activate(repository, record)
        except BaseException as error:
            if noted != version == versions.current_number(repository):
                raise  # interrupted, but too late
            stays = put_back(client, urls, repository, before) if before else ""
            if isinstance(error, InputError):
                raise InputError(f"version {version}: {error}{stays}") from None
            raise
        retire(client, version)


def put_back(client, urls: dict[str, str], repository: Path, record: dict) -> str:
    """Pass requests on to the version served before; say how that went."""
    version = record["version"]
    versions.point_to(repository, version)
    try:
        load(client, urls, SERVED)
    except InputError as error:
        return f"; version {version} stays in the repository, but {error}"
    retire(client, version)
    return f"; version {version} stays"


def ask_served(url: str, repository: Path) -> dict | None:
    """As `served`, of the server at a gRPC address; None also if none answers soon."""
    with triton.InferenceServerClient(url) as client:
        return served(client, repository, ANSWER_TIMEOUT_S)


def served(
    client: triton.InferenceServerClient,
    repository: Path,
    timeout_s: float | None = None,
) -> dict | None:
    """Find the repository's record of the version that a server serves.

    Returns:
        None if it serves none, or one of another repository.
    """
    try:
        config = client.get_model_config(MODEL, client_timeout=timeout_s).config
        version = config.version_policy.specific.versions[0]
        record = versions.deployment(repository, version)
    except (InferenceServerException, IndexError, InputError):
        return None
    digest = config.parameters["model_sha256"].string_value
    return record if record["metadata"]["model_sha256"] == digest else None


def check_repository(client, urls: dict[str, str], repository: Path, names) -> None:
    """Check that the server sees the parts that lie in the repository.

    Raises:
        InputError: It does not answer, or was started on another repository.
    """
    try:
        index = client.get_model_repository_index().models
    except InferenceServerException as error:
        if "restricted" in error.message():
            raise InputError(
                f"the Triton server at {urls['grpc']} wants a key: it serves another "
                f"repository than {repository}, or others have started it; then name "
                "the file of its key in TRITON_KEY_FILE"
            ) from None
        raise InputError(
            f"no Triton server answers at {urls['grpc']} ({one_line(error)}); start "
            "one with scripts/serve"
        ) from None
    known = set(names) <= {model.name for model in index}
    serves = any(model.name == MODEL and model.state == "READY" for model in index)
    if not known or (serves and served(client, repository) is None):
        raise InputError(
            f"the Triton server at {urls['grpc']} serves another model repository "
            f"than {repository}; name the server that was started on this one, or "
            "start it again if files of its version have been removed"
        )


def part_names(repository: Path, version: int) -> list[str]:
    folders = versions.part_folders(repository, version)
    return [folder.name for folder in folders.values()]


def load(client, urls: dict[str, str], names) -> None:
    """Load models by name, at the same time.

    Raises:
        InputError: One cannot be loaded; the message says why.
    """

    def load_one(name: str) -> None:
        try:
            client.load_model(name, client_timeout=LOAD_TIMEOUT_S)
        except InferenceServerException as error:
            # without the Python stack that may follow
            reason = one_line(error).partition(" At:")[0]
            raise InputError(
                f"the Triton server at {urls['grpc']} has not loaded {name}: {reason}"
            ) from None

    with ThreadPoolExecutor() as pool:
        list(pool.map(load_one, names))


def retire(client: triton.InferenceServerClient, version: int) -> None:
    """Unload the parts of all versions but one, once no request is in them.

    What fails to be unloaded takes memory, no more: that is a warning.
    """
    try:
        wait_for_requests(client, version)
        unload_others(client, version)
    except InferenceServerException as error:
        print(
            f"warning: other versions than {version} have not been unloaded "
            f"({one_line(error)}); the next deployment tries again",
            file=sys.stderr,
        )


def wait_for_requests(client: triton.InferenceServerClient, version: int) -> None:
    """Wait until all requests are passed on to one version, for a while at most.

    An ensemble's version counts as unloading as long as a request is inside.
    """
    deadline = time.monotonic() + DRAIN_TIMEOUT_S
    while time.monotonic() < deadline and any(
        model.name in SERVED and model.version != str(version) for model in busy(client)
    ):
        time.sleep(0.05)


def unload_others(client: triton.InferenceServerClient, version: int) -> None:
    """Unload the parts of all versions but one."""
    ours = {part_name(kind, version) for kind in (FUSED, DECODE, CLASSIFIER)}
    for model in busy(client):
        if model.state != "READY":  # one that hangs in loading would hang us as well
            continue
        kind, _, number = model.name.rpartition("_")
        known = kind in (FUSED, DECODE, CLASSIFIER) and number.isdecimal()
        if known and model.name not in ours:
            client.unload_model(model.name)


def busy(client: triton.InferenceServerClient) -> Iterator:
    """All model versions that are loaded, or on their way in or out."""
    for model in client.get_model_repository_index().models:
        if model.state not in ("", "UNAVAILABLE"):
            yield model


def heal(grpc_url: str, repository: Path, version: int, part: str) -> None:
    """Load a part of the served version afresh: Triton does not restart processes.

    Requests fail in the meantime. Unloading a part takes along what passes requests on
    to it, whose files may name a version by now that this server was never told of.

    Raises:
        InputError: It cannot be loaded.
    """
    versions.deployment(repository, version)  # its files are there
    with server_keys.client(grpc_url, repository) as client:
        versions.point_to(repository, version)
        try:
            client.unload_model(part)
            load(client, {"grpc": grpc_url}, [part, *SERVED])
        finally:
            current = versions.current_number(repository)
            if current != version:
                versions.point_to(repository, current)


def probe(grpc_url: str, timeout_s: float = 10) -> str | None:
    """Have a small picture classified, since "ready" says little of Python models.

    Returns:
        None if that went well, else the reason in one line.
    """
    with triton.InferenceServerClient(grpc_url) as client:
        try:
            client.infer(MODEL, [picture()], request_id=PROBE, client_timeout=timeout_s)
        except InferenceServerException as error:
            return one_line(error)
    return None


def picture() -> triton.InferInput:
    """A small photograph of noise, as input of the model that clients call.

    Never the same one twice: a response cache would answer without the model.
    """
    _, png = cv2.imencode(".png", np.random.randint(0, 256, (32, 32, 3), np.uint8))
    tensor = triton.InferInput(ENCODED, [1, 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[png.tobytes()]], object))
    return tensor
