"""From a training in ClearML to a verified server, and why not, on the task."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from data_prep import packed
from data_prep.draw import draw_dataset
from data_prep.errors import InputError
from data_prep.paths import ROOT
from data_prep.sources import find_images
from pipelines.serving import deployment, running_server
from pipelines.serving.client import TritonClient
from pipelines.serving.golden_check import TOLERANCES
from pipelines.serving.triton_server import TritonServer
from pipelines.serving.verification import verify
from pipelines.verify import check_model, held_out

LAST_TASK = """
import json, sys
from pipelines.tracking.connection import ensure_clearml
ensure_clearml()
from clearml import Task
filter = {"order_by": ["-created"], "page": 0, "page_size": 1}
(task,) = Task.get_tasks(project_name="ASL", task_name=sys.argv[1], task_filter=filter)
print(json.dumps({
    "id": task.id,
    "status": task.get_status(),
    "reason": task.data.status_reason,
    "error": task.get_parameter("Outputs/error"),
    "values": task.get_reported_single_values(),
    "plots": [plot["metric"] for plot in task.get_reported_plots()],
    "artifacts": list(task.artifacts),
}))
"""


@dataclass(frozen=True)
class Trained:
    """Trainings in an embedded ClearML of their own.

    Attributes:
        ids: Of the tasks, see trained.py.
        home: Data folder.
        raw: The photographs.
        prepared: The prepared folder.
    """

    ids: dict[str, str]
    home: Path
    raw: Path
    prepared: Path

    def run(self, *command):
        """Run Python on these trainings, as a user would."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith("CLEARML")}
        ours = {"ASL_HOME": str(self.home), "PYTHONPATH": str(ROOT)}
        return subprocess.run(
            [sys.executable, *map(str, command)],
            cwd=self.home,
            env=clean | ours,
            capture_output=True,
            text=True,
        )

    def last(self, name: str) -> dict:
        """What ClearML knows of the newest task of a name."""
        return json.loads(self.run("-c", LAST_TASK, name).stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    home = tmp_path_factory.mktemp("trained")
    raw = draw_dataset(home / "drawn", 40, classes=["B", "L", "V"], size=64, workers=1)
    trained = Trained({}, home, raw, home / "prepared")
    done = trained.run(Path(__file__).with_name("trained.py"), raw, home)
    assert done.returncode == 0, done.stderr
    trained.ids.update(json.loads(done.stdout.splitlines()[-1]))
    return trained


@pytest.fixture(scope="module")
def deployed(trained):
    """The good training in a repository, without a server."""
    line = ["-m", "pipelines.deploy", "--task", trained.ids["good"], "--json"]
    done = trained.run(*line)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["version"], answer["server"]) == (1, None)
    assert answer["metadata"]["task_id"] == trained.ids["good"]
    return trained


@pytest.fixture(scope="module")
def serving(deployed):
    """A server on that repository, and the options that name it."""
    with TritonServer(deployed.home / "models") as server:
        yield server, ("--url", server.grpc_url, "--http-url", server.http_url)


def the_one_error(done) -> str:
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    (line,) = [x for x in done.stderr.splitlines() if x.startswith("error: ")]
    return line.removeprefix("error: ")


@pytest.mark.slow
def test_without_any_option_what_is_deployed_is_served_and_verified(deployed):
    done = deployed.run("-m", "pipelines.verify", "--json")

    assert done.returncode == 0, done.stderr
    task = deployed.last("verify")
    assert task["status"] == "completed"
    assert task["values"]["served agreement"] == 1
    assert "Verification" in task["plots"] and "verification" in task["artifacts"]
    path = deployed.home / "runs" / task["id"] / "verification.json"
    result = json.loads(path.read_text())
    assert json.loads(done.stdout) == result
    ways = {(way["protocol"], way["batch_size"]) for way in result["ways"]}
    assert ways == {(p, n) for p in ("grpc", "http") for n in (1, 2, 7)}
    rows = [row for row in packed.read_manifest(deployed.prepared)]
    assert result["images"] == sum(row.split == "test" for row in rows) > 7
    assert all(way["agreeing"] == result["images"] for way in result["ways"])
    assert result["max_difference"] < 1e-5


@pytest.mark.slow
def test_a_failed_deployment_says_why_on_its_task_and_the_version_before_stays(
    serving, deployed
):
    _, addresses = serving

    line = ["-m", "pipelines.deploy", "--task", deployed.ids["newer"]]
    done = deployed.run(*line, "--allow-new-classes", *addresses)

    error = the_one_error(done)
    assert "has not loaded asl_" in error and error.endswith("version 1 stays")
    task = deployed.last("deploy")
    assert task["status"] == "failed"
    assert task["reason"] == task["error"] == error


@pytest.mark.slow
def test_without_an_address_the_server_that_runs_on_the_repository_tests_a_model(
    serving, deployed
):
    server, _ = serving
    with running_server.noted(server.repository, server.grpc_url, server.http_url):
        line = ["-m", "pipelines.deploy", "--task", deployed.ids["newer"]]
        done = deployed.run(*line, "--allow-new-classes")

    error = the_one_error(done)
    assert "has not loaded asl_" in error and error.endswith("version 1 stays")


@pytest.mark.slow
def test_a_server_that_disagrees_with_torch_or_serves_another_training_fails(
    serving, deployed
):
    server, addresses = serving
    tampered, good = deployed.ids["tampered"], deployed.ids["good"]
    deployment.deploy(
        deployed.home / "good",
        server.repository,
        {"task_id": tampered},
        urls={"grpc": server.grpc_url},
    )

    done = deployed.run("-m", "pipelines.verify", "--raw", deployed.raw, *addresses)

    assert f"disagree on {disagreeing(done)} of " in the_one_error(done)
    with TritonClient(server.grpc_url) as ask:
        with pytest.raises(InputError, match=f"of task {tampered}, not of {good}; run"):
            check_model(ask, good)


@pytest.mark.slow
def test_a_negative_limit_and_a_port_that_does_not_speak_http_are_told_in_one_line(
    serving, deployed
):
    server, addresses = serving
    command = ["-m", "pipelines.verify", "--raw", deployed.raw, "--limit", "-1"]
    done = deployed.run(*command, *addresses)
    assert "--limit is -1" in the_one_error(done)

    with pytest.raises(InputError, match="does not serve 'asl'"):
        TritonClient(server.grpc_url, "http")


def disagreeing(done) -> int:
    """On how many photographs, as the table in a command's output says."""
    (row,) = [
        x.split() for x in done.stdout.splitlines() if x.split()[:2] == ["grpc", "1"]
    ]
    return int(row[2]) - int(row[4])


def test_photographs_that_torch_has_not_answered_are_left_out(trained):
    """As after --fast-dev-run, which evaluates the first of the test split alone."""
    listing = find_images([trained.raw])

    picks, images = held_out(listing, trained.prepared, answered=5)
    assert list(picks) == [0, 1, 2, 3, 4] and len(images) == 5
    picks, images = held_out(listing, trained.prepared, answered=5, limit=3)
    assert list(picks) == [0, 2, 4] and len(images) == 3


def pictures(count: int) -> dict[bytes, int]:
    """Encoded pictures, each another grey, and their numbers."""
    greys = [np.full((16, 16, 3), 20 * number, np.uint8) for number in range(count)]
    return {cv2.imencode(".png", g)[1].tobytes(): n for n, g in enumerate(greys)}


def test_answers_of_nan_agree_with_nothing_and_ties_with_either():
    expected = np.array([[0.6, 0.4], [0.50004, 0.49996], [0.9, 0.1]], np.float32)
    answers = np.array([[0.6, 0.4], [0.49996, 0.50004], [np.nan, 0.1]], np.float32)
    files = pictures(3)

    result = verify(
        list(files),
        np.array([0, 1, 0]),
        expected,
        {"grpc": lambda asked: np.stack([answers[files[file]] for file in asked])},
    )

    assert (result["agreeing"], result["correct"], result["images"]) == (2, 2, 3)
    assert result["max_difference"] == 1 > result["allowed_difference"]
    assert result["torch_accuracy"] == pytest.approx(2 / 3)
    assert [way["batch_size"] for way in result["ways"]] == [1, 2]


def test_what_a_deployment_of_that_precision_may_be_off_by_is_a_tie():
    expected = np.array([[0.51, 0.49], [0.53, 0.47]], np.float32)
    swapped = expected[:, ::-1]  # off by 0.02, as half precision may be, and by 0.06
    files = pictures(2)
    agreeing = {
        precision: verify(
            list(files),
            np.array([0, 0]),
            expected,
            {"grpc": lambda asked: np.stack([swapped[files[file]] for file in asked])},
            precision,
        )["agreeing"]
        for precision in TOLERANCES
    }
    assert agreeing == {"fp32": 0, "fp16": 1}
