"""A Python process of a model is killed: the watchdog brings the model back."""

import os
import signal
import time

import pytest
from leftovers import running_in_session
from tiny_model import expect

from pipelines import model_repository
from pipelines.asker import Asker
from pipelines.model_config import Settings
from pipelines.triton_server import TritonServer
from pipelines.watchdog import Watchdog, find_fault

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", ["asl_fused_1", "asl_classifier_1"])
def test_a_killed_model_process_is_noticed_and_the_model_brought_back(
    kind, artifacts, photographs, tmp_path
):
    repository = tmp_path / "models"
    model_repository.render(artifacts, repository, {}, Settings(instances=2))
    files = [path.read_bytes() for path in photographs.values()]
    said = []
    with TritonServer(repository) as server:
        assert find_fault(server.grpc_url, repository) is None
        with Watchdog(server.grpc_url, repository, said.append):
            stubs = [
                process
                for process in running_in_session(server.process.pid)
                if f"/{kind}/" in process.command
            ]
            killed = time.monotonic()
            os.kill(stubs[0].pid, signal.SIGKILL)
            while not said and time.monotonic() < killed + 60:
                time.sleep(0.05)
            print(f"brought back after {time.monotonic() - killed:.1f} s")

        assert said[0].startswith(f"{kind} failed (")
        assert said[0].endswith("it was loaded afresh")
        assert find_fault(server.grpc_url, repository) is None
        with Asker(server.grpc_url) as ask:
            difference = abs(ask(files) - expect(artifacts, files)).max()
    assert difference < 1e-5
