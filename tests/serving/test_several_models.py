"""Models of several names on one real server: each with versions of its own."""

import os
import signal
import time

import numpy as np
import pytest
from client_command import ask, expected_lines
from matrix_model import expect
from tiny_model import make_artifacts
from traffic import load

from data_prep.errors import InputError
from pipelines.repository import versions
from pipelines.repository.model_config import Settings
from pipelines.serving import deployment, model_processes
from pipelines.serving.client import TritonClient
from pipelines.serving.triton_server import TritonServer
from pipelines.serving.watchdog import Watchdog

pytestmark = pytest.mark.slow
SETTINGS = Settings(instances=1)
CLASSES = {
    "sign_mnist": ("A", "B", "C", "D", "E", "F"),
    "flowers": ("daisy", "rose", "tulip"),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory, artifacts):
    """What a training of each name has left; flowers has a second one."""
    folder = tmp_path_factory.mktemp("trained")
    found = {"asl": artifacts}
    for seed, (name, labels) in enumerate(CLASSES.items(), 20):
        found[name] = make_artifacts(folder / name, 28, labels, seed)
    again = make_artifacts(folder / "again", 40, CLASSES["flowers"], seed=30)
    return found | {"flowers again": again}


@pytest.fixture(scope="module")
def said():
    return []


@pytest.fixture(scope="module")
def server(tmp_path_factory, trained, said):
    """A server that began with asl alone; the others have been deployed to it since."""
    repository = tmp_path_factory.mktemp("several") / "models"
    versions.render(trained["asl"], repository, {}, SETTINGS)
    with TritonServer(repository) as server, Watchdog(server, said.append):
        for name in CLASSES:
            deploy(server, trained[name], name)
        yield server


def urls(server):
    return {"grpc": server.grpc_url, "http": server.http_url}


def deploy(server, artifacts, name, **options):
    return deployment.deploy(
        artifacts, server.repository, {}, SETTINGS, urls(server), name=name, **options
    )


def test_the_client_asks_each_model_by_its_name(server, trained, photographs):
    paths = list(photographs.values())
    for name in ("asl", *CLASSES):
        done = ask(server, "--model", name, "--image", *paths)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == expected_lines(trained[name], paths)
        assert versions.current(server.repository, name)["version"] == 1


def test_swaps_roll_backs_and_deaths_of_one_model_disturb_no_other(
    server, trained, photographs, said
):
    files = [path.read_bytes() for path in photographs.values()]
    answers = {name: expect(artifacts, files) for name, artifacts in trained.items()}
    others = [
        load(urls(server), files, {name: answers[name]}, clients=1, model=name)
        for name in ("asl", "sign_mnist")
    ]
    both = {name: answers[name] for name in ("flowers", "flowers again")}

    with others[0] as of_asl, others[1] as of_letters:
        with load(urls(server), files, both, clients=1, model="flowers") as of_flowers:
            assert deploy(server, trained["flowers again"], "flowers")["version"] == 2
            record = deployment.roll_back(server.repository, urls(server), "flowers")
            assert record["version"] == 1
            assert deploy(server, trained["flowers again"], "flowers")["version"] == 3
            time.sleep(0.3)
        # its own watchdog brings it back, while the others are asked
        killed = [
            process
            for process in model_processes.of_server(server.process.pid)
            if process.part == "flowers_fused_3"
        ]
        os.kill(killed[0].pid, signal.SIGKILL)
        deadline = time.monotonic() + 60
        while not said and time.monotonic() < deadline:
            time.sleep(0.05)

    assert min(len(of_asl), len(of_letters)) > 20
    assert {name for _, name in of_flowers} == set(both)
    assert [line.partition(" ")[0] for line in said] == ["flowers_fused_3"]
    with TritonClient(server.grpc_url, model="flowers") as client:
        np.testing.assert_allclose(client(files), answers["flowers again"], atol=1e-4)
    for name, version in {"asl": 1, "sign_mnist": 1, "flowers": 3}.items():
        assert versions.current(server.repository, name)["version"] == version


def test_a_server_that_starts_loads_all_models_that_are_deployed(server, photographs):
    files = [path.read_bytes() for path in photographs.values()]
    asked = {}
    for again in range(2):
        for name in ("asl", *CLASSES):
            with TritonClient(server.grpc_url, model=name) as client:
                asked[name, again] = client(files)
        if not again:
            server.stop()
            server.start()

    for name in ("asl", *CLASSES):
        np.testing.assert_allclose(asked[name, 0], asked[name, 1], atol=1e-5)


def test_a_model_of_other_classes_is_refused_with_both_lists(server, trained):
    before = versions.current(server.repository, "flowers")
    with pytest.raises(InputError) as caught:
        deploy(server, trained["sign_mnist"], "flowers", same_classes=True)

    said = str(caught.value)
    assert "daisy, rose, tulip" in said and "A, B, C, D, E, F" in said
    assert "--allow-new-classes" in said and "\n" not in said
    assert versions.current(server.repository, "flowers") == before
    assert deploy(server, trained["flowers again"], "flowers", same_classes=True)
