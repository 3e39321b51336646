"""One real tritonserver for all tests of this folder, and photographs to send."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_model import make_artifacts

from pipelines.repository import versions
from pipelines.serving import deployment
from pipelines.serving.triton_server import TritonServer


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory) -> Path:
    return make_artifacts(tmp_path_factory.mktemp("artifacts"))


@pytest.fixture(scope="session")
def other_artifacts(tmp_path_factory) -> Path:
    """Another training: larger images, fewer classes."""
    folder = tmp_path_factory.mktemp("other")
    return make_artifacts(folder, image_size=48, labels=("yes", "no"), seed=1)


@pytest.fixture(scope="session")
def server(tmp_path_factory, artifacts, home):
    """A server on which version 1, made from ``artifacts``, is current."""
    repository = tmp_path_factory.mktemp("served") / "models"
    versions.render(artifacts, repository, {"task_id": "first"})
    with TritonServer(repository) as server:
        yield server


@pytest.fixture
def redeploy(server, artifacts):
    """A function that deploys into the running server; ``artifacts`` are back after."""

    def redeploy(folder: Path, **metadata) -> int:
        urls = {"grpc": server.grpc_url, "http": server.http_url}
        record = deployment.deploy(folder, server.repository, metadata, urls=urls)
        return record["version"]

    yield redeploy
    redeploy(artifacts)


@pytest.fixture(scope="session")
def photographs(tmp_path_factory) -> dict[str, Path]:
    """Blurred noise of odd sizes, smaller and larger than the network's image."""
    folder = tmp_path_factory.mktemp("photographs")
    random = np.random.default_rng(7)
    paths = {}
    for name, (height, width) in {
        "wide.jpg": (201, 333),
        "tall.png": (77, 50),
        "small.jpg": (17, 23),
        "one.png": (1, 1),
    }.items():
        image = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        paths[name] = folder / name
        cv2.imwrite(str(paths[name]), cv2.GaussianBlur(image, (0, 0), 3))
    return paths


@pytest.fixture(scope="session")
def broken(tmp_path_factory, photographs) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("broken")
    whole = photographs["wide.jpg"].read_bytes()
    contents = {
        "cut.jpg": whole[: len(whole) // 2],
        "text.jpg": b"this is not a photograph",
        "empty.png": b"",
    }
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    return {name: folder / name for name in contents}
