"""Versions are swapped while clients ask: nobody notices, whatever goes wrong."""

import random
import secrets
import shutil
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import cv2
import numpy as np
import pytest
from deploying import start_deployment
from tiny_model import (
    expect,
    make_artifacts,
    make_nan_artifacts,
    make_newer_artifacts,
)
from traffic import load

from data_prep.errors import InputError
from pipelines.repository import versions
from pipelines.repository.layout import CLASSIFIER, DECODE, FUSED, part_name
from pipelines.repository.model_config import Settings
from pipelines.serving import deployment, model_control, model_processes
from pipelines.serving.client import TritonClient
from pipelines.serving.triton_server import TritonServer

pytestmark = pytest.mark.slow
DEPLOYMENTS = {"fused": 4, "ensemble": 4}  # scripts/bench reliability makes more


SHAPES = ["fused", pytest.param("ensemble", marks=pytest.mark.campaign)]


@pytest.fixture(scope="module", params=SHAPES)
def settings(request):
    return Settings(instances=1, shape=request.param)


@pytest.fixture
def running(settings, artifacts, tmp_path):
    """A server of its own on version 1, made from ``artifacts``."""
    repository = tmp_path / "models"
    versions.render(artifacts, repository, {}, settings)
    with TritonServer(repository) as server:
        yield server


@pytest.fixture(scope="module")
def shared_server(settings, artifacts, tmp_path_factory):
    repository = tmp_path_factory.mktemp("shared") / "models"
    versions.render(artifacts, repository, {}, settings)
    with TritonServer(repository) as server:
        yield server


@pytest.fixture
def shared(shared_server, settings, artifacts):
    """A server that tests share which leave it running; ``artifacts`` are current."""
    repository = shared_server.repository
    deployment.deploy(artifacts, repository, {}, settings, urls(shared_server))
    return shared_server


def urls(server):
    return {"grpc": server.grpc_url, "http": server.http_url}


def test_no_request_fails_and_none_is_answered_by_a_third_while_versions_alternate(
    shared, settings, artifacts, other_artifacts, photographs
):
    files = [path.read_bytes() for path in photographs.values()]
    candidates = {"first": artifacts, "second": other_artifacts}
    expected = {name: expect(x, files) for name, x in candidates.items()}

    with load(urls(shared), files, expected) as seen:
        for number in range(DEPLOYMENTS[settings.shape]):
            name = ("second", "first")[number % 2]
            deployment.deploy(
                candidates[name], shared.repository, {}, settings, urls(shared)
            )
            swapped = time.monotonic()
        time.sleep(0.5)

    assert {name for _, name in seen} == {"first", "second"}
    # a client may have been asking when the last one was swapped in
    late = [name for moment, name in seen if moment > swapped + 0.25]
    assert late and set(late) == {name}
    print(f"{len(seen)} requests, {number + 1} swaps, shape {settings.shape}")


def truncated(folder):
    path = make_artifacts(folder, seed=5) / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1000])
    return folder


def wrong_labels(folder):
    make_artifacts(folder, seed=5)
    (folder / "classes.txt").write_text("A\nB\nC\n")
    return folder


def wrong_golden(folder):
    make_artifacts(folder, seed=5)
    other = make_artifacts(folder / "other", seed=6)
    (other / "golden.npz").replace(folder / "golden.npz")
    return folder


BROKEN = {
    "not a valid ONNX": truncated,
    "3 labels for 5": wrong_labels,
    "differs from torch": wrong_golden,
    "are no probabilities": make_nan_artifacts,
    "has not loaded asl_": make_newer_artifacts,
}


def test_broken_candidates_never_answer_and_leave_nothing(
    shared, settings, artifacts, photographs, tmp_path
):
    files = [path.read_bytes() for path in photographs.values()]
    before = everything(shared.repository)

    with load(urls(shared), files, {"first": expect(artifacts, files)}) as seen:
        for number, (reason, make) in enumerate(BROKEN.items()):
            candidate = make(tmp_path / str(number))
            with pytest.raises(InputError, match=reason) as caught:
                deployment.deploy(
                    candidate, shared.repository, {}, settings, urls(shared)
                )
            assert "\n" not in str(caught.value)

    assert len(seen) > 50
    assert everything(shared.repository) == before


def everything(repository):
    return {
        str(path.relative_to(repository)): path.read_bytes()
        for path in repository.rglob("*")
        if path.is_file() and path.name != versions.NUMBER_FILE
    }


@pytest.mark.parametrize("settings", ["fused"], indirect=True)
def test_a_version_that_answers_otherwise_once_it_is_loaded_never_answers_clients(
    shared, settings, artifacts, photographs, tmp_path
):
    files = [path.read_bytes() for path in photographs.values()]
    before = versions.current(shared.repository)["version"]
    candidate = make_artifacts(tmp_path / "candidate", seed=5)
    other = make_artifacts(tmp_path / "other", seed=6)
    with load(urls(shared), files, {"first": expect(artifacts, files)}):
        record = versions.add(candidate, shared.repository, {}, settings)
        part = shared.repository / f"asl_fused_{record['version']}"
        (part / "1/model.onnx").write_bytes((other / "model.onnx").read_bytes())
        said = f"otherwise than it should.*version {before} stays"
        with pytest.raises(InputError, match=said):
            model_control.switch(urls(shared), shared.repository, record)
        versions.remove(shared.repository, record["version"])
    assert versions.current(shared.repository)["version"] == before


@pytest.mark.campaign
def test_rolling_back_deploying_and_healing_at_once_in_any_order(
    artifacts, other_artifacts, photographs, tmp_path
):
    """So that parts are loaded while their processes before have not ended."""
    repository, settings = tmp_path / "models", Settings(instances=3)
    files = [path.read_bytes() for path in photographs.values()]
    candidates = [artifacts, other_artifacts]
    expected = {n: expect(x, files) for n, x in enumerate(candidates)}
    versions.render(artifacts, repository, {}, settings)

    def deploy(which):
        metadata = {"task_id": secrets.token_hex(4)}
        deployment.deploy(
            candidates[which], repository, metadata, settings, urls(server)
        )

    def heal():
        version = versions.current_number(repository)
        part = f"asl_fused_{version}"
        model_control.heal(server.grpc_url, repository, version, part)

    with TritonServer(repository) as server:
        with load(urls(server), files, expected, clients=2) as seen:
            deploy(1)
            deployment.roll_back(repository, urls(server))
            heal()
            heal()
            deploy(1)
            heal()
            deployment.roll_back(repository, urls(server))
            time.sleep(0.5)
        assert {name for _, name in seen} == {0, 1}
        assert versions.current_number(repository) == 1
        wait_for_parts(server, {"asl_fused_1": 3, "asl_classifier_1": 3})


def wait_for_parts(server, expected, seconds=60):
    """Wait until a server's model processes are these, by part."""
    deadline = time.monotonic() + seconds
    while True:
        running = model_processes.of_server(server.process.pid)
        found = Counter(process.part for process in running)
        if found == expected:
            return
        assert time.monotonic() < deadline, found
        time.sleep(0.2)


def test_a_deployment_killed_at_any_moment_harms_nobody(
    running, settings, artifacts, other_artifacts, photographs
):
    files = [path.read_bytes() for path in photographs.values()]
    candidates = [other_artifacts, artifacts]
    expected = {n: expect(x, files) for n, x in enumerate(candidates)}
    moments = random.Random(4)

    with load(urls(running), files, expected) as seen:
        for number in range(4):
            process = start_deployment(running, candidates[number % 2], settings)
            process.stdout.readline()
            time.sleep(moments.uniform(0, 3))
            process.send_signal(signal.SIGINT if number % 3 else signal.SIGKILL)
            process.communicate()
            now = versions.current(running.repository)["version"]
            assert now in versions.versions(running.repository)
        record = deployment.deploy(
            other_artifacts,
            running.repository,
            {"task_id": "last"},
            settings,
            urls(running),
        )
    assert seen
    with TritonClient(running.grpc_url) as ask:
        np.testing.assert_allclose(ask(files), expected[0], atol=1e-4)
    assert versions.current(running.repository) == record
    kind = {"fused": FUSED, "ensemble": DECODE}[settings.shape]
    names = [part_name(x, record["version"]) for x in (kind, CLASSIFIER)]
    wait_for_parts(running, dict.fromkeys(names, 1))

    # killed once more, in the middle of writing; then the server starts again
    running.stop()
    (running.repository / "asl" / "config.pbtxt").write_text("half a con")
    (running.repository / "asl_fused_99" / "1").mkdir(parents=True)
    running.start()
    with TritonClient(running.grpc_url) as ask:
        np.testing.assert_allclose(ask(files), expected[0], atol=1e-4)
    assert not (running.repository / "asl_fused_99").exists()


@contextmanager
def slow_requests(server):
    """Ask for so much that the answers take seconds; give their futures."""
    random = np.random.default_rng(7)
    image = random.integers(0, 256, (25, 25, 3), dtype=np.uint8)
    _, file = cv2.imencode(".jpg", cv2.resize(image, (2500, 2500)))
    with TritonClient(server.grpc_url) as ask, ThreadPoolExecutor(4) as pool:
        yield [pool.submit(ask, 24 * [file.tobytes()]) for _ in range(4)]


def wait_until_current(version, repository):
    deadline = time.monotonic() + 60
    while versions.current(repository)["version"] != version:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.5)  # it waits for the request in the version before by now


@pytest.mark.parametrize("settings", ["fused"], indirect=True)
def test_a_deployment_interrupted_after_the_swap_leaves_the_new_version(
    running, settings, other_artifacts, photographs
):
    files = [path.read_bytes() for path in photographs.values()]
    with slow_requests(running) as answers:
        process = start_deployment(running, other_artifacts, settings)
        wait_until_current(2, running.repository)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        assert process.returncode != 0
        assert not all(answer.done() for answer in answers)

    # what was under way is answered by the version before all the same
    assert {answer.result().shape for answer in answers} == {(24, 5)}
    assert versions.current(running.repository)["version"] == 2
    with TritonClient(running.grpc_url) as ask:
        np.testing.assert_allclose(
            ask(files), expect(other_artifacts, files), atol=1e-4
        )
    record = deployment.roll_back(running.repository, urls(running))
    assert record["version"] == 1


@pytest.mark.parametrize("settings", ["fused"], indirect=True)
def test_a_server_that_ends_after_the_swap_serves_the_new_version_when_it_is_back(
    running, settings, other_artifacts, photographs, capsys
):
    files = [path.read_bytes() for path in photographs.values()]
    repository = running.repository
    with ThreadPoolExecutor(1) as pool, slow_requests(running):
        record = pool.submit(
            deployment.deploy, other_artifacts, repository, {}, settings, urls(running)
        )
        wait_until_current(2, repository)
        running.process.kill()
        running.process.wait()
        assert record.result(timeout=30)["version"] == 2
    assert (
        "warning: other versions of asl than 2 have not been" in capsys.readouterr().err
    )

    running.stop()
    running.start()
    with TritonClient(running.grpc_url) as ask:
        np.testing.assert_allclose(
            ask(files), expect(other_artifacts, files), atol=1e-4
        )

    # and where its files have been lost meanwhile, the version before is served
    running.stop()
    shutil.rmtree(repository / "asl_fused_2")
    running.start()
    assert versions.current(repository)["version"] == 1
    with TritonClient(running.grpc_url) as ask:
        assert ask(files).shape == (4, 5)
    record = deployment.deploy(other_artifacts, repository, {}, settings, urls(running))
    assert record["version"] == 3
