"""A Python process of a model is killed: the watchdog brings the model back."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from leftovers import running_in_session
from matrix_model import expect

from data_prep.errors import InputError
from pipelines.repository import versions
from pipelines.repository.model_config import Settings
from pipelines.serving import deployment, server_keys, watchdog
from pipelines.serving.client import TritonClient
from pipelines.serving.triton_server import TritonServer
from pipelines.serving.watchdog import Watchdog, find_fault

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def often(monkeypatch):
    """They look three times a second."""
    monkeypatch.setattr(watchdog, "INTERVAL_S", 0.3)


def processes_of(part, server):
    """The Python processes of a part that is loaded."""
    running = running_in_session(server.process.pid)
    return [process.pid for process in running if f"/{part}/" in process.command]


def wait_for(said, seconds=60):
    """Wait until a watchdog has said something."""
    deadline = time.monotonic() + seconds
    while not said and time.monotonic() < deadline:
        time.sleep(0.05)


def ask(server, files):
    with TritonClient(server.grpc_url) as ask:
        return ask(files)


def test_a_killed_model_process_is_noticed_and_the_model_brought_back(
    artifacts, photographs, tmp_path
):
    repository = tmp_path / "models"
    versions.render(artifacts, repository, {}, Settings(instances=2))
    files = [path.read_bytes() for path in photographs.values()]
    said = []
    with TritonServer(repository) as server:
        record = versions.current(repository)
        assert find_fault(server.grpc_url, repository, record) is None
        with Watchdog(server, said.append):
            for kind in ("asl_fused_1", "asl_classifier_1"):
                said.clear()
                killed = time.monotonic()
                os.kill(processes_of(kind, server)[0], signal.SIGKILL)
                wait_for(said)
                print(f"{kind} is back after {time.monotonic() - killed:.1f} s")
                assert said[0].startswith(f"{kind} failed (")
                assert said[0].endswith("it was loaded afresh")
                assert find_fault(server.grpc_url, repository, record) is None
                answers = ask(server, files)
                assert abs(answers - expect(artifacts, files)).max() < 1e-5


def test_a_version_that_the_server_was_not_told_of_stays_out_whatever_is_brought_back(
    artifacts, other_artifacts, photographs, tmp_path
):
    repository, settings = tmp_path / "models", Settings(instances=1)
    versions.render(artifacts, repository, {}, settings)
    files = [path.read_bytes() for path in photographs.values()]
    old, new = (expect(x, files) for x in (artifacts, other_artifacts))
    said = []
    with TritonServer(repository) as server:
        urls = {"grpc": server.grpc_url, "http": server.http_url}
        with Watchdog(server, said.append):
            deployment.deploy(other_artifacts, repository, {}, settings)
            time.sleep(1.5)  # it has looked several times
            assert said == []
            np.testing.assert_allclose(ask(server, files), old, atol=1e-5)

            os.kill(processes_of("asl_fused_1", server)[0], signal.SIGKILL)
            wait_for(said)
            assert said[0].endswith("it was loaded afresh")
            np.testing.assert_allclose(ask(server, files), old, atol=1e-5)
            assert processes_of("asl_fused_2", server) == []
            assert versions.current(repository)["version"] == 2

            # told of it, the server serves it, and that is watched from then on
            deployment.deploy(other_artifacts, repository, {}, settings, urls)
            np.testing.assert_allclose(ask(server, files), new, atol=1e-5)
            said.clear()
            os.kill(processes_of("asl_fused_2", server)[0], signal.SIGKILL)
            wait_for(said)
            assert said[0].startswith("asl_fused_2 failed (")
            np.testing.assert_allclose(ask(server, files), new, atol=1e-5)


def test_at_full_load_a_death_is_healed_beside_the_living_and_nothing_is_left(
    artifacts, photographs, tmp_path, monkeypatch
):
    monkeypatch.setattr(watchdog, "TIDY_S", 1.0)
    monkeypatch.setattr(watchdog, "ORPHAN_S", 3.0)
    repository = tmp_path / "models"
    versions.render(artifacts, repository, {}, Settings(instances=2))
    files = [path.read_bytes() for path in photographs.values()]
    said, ended, failed = [], threading.Event(), []

    def client():
        with TritonClient(server.grpc_url) as ask:
            while not ended.is_set():
                try:
                    ask(files)
                except InputError as error:
                    failed.append(str(error))

    with TritonServer(repository) as server, Watchdog(server, said.append):
        with ThreadPoolExecutor(8) as pool:
            clients = [pool.submit(client) for _ in range(8)]
            try:
                time.sleep(2)
                os.kill(processes_of("asl_fused_1", server)[0], signal.SIGKILL)
                wait_for(said)
                answered = len(failed)
                time.sleep(1)
            finally:
                ended.set()
        for client in clients:
            client.result()
        assert said[0].startswith("asl_fused_1 failed (1 of its 2 processes have ended")
        assert set(failed) == {x for x in failed if "not healthy" in x}
        assert len(failed) <= answered + 8  # what was inside as it was healed
        deadline = time.monotonic() + 30
        while len(processes_of("asl_fused_1", server)) > 2:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert ask(server, files).shape == (4, 5)
        # parts that a killed deployment has loaded go, too
        record = versions.add(artifacts, repository, {}, Settings(instances=1))
        part = f"asl_fused_{record['version']}"
        with server_keys.client(server.grpc_url, repository) as control:
            control.load_model(part)
        versions.repair(repository)
        deadline = time.monotonic() + 30
        while processes_of(part, server):
            assert time.monotonic() < deadline
            time.sleep(0.2)


def test_what_goes_wrong_once_is_told_and_tried_again(monkeypatch):
    monkeypatch.setattr(watchdog, "INTERVAL_S", 0.01)
    ended, told, looks = threading.Event(), [], []

    def look():
        looks.append(1)
        if len(looks) == 1:
            raise OSError("no more room")
        ended.set()

    watchdog.repeat(look, ended, told.append, "look after asl")
    assert told == ["the watchdog could not look after asl: OSError('no more room')"]
