"""The key of a running server: whoever has it may load and unload models.

Everybody else may ask for answers only; `triton/server/launch.py` says what is closed.
Each server has a key of its own, new at every start, in a file of the repository that
only its owner can read; deploying and the watchdog find it by the server's address. The
key of a server that others have started is in the environment: TRITON_KEY_FILE names a
file of it, or TRITON_KEY is it, as for the server itself.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tritonclient.grpc as triton

from data_prep.errors import InputError
from pipelines.clearml_server.leases import start_time
from pipelines.serving.remote_credentials import write

FILE_VARIABLE, VARIABLE = "TRITON_KEY_FILE", "TRITON_KEY"  # of launch.py as well
HEADER = "triton-grpc-protocol-asl-key"  # as Triton calls launch.py's, for gRPC


@contextmanager
def made(repository: Path, grpc_url: str) -> Iterator[Path]:
    """Make a key for the server at an address; its file goes with the block."""
    path = make(repository, grpc_url)
    text = path.read_text(encoding="ascii")
    try:
        yield path
    finally:
        if path.exists() and path.read_text(encoding="ascii") == text:
            path.unlink()  # and not the next server's


def make(repository: Path, grpc_url: str) -> Path:
    """Make a key that counts as long as this process runs; return its file."""
    path = note(repository, grpc_url, ".key")
    process = os.getpid()
    write(path, f"{secrets.token_hex(32)}\n{process} {start_time(process)}\n")
    return path


def note(repository: Path, grpc_url: str, suffix: str) -> Path:
    """Return where something about the server at an address is kept."""
    address = grpc_url.replace("localhost:", "127.0.0.1:").replace("/", "_")
    return Path(repository) / f".server-{address}{suffix}"


def find(repository: Path, grpc_url: str) -> str | None:
    """Return the key of the server at an address; None where none is known.

    Raises:
        InputError: It is not for this user, or the environment names no key.
    """
    path = note(repository, grpc_url, ".key")
    try:
        key, process, started = path.read_text(encoding="ascii").split()
        if start_time(int(process)) == started:
            return key
    except (FileNotFoundError, ValueError):  # none, or a damaged one
        pass
    except PermissionError:
        raise InputError(
            f"the server at {grpc_url} is another user's, who alone can load models "
            f"({path})"
        ) from None
    return from_environment()


def from_environment() -> str | None:
    path = os.environ.get(FILE_VARIABLE)
    if not path:
        return os.environ.get(VARIABLE)
    try:
        return Path(path).read_text(encoding="ascii").split()[0]
    except (OSError, ValueError, IndexError) as error:
        raise InputError(
            f"{FILE_VARIABLE} names {path}, in which there is no key ({error})"
        ) from None


def client(grpc_url: str, repository: Path) -> triton.InferenceServerClient:
    """Connect to a server of this repository; send its key along, where it is known."""
    connected = triton.InferenceServerClient(grpc_url)
    if key := find(repository, grpc_url):
        connected.register_plugin(lambda request: request.headers.update({HEADER: key}))
    return connected
