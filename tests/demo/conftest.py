"""One Triton server with the model of the drawings, and the demo beside it."""

import pytest
from demo_command import running
from drawn_model import make_artifacts

from pipelines.repository import versions
from pipelines.serving.triton_server import TritonServer, pick_ports


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory):
    return make_artifacts(tmp_path_factory.mktemp("drawn"))


@pytest.fixture(scope="session")
def triton(artifacts, tmp_path_factory, home):
    repository = tmp_path_factory.mktemp("served") / "models"
    versions.render(artifacts, repository, {"task_id": "0" * 32, "model": "drawn"})
    with TritonServer(repository, *pick_ports(0, 0, 0)) as server:
        yield server


@pytest.fixture(scope="session")
def demo(triton):
    with running(triton) as (address, _):
        yield address
