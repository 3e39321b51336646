"""A Triton server that runs: is it answering, and make it serve another version.

All by gRPC: loading over HTTP would stall every other HTTP request meanwhile. The
server, embedded or not, must run in explicit model control.

How no request fails while versions are swapped: the new parts are loaded beside the old
ones and asked the golden images; then the two models that clients call, which only pass
requests on, are loaded anew, which Triton does in one moment each. A request takes hold
of its parts as soon as Triton has read it, and a part that is unloaded goes on until
nobody holds it; so the old parts are unloaded a moment later (`SETTLE_S`).

Triton unloads in its own time: one process of a part after the other, over seconds. A
part is not loaded again before that has ended.
"""

import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from data_prep.errors import InputError
from pipelines.repository import versions
from pipelines.repository.model_config import (
    ENCODED,
    MODEL,
    PARTS,
    SERVED,
    SERVED_NUMBER,
    VERSION,
    part_name,
)
from pipelines.serving import golden_check, server_keys
from pipelines.serving.client import one_line

ANSWER_TIMEOUT_S = 10
LOAD_TIMEOUT_S = 300  # TensorRT builds engines
UNLOAD_TIMEOUT_S = 30  # of the requests that are in a part, and of its processes
# Between "this request is for asl" and "it holds its parts" Triton only reads the
# request. Its thread may wait for a core meanwhile, on a busy machine for some 0.1 s.
SETTLE_S = 1.0
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
            versions.commit(repository, record)
            versions.route_to(repository, version)
            load(client, urls, SERVED)
            golden_check.check_served(urls, repository, record)
            versions.set_current(repository, record)
        except BaseException as error:
            if noted != version == versions.current_number(repository):
                raise  # interrupted, but too late
            stays = ""
            if before:
                stays = put_back(client, urls, repository, before)
            else:
                retire(client, 0)
            if isinstance(error, InputError):
                raise InputError(f"version {version}: {error}{stays}") from None
            raise
        retire(client, version)


def put_back(client, urls: dict[str, str], repository: Path, record: dict) -> str:
    """Pass requests on to the version served before; say how that went."""
    version = record["version"]
    versions.route_to(repository, version)
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
        version = int(config.parameters[VERSION].string_value)
        record = versions.deployment(repository, version)
    except (InferenceServerException, ValueError, InputError):
        return None
    digest = config.parameters["model_sha256"].string_value
    return record if record["metadata"]["model_sha256"] == digest else None


def check_repository(client, urls: dict[str, str], repository: Path, names) -> None:
    """Check that the server sees the parts that lie in the repository.

    Raises:
        InputError: It does not answer, or was started on another repository.
    """
    try:
        models = list(index(client))
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
    known = set(names) <= {model.name for model in models}
    serves = any(model.name == MODEL and model.state == "READY" for model in models)
    if not known or (serves and served(client, repository) is None):
        raise InputError(
            f"the Triton server at {urls['grpc']} serves another model repository "
            f"than {repository}; name the server that was started on this one, or "
            "start it again if files of its version have been removed"
        )


def part_names(repository: Path, version: int) -> list[str]:
    folders = versions.part_folders(repository, version)
    return [folder.name for folder in folders.values()]


def load(client, urls: dict[str, str], names: Iterable[str]) -> None:
    """Load models by name, at the same time.

    Raises:
        InputError: One cannot be loaded; the message says why.
    """

    def load_one(name: str) -> None:
        try:
            if is_part(name):  # the others have no processes
                wait_until_unloaded(client, name)
            client.load_model(name, client_timeout=LOAD_TIMEOUT_S)
        except InferenceServerException as error:
            # without the Python stack that may follow
            reason = one_line(error).partition(" At:")[0]
            raise InputError(
                f"the Triton server at {urls['grpc']} has not loaded {name}: {reason}"
            ) from None

    with ThreadPoolExecutor() as pool:
        list(pool.map(load_one, names))


def wait_until_unloaded(client: triton.InferenceServerClient, name: str) -> None:
    """Wait until a part that is being unloaded has really gone, for a while at most.

    Triton never gives up one of which a process died with a request inside; it loads
    the part all the same.
    """
    deadline = time.monotonic() + UNLOAD_TIMEOUT_S
    while time.monotonic() < deadline and any(
        model.name == name and model.state == "UNLOADING" for model in index(client)
    ):
        time.sleep(0.05)


def retire(client: triton.InferenceServerClient, version: int) -> None:
    """Unload the parts of all versions but one, which all requests are passed on to.

    What fails to be unloaded takes memory, no more: that is a warning.
    """
    try:
        if others := loaded_parts(client, version):
            time.sleep(SETTLE_S)
            for name in others:
                client.unload_model(name, client_timeout=ANSWER_TIMEOUT_S)
    except InferenceServerException as error:
        print(
            f"warning: other versions than {version} have not been unloaded "
            f"({one_line(error)}); the next deployment tries again",
            file=sys.stderr,
        )


def loaded_parts(client: triton.InferenceServerClient, version: int) -> list[str]:
    """Name the parts that are loaded, but for those of one version.

    The server is asked, not the repository: the files of a deployment that was killed
    may have gone, and Triton's index with them; its statistics know what is loaded.
    """
    ours = {part_name(kind, version) for kind in PARTS}
    statistics = client.get_inference_statistics(client_timeout=ANSWER_TIMEOUT_S)
    loaded = {model.name for model in statistics.model_stats if is_part(model.name)}
    return sorted(loaded - ours)


def is_part(name: str) -> bool:
    kind, _, number = name.rpartition("_")
    return kind in PARTS and number.isdecimal()


def index(client: triton.InferenceServerClient) -> Iterator:
    """All models of the server's repository, with their states."""
    yield from client.get_model_repository_index(client_timeout=ANSWER_TIMEOUT_S).models


def settle(grpc_url: str, repository: Path) -> None:
    """Let a server end what killed deployments began, as far as one answers.

    To be called before their files are removed: Triton then forgets the names of what
    it is loading, and its processes stay for ever.
    """
    with server_keys.client(grpc_url, repository) as client:
        record = served(client, repository, ANSWER_TIMEOUT_S)
        if record is None:  # none runs, or not ours: whoever is to use it will say so
            return
        deadline = time.monotonic() + LOAD_TIMEOUT_S
        try:
            while time.monotonic() < deadline and any(
                is_part(model.name) and model.state == "LOADING"
                for model in index(client)
            ):
                time.sleep(0.1)
        except InferenceServerException:  # it has gone: that is said later as well
            return
        retire(client, record["version"])


def heal(grpc_url: str, repository: Path, version: int, part: str) -> None:
    """Load a part of the served version afresh: Triton does not restart processes.

    Triton loads what has changed beside what it has, and passes requests on to it when
    that is done. Until then the processes that live go on answering; they end with the
    dead ones' model. What passes requests on to the part is loaded along, and its files
    may name a version by now that this server was never told of.

    Raises:
        InputError: It cannot be loaded.
    """
    versions.deployment(repository, version)  # its files are there
    with server_keys.client(grpc_url, repository) as client:
        versions.route_to(repository, version)
        try:
            (Path(repository) / part / str(SERVED_NUMBER)).touch()  # looks changed
            load(client, {"grpc": grpc_url}, [part])
            load(client, {"grpc": grpc_url}, SERVED)
        finally:
            current = versions.current_number(repository)
            if current != version:
                versions.route_to(repository, current)


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
