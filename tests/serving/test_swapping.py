"""Versions are swapped while clients ask: nobody notices, whatever goes wrong."""

import random
import time

import numpy as np
import pytest
from deploying import start_deployment
from tiny_model import expect, make_artifacts, make_nan_artifacts
from traffic import load

from data_prep.errors import InputError
from pipelines import deployment, model_repository
from pipelines.asker import Asker
from pipelines.model_config import Settings
from pipelines.triton_server import TritonServer

pytestmark = pytest.mark.slow
DEPLOYMENTS = {"fused": 20, "ensemble": 6}


@pytest.fixture(scope="module", params=["fused", "ensemble"])
def settings(request):
    return Settings(instances=1, shape=request.param)


@pytest.fixture
def running(settings, artifacts, tmp_path):
    """A server of its own on version 1, made from ``artifacts``."""
    repository = tmp_path / "models"
    model_repository.render(artifacts, repository, {}, settings)
    with TritonServer(repository) as server:
        yield server


def urls(server):
    return {"grpc": server.grpc_url, "http": server.http_url}


def test_no_request_fails_and_none_is_answered_by_a_third_while_versions_alternate(
    running, settings, artifacts, other_artifacts, photographs
):
    files = [path.read_bytes() for path in photographs.values()]
    candidates = {"first": artifacts, "second": other_artifacts}
    expected = {name: expect(x, files) for name, x in candidates.items()}

    with load(urls(running), files, expected) as seen:
        for number in range(DEPLOYMENTS[settings.shape]):
            name = ("second", "first")[number % 2]
            deployment.deploy(
                candidates[name], running.repository, {}, settings, urls(running)
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
    "the difference is nan": make_nan_artifacts,
}


def test_broken_candidates_never_answer_and_leave_nothing(
    running, settings, artifacts, photographs, tmp_path
):
    files = [path.read_bytes() for path in photographs.values()]
    before = everything(running.repository)

    with load(urls(running), files, {"first": expect(artifacts, files)}) as seen:
        for number, (reason, make) in enumerate(BROKEN.items()):
            candidate = make(tmp_path / str(number))
            with pytest.raises(InputError, match=reason) as caught:
                deployment.deploy(
                    candidate, running.repository, {}, settings, urls(running)
                )
            assert "\n" not in str(caught.value)

    assert len(seen) > 50
    assert everything(running.repository) == before


def everything(repository):
    return {
        str(path.relative_to(repository)): path.read_bytes()
        for path in repository.rglob("*")
        if path.is_file() and path.name != model_repository.NUMBER_FILE
    }


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
            process.kill()
            process.communicate()
        record = deployment.deploy(
            other_artifacts,
            running.repository,
            {"task_id": "last"},
            settings,
            urls(running),
        )
    assert seen
    with Asker(running.grpc_url) as ask:
        np.testing.assert_allclose(ask(files), expected[0], atol=1e-4)
    assert model_repository.current(running.repository) == record

    # killed once more, in the middle of writing; then the server starts again
    running.stop()
    (running.repository / "asl" / "config.pbtxt").write_text("half a con")
    (running.repository / "asl_fused_99" / "1").mkdir(parents=True)
    running.start()
    with Asker(running.grpc_url) as ask:
        np.testing.assert_allclose(ask(files), expected[0], atol=1e-4)
    assert not (running.repository / "asl_fused_99").exists()
