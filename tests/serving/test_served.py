"""What clients get from the running server."""

import client_command
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from deploying import start_deployment
from tiny_model import expect, make_artifacts
from tritonclient.utils import InferenceServerException

from data_prep.errors import InputError
from pipelines.repository import model_parts, versions
from pipelines.repository.layout import served_names
from pipelines.repository.model_config import Settings
from pipelines.serving import deployment, model_control, server_keys

pytestmark = pytest.mark.slow


def ask(server, files, protocol="grpc", **wanted):
    """Send encoded images in one request; return the answer's array."""
    library = {"grpc": tritonclient.grpc, "http": tritonclient.http}[protocol]
    url = {"grpc": server.grpc_url, "http": server.http_url}[protocol]
    tensor = library.InferInput("image", [len(files), 1], "BYTES")
    tensor.set_data_from_numpy(np.array(files, object).reshape(-1, 1))
    outputs = [library.InferRequestedOutput("probabilities", **wanted)]
    with library.InferenceServerClient(url) as client:
        return client.infer("asl", [tensor], outputs=outputs).as_numpy("probabilities")


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_the_server_answers_what_training_computes(
    protocol, server, artifacts, photographs
):
    files = [path.read_bytes() for path in photographs.values()]

    answers = ask(server, files, protocol)

    np.testing.assert_allclose(answers, expect(artifacts, files), rtol=0, atol=1e-5)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_labels_come_from_the_server(protocol, server, artifacts, photographs):
    file = photographs["wide.jpg"].read_bytes()
    labels = (artifacts / "classes.txt").read_text().split()
    expected = expect(artifacts, [file])[0]

    rows = ask(server, [file], protocol, class_count=5)

    parts = [entry.decode().split(":") for entry in rows.ravel()]
    assert [label for _, _, label in parts] == [
        labels[i] for i in np.argsort(-expected)
    ]


def test_a_full_batch_is_answered_and_a_larger_one_refused(
    server, artifacts, photographs
):
    file = photographs["wide.jpg"].read_bytes()

    assert ask(server, [file] * 64).shape == (64, 5)
    with pytest.raises(InferenceServerException, match="must be <= 64"):
        ask(server, [file] * 65)


def test_another_image_size_and_fewer_classes_are_deployed_while_it_runs(
    server, other_artifacts, photographs, redeploy
):
    files = [path.read_bytes() for path in photographs.values()]

    version = redeploy(other_artifacts, task_id="other")

    answers = ask(server, files)
    assert answers.shape == (4, 2)
    np.testing.assert_allclose(
        answers, expect(other_artifacts, files), rtol=0, atol=1e-5
    )
    said = client_command.ask(server, "--image", *photographs.values()).stdout
    assert said.splitlines() == client_command.expected_lines(
        other_artifacts, photographs.values()
    )
    with tritonclient.grpc.InferenceServerClient(server.grpc_url) as client:
        config = client.get_model_config("asl").config
    assert config.parameters["task_id"].string_value == "other"
    assert config.parameters["version"].string_value == str(version)


def test_a_version_that_cannot_be_loaded_leaves_the_old_one_answering(
    server, artifacts, photographs, tmp_path
):
    file = photographs["wide.jpg"].read_bytes()
    before = versions.current(server.repository)["version"]
    candidate = make_artifacts(tmp_path / "candidate", image_size=40, seed=3)
    record = versions.add(candidate, server.repository, {}, Settings())
    broken = server.repository / f"asl_fused_{record['version']}"
    (broken / "1" / "preprocessing.json").unlink()

    with pytest.raises(InputError) as caught:
        model_control.switch({"grpc": server.grpc_url}, server.repository, record)
    versions.remove(server.repository, record["version"])

    assert f"has not loaded {broken.name}" in str(caught.value)  # the part at fault
    assert "preprocessing.json" in str(caught.value)
    assert f"version {before} stays" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert versions.current(server.repository)["version"] == before
    np.testing.assert_allclose(
        ask(server, [file]), expect(artifacts, [file]), atol=1e-5
    )


def test_a_server_on_another_repository_is_not_taken_for_ours(
    server, other_artifacts, tmp_path, monkeypatch
):
    elsewhere, urls = tmp_path / "models", {"grpc": server.grpc_url}
    with pytest.raises(InputError, match="wants a key: it serves another repository"):
        deployment.deploy(other_artifacts, elsewhere, {}, urls=urls)

    key = server_keys.find(server.repository, server.grpc_url)
    monkeypatch.setenv("TRITON_KEY", key)
    with pytest.raises(InputError, match="serves another model repository"):
        deployment.deploy(other_artifacts, elsewhere, {}, urls=urls)


def test_loading_without_a_server_says_so_and_leaves_nothing(artifacts, tmp_path):
    with pytest.raises(InputError, match="no Triton server answers at 127.0.0.1:1 "):
        deployment.deploy(
            artifacts, tmp_path / "models", {}, urls={"grpc": "127.0.0.1:1"}
        )

    assert versions.versions(tmp_path / "models") == []


def test_the_same_model_again_does_nothing_and_rolling_back_answers_as_before(
    server, artifacts, other_artifacts, photographs, redeploy
):
    files = [path.read_bytes() for path in photographs.values()]
    first = redeploy(artifacts, task_id="a", accuracy="0.91")
    assert redeploy(artifacts, task_id="a", accuracy="0.91") == first
    second = redeploy(other_artifacts, task_id="b")
    assert second == first + 1

    record = deployment.roll_back(server.repository, {"grpc": server.grpc_url})

    assert record["version"] == first
    np.testing.assert_allclose(
        ask(server, files), expect(artifacts, files), rtol=0, atol=1e-5
    )
    listed = deployment.table(deployment.listing(server.repository))
    rows = [line.split() for line in listed.splitlines()]
    (row,) = [row for row in rows if row[-1] == "current"]
    assert row[:4] == [str(first), "a", "-", "0.9100"]
    (row,) = [row for row in rows if row[0] == str(second)]
    assert (row[1], row[-1]) == ("b", "withdrawn")


def test_going_back_starts_from_what_a_killed_deployment_left_on_the_server(
    server, artifacts, other_artifacts, photographs, redeploy
):
    files = [path.read_bytes() for path in photographs.values()]
    redeploy(artifacts, task_id="before")
    good = redeploy(artifacts, task_id="good")
    urls = {"grpc": server.grpc_url}
    record = versions.add(
        other_artifacts, server.repository, {"task_id": "killed"}, Settings()
    )
    versions.commit(server.repository, record)
    versions.route_to(server.repository, record["version"])
    with server_keys.client(server.grpc_url, server.repository) as client:
        model_control.load(client, urls, served_names())
    assert ask(server, files).shape == (4, 2)
    assert versions.current(server.repository)["version"] == good

    assert deployment.roll_back(server.repository, urls)["version"] == good

    np.testing.assert_allclose(ask(server, files), expect(artifacts, files), atol=1e-5)


def test_two_deployments_at_the_same_time_follow_one_another(
    server, photographs, tmp_path, redeploy
):
    before = versions.versions(server.repository)
    candidates = [make_artifacts(tmp_path / str(n), seed=20 + n) for n in range(2)]

    processes = [start_deployment(server, x, Settings()) for x in candidates]
    assert [process.wait() for process in processes] == [0, 0]
    for process in processes:
        process.stdout.close()

    added = set(versions.versions(server.repository)) - set(before)
    record = versions.current(server.repository)
    assert len(added) == 2 and record["version"] == max(added)
    digest = record["metadata"]["model_sha256"]
    (last,) = [
        folder
        for folder in candidates
        if model_parts.sha256(folder / "model.onnx") == digest
    ]
    files = [path.read_bytes() for path in photographs.values()]
    np.testing.assert_allclose(ask(server, files), expect(last, files), atol=1e-5)
