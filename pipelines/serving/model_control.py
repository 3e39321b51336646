"""Control a running Triton server: check that it answers, switch it to another version.

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
from data_prep.model_name import DEFAULT
from pipelines.repository import versions
from pipelines.repository.layout import (
    as_part,
    known_names,
    part_folders,
    served_names,
)
from pipelines.repository.model_config import ENCODED, SERVED_NUMBER, VERSION
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

    After any failure the previous version is still served, on the server and in the
    repository. Once the repository names the new version, the switch is final: later
    work, such as unloading the previous version, may fail or be interrupted.

    Args:
        urls: ``host:port`` by protocol: "grpc", and "http" to be checked as well.
        record: Of a version whose parts are in the repository.

    Raises:
        InputError: No server, one with another repository or control mode, one that
            cannot load the version, or a version that answers wrongly.
    """
    version, name = record["version"], versions.name_of(record)
    with server_keys.client(urls["grpc"], repository) as client:
        before = served(client, repository, name)
        noted = versions.current_number(repository, name)
        names = part_names(repository, version, name)
        check_repository(client, urls, repository, names, name)
        if before:
            # loaded by name they stay, whatever becomes of what refers to them
            load(client, urls, part_names(repository, before["version"], name))
        try:
            load(client, urls, names)
            golden_check.check_parts(urls, repository, record)
            versions.commit(repository, record)
            versions.route_to(repository, version, name)
            load(client, urls, served_names(name))
            golden_check.check_served(urls, repository, record)
            versions.set_current(repository, record)
        except BaseException as error:
            if noted != version == versions.current_number(repository, name):
                raise  # interrupted, but too late
            stays = ""
            if before:
                stays = put_back(client, urls, repository, before)
            else:
                retire(client, 0, name)
            if isinstance(error, InputError):
                raise InputError(f"version {version}: {error}{stays}") from None
            raise
        retire(client, version, name)


def put_back(client, urls: dict[str, str], repository: Path, record: dict) -> str:
    """Pass requests on to the previous version again; return the outcome in words."""
    version, name = record["version"], versions.name_of(record)
    versions.route_to(repository, version, name)
    try:
        load(client, urls, served_names(name))
    except InputError as error:
        return f"; version {version} stays in the repository, but {error}"
    retire(client, version, name)
    return f"; version {version} stays"


def ask_served(url: str, repository: Path, name: str = DEFAULT) -> dict | None:
    """As `served`, of the server at a gRPC address; None also if none answers soon."""
    with triton.InferenceServerClient(url) as client:
        return served(client, repository, name, ANSWER_TIMEOUT_S)


def served(
    client: triton.InferenceServerClient,
    repository: Path,
    name: str,
    timeout_s: float | None = None,
) -> dict | None:
    """Find the repository's record of the version of a model that a server serves.

    Returns:
        None if it serves none, or one of another repository.
    """
    try:
        config = client.get_model_config(name, client_timeout=timeout_s).config
        version = int(config.parameters[VERSION].string_value)
        record = versions.deployment(repository, version, name)
    except (InferenceServerException, ValueError, InputError):
        return None
    digest = config.parameters["model_sha256"].string_value
    return record if record["metadata"]["model_sha256"] == digest else None


def check_repository(
    client,
    urls: dict[str, str],
    repository: Path,
    names: Iterable[str],
    name: str,
) -> None:
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
    serves = any(model.name == name and model.state == "READY" for model in models)
    if not known or (serves and served(client, repository, name) is None):
        raise InputError(
            f"the Triton server at {urls['grpc']} serves another model repository "
            f"than {repository}; name the server that was started on this one, or "
            "start it again if files of its version have been removed"
        )


def part_names(repository: Path, version: int, name: str = DEFAULT) -> list[str]:
    folders = part_folders(repository, version, name)
    return [folder.name for folder in folders.values()]


def load(client, urls: dict[str, str], names: Iterable[str]) -> None:
    """Load models by name, at the same time.

    Raises:
        InputError: One cannot be loaded; the message says why.
    """

    def load_one(name: str) -> None:
        try:
            if as_part(name):  # the others have no processes
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


def retire(client: triton.InferenceServerClient, version: int, name: str) -> None:
    """Unload the parts of all versions of a model but one, which requests are passed
    on to.

    A part that cannot be unloaded only takes memory, so that is a warning.
    """
    try:
        if others := loaded_parts(client, version, name):
            time.sleep(SETTLE_S)
            for part in others:
                client.unload_model(part, client_timeout=ANSWER_TIMEOUT_S)
    except InferenceServerException as error:
        print(
            f"warning: other versions of {name} than {version} have not been unloaded "
            f"({one_line(error)}); the next deployment tries again",
            file=sys.stderr,
        )


def loaded_parts(
    client: triton.InferenceServerClient, version: int, name: str
) -> list[str]:
    """Name the parts of a model that are loaded, but for those of one version.

    The server is asked, not the repository: the files of a deployment that was killed
    may have gone, and Triton's index with them; its statistics know what is loaded.
    """
    statistics = client.get_inference_statistics(client_timeout=ANSWER_TIMEOUT_S)
    loaded = {model.name: as_part(model.name) for model in statistics.model_stats}
    return sorted(
        called
        for called, part in loaded.items()
        if part and part.name == name and part.version != version
    )


def index(client: triton.InferenceServerClient) -> Iterator:
    """All models of the server's repository, with their states."""
    yield from client.get_model_repository_index(client_timeout=ANSWER_TIMEOUT_S).models


def settle(grpc_url: str, repository: Path) -> None:
    """Let a server, if one answers, finish what killed deployments began.

    To be called before their files are removed: Triton then forgets the names of what
    it is loading, and its processes stay for ever.
    """
    with server_keys.client(grpc_url, repository) as client:
        for name in known_names(repository):
            settle_one(client, repository, name)


def settle_one(
    client: triton.InferenceServerClient, repository: Path, name: str
) -> None:
    record = served(client, repository, name, ANSWER_TIMEOUT_S)
    if record is None:  # none runs, or not ours: whoever is to use it will say so
        return

    def is_loading(model) -> bool:
        part = as_part(model.name)
        return part is not None and part.name == name and model.state == "LOADING"

    deadline = time.monotonic() + LOAD_TIMEOUT_S
    try:
        while time.monotonic() < deadline and any(map(is_loading, index(client))):
            time.sleep(0.1)
    except InferenceServerException:  # it has gone: that is said later as well
        return
    retire(client, record["version"], name)


def heal(grpc_url: str, repository: Path, version: int, part: str) -> None:
    """Load a part of the served version afresh: Triton does not restart processes.

    Triton loads what has changed beside what it has, and passes requests on to it when
    that is done. Until then the processes that live go on answering; they end with the
    dead ones' model. What passes requests on to the part is loaded along, and its files
    may name a version by now that this server was never told of.

    Raises:
        InputError: It cannot be loaded.
    """
    named = as_part(part)
    if named is None:
        raise InputError(
            f"{part} is no part of a version; see the models in {repository}"
        )
    name = named.name
    versions.deployment(repository, version, name)  # its files are there
    with server_keys.client(grpc_url, repository) as client:
        versions.route_to(repository, version, name)
        try:
            (Path(repository) / part / str(SERVED_NUMBER)).touch()  # looks changed
            load(client, {"grpc": grpc_url}, [part])
            load(client, {"grpc": grpc_url}, served_names(name))
        finally:
            current = versions.current_number(repository, name)
            if current != version:
                versions.route_to(repository, current, name)


def probe(grpc_url: str, timeout_s: float = 10, name: str = DEFAULT) -> str | None:
    """Have a small picture classified, since "ready" says little of Python models.

    Returns:
        None if that went well, else the reason in one line.
    """
    with triton.InferenceServerClient(grpc_url) as client:
        try:
            client.infer(name, [picture()], request_id=PROBE, client_timeout=timeout_s)
        except InferenceServerException as error:
            return one_line(error)
    return None


def picture() -> triton.InferInput:
    """A small photograph of noise, as input of the model that clients call.

    Each call makes a different one, since a response cache would answer a known one.
    """
    _, png = cv2.imencode(".png", np.random.randint(0, 256, (32, 32, 3), np.uint8))
    tensor = triton.InferInput(ENCODED, [1, 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[png.tobytes()]], object))
    return tensor
