"""A Triton server that runs: is it answering, and make it serve a new version.

All by gRPC: loading over HTTP would stall every other HTTP request meanwhile. The
server, embedded or not, must run in explicit model control.
"""

from pathlib import Path

import cv2
import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from data_prep.errors import InputError
from pipelines import model_repository
from pipelines.model_config import ENCODED, ENSEMBLE

LOAD_TIMEOUT_S = 120


def load(grpc_url: str, repository: Path) -> int:
    """Make a running server serve the repository's current version.

    One call loads all three models, whatever has changed between the versions (image
    size and classes too): Triton follows the ensemble to its parts, loads the new
    versions beside the old ones, then switches. If the version cannot be loaded, the
    one served before is made current again, in the repository and on the server.

    Args:
        grpc_url: ``host:port``.

    Returns:
        The version that answers now.

    Raises:
        InputError: Nothing is deployed, no server, one with another repository or
            control mode, or one that cannot load the version.
    """
    record = model_repository.current(repository)
    with triton.InferenceServerClient(grpc_url) as client:
        before = served(client, repository)
        try:
            switch(client, grpc_url, repository, record)
        except InputError as fault:
            if before is None or before == record:
                raise
            model_repository.activate(repository, before["version"])
            try:
                switch(client, grpc_url, repository, before)
            except InputError as second:
                raise InputError(f"{fault}; nor can the old one: {second}") from None
            raise InputError(f"{fault}; version {before['version']} stays") from None
    return record["version"]


def served(client: triton.InferenceServerClient, repository: Path) -> dict | None:
    """Find the repository's record of the version that a server serves.

    Returns:
        None if it serves none, or one of another repository.
    """
    try:
        config = client.get_model_config(ENSEMBLE).config
        version = config.version_policy.specific.versions[0]
        record = model_repository.deployment(repository, version)
    except (InferenceServerException, IndexError, InputError):
        return None
    digest = config.parameters["model_sha256"].string_value
    return record if record["metadata"]["model_sha256"] == digest else None


def switch(
    client: triton.InferenceServerClient, grpc_url: str, repository: Path, record: dict
) -> None:
    """Load what the configs say and see that it is that version and answers.

    Raises:
        InputError: It is not, or does not.
    """
    version = record["version"]
    try:
        client.load_model(ENSEMBLE, client_timeout=LOAD_TIMEOUT_S)
    except InferenceServerException as error:
        raise InputError(
            f"the Triton server at {grpc_url} has not loaded version {version}: "
            f"{reason(client, version) or one_line(error)}"
        ) from None
    if served(client, repository) != record:
        raise InputError(
            f"the Triton server at {grpc_url} serves another model repository than "
            f"{repository}; name the server that was started on this one"
        )
    fault = probe(grpc_url)
    if fault:
        raise InputError(f"version {version} is loaded but does not answer: {fault}")


def reason(client: triton.InferenceServerClient, version: int) -> str:
    """Ask why a version is not there: of an ensemble, its parts know better."""
    try:
        models = client.get_model_repository_index().models
    except InferenceServerException:
        return ""
    found = (
        # without the Python stack that follows
        f"{model.name}: {' '.join(model.reason.partition('At:')[0].split())}"
        for model in models
        if model.version == str(version) and model.reason not in ("", "unloaded")
    )
    return "; ".join(found)


def probe(grpc_url: str, timeout_s: float = 10) -> str | None:
    """Have a small picture classified, since "ready" says little of Python models.

    Returns:
        None if that went well, else the reason in one line.
    """
    _, png = cv2.imencode(".png", np.full((64, 64, 3), 128, np.uint8))
    picture = triton.InferInput(ENCODED, [1, 1], "BYTES")
    picture.set_data_from_numpy(np.array([[png.tobytes()]], object))
    try:
        with triton.InferenceServerClient(grpc_url) as client:
            client.infer(ENSEMBLE, [picture], client_timeout=timeout_s)
    except InferenceServerException as error:
        return one_line(error)
    return None


def one_line(error: InferenceServerException) -> str:
    return " ".join(error.message().split())
