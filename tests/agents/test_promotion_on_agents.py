"""Models are trained, promoted and deployed by pipelines on real agents.

First a model A is promoted. A worse one, B, is trained and changes nothing. A better
one, C, by a pipeline that clearml-task started, replaces A in the running Triton server
while clients ask it.
"""

import json
import threading
import time

import numpy as np
import pytest
import tritonclient.grpc as triton

from pipelines.serving.triton_server import TritonServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]  # on a busy machine
COMMON = ("prepare.image-size=48", "train.model=baseline_cnn", "train.no-baselines=1")
COMMON += ("train.find-hand=no", "train.balance=0")
# the gain that is wanted lies far above what a class of few photographs tells
COMMON += ("promote.min-recall=0", "promote.min-gain=0.1", "promote.significance=1")
A = (*COMMON, "train.epochs=4", "train.lr=0.001", "train.ema=0", "train.batch-size=16")
B = (*COMMON, "train.epochs=1", "train.lr=1e-7", "train.batch-size=64")
C = (*COMMON, "train.epochs=25", "train.ema=0", "train.batch-size=16")


class Clients:
    """Two clients that ask about one photograph, again and again, until they stop."""

    def __init__(self, url: str, photograph: bytes):
        self.answers, self.failures = set(), []
        self._stop = threading.Event()
        arguments = (url, photograph)
        self._threads = [
            threading.Thread(target=self._ask, args=arguments) for _ in range(2)
        ]

    def _ask(self, url, photograph):
        image = triton.InferInput("image", [1, 1], "BYTES")
        image.set_data_from_numpy(np.array([[photograph]], dtype=object))
        with triton.InferenceServerClient(url) as client:
            while not self._stop.is_set():
                try:
                    answer = client.infer("asl", [image])
                    probabilities = answer.as_numpy("probabilities")[0]
                    self.answers.add(tuple(probabilities.round(3)))
                except Exception as error:  # each is a request that failed
                    self.failures.append(repr(error))
                time.sleep(0.02)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()


def pipeline(place, photographs, *options) -> dict[str, dict]:
    """Run the pipeline; return its steps' tasks by name."""
    command = [place.python, "-m", "pipelines.asl", "--raw", photographs, *options]
    done = place.run(*command, timeout=1100)
    lines = [line.split(": ") for line in done.stdout.splitlines()]
    ids = {line[0]: line[1] for line in lines if len(line) == 2 and len(line[1]) == 32}
    return {name: place.task(id_) for name, id_ in ids.items()}


@pytest.fixture(scope="module")
def a(place, photographs):
    """The steps of the first pipeline, all run by an agent."""
    return pipeline(place, photographs, "--queue", "default", "--set", *A)


@pytest.fixture(scope="module")
def server(place, a):
    """A Triton server with model A, and clients that ask it all the time."""
    with TritonServer(place.home / "models") as server:
        yield server


def output(task, name: str) -> str:
    return task["hyperparams"]["Outputs"][name]["value"]


def best(place) -> tuple[list[str], list[str]]:
    """Which tasks are tagged best, and whose published models are."""
    models = place.call("models.get_all", tags=["best"])["models"]
    assert all(model["ready"] for model in models)
    return [t["id"] for t in place.tasks(tags=["best"])], [m["task"] for m in models]


def deployed(place) -> dict:
    return json.loads((place.home / "models" / "current.json").read_text())


def test_every_step_of_the_first_pipeline_runs_on_the_agent_of_its_queue(place, a):
    # without a server's address there is nothing that an agent could verify
    assert list(a) == ["validate", "prepare", "train", "evaluate", "promote", "deploy"]
    for task in a.values():
        assert task["status"] == "completed"
        assert task["last_worker"] == "embedded:default"
        assert task["script"]["repository"] == place.checkout.as_uri()
    assert a["train"]["hyperparams"]["Args"]["epochs"]["value"] == "4"


def test_the_model_repository_is_in_the_data_folder_not_in_the_agents_clone(place, a):
    assert deployed(place)["metadata"]["task_id"] == a["train"]["id"]
    assert list((place.home / "models").rglob("model.onnx"))
    assert not list((place.home / "agents").rglob("work/**/.asl"))


def test_agents_keep_out_of_the_users_home(place, a):
    found = [str(path) for path in (place.folder / "user").rglob("*")]
    assert not [path for path in found if "gitconfig" in path]
    assert not [path for path in found if "vcs-cache" in path or "venvs" in path]


def test_the_first_model_is_promoted(place, a):
    assert best(place) == ([a["train"]["id"]], [a["train"]["id"]])
    assert output(a["promote"], "task_id") == a["train"]["id"]


@pytest.mark.campaign
def test_a_worse_model_is_trained_and_changes_nothing(place, a, server, photographs):
    before = deployed(place)
    address = ("--url", server.grpc_url, "--http-url", server.http_url)
    b = pipeline(place, photographs, "--local", *address, "--set", *B)
    assert list(b) == [*a, "verify"]
    # nothing but the training options differs, also not between agents and here
    assert b["validate"]["id"] == a["validate"]["id"]
    assert b["prepare"]["id"] == a["prepare"]["id"]
    assert b["train"]["id"] != a["train"]["id"]
    assert "stays" in "".join(place.console(b["promote"]["id"]).split("\n")[-20:])
    assert output(b["promote"], "task_id") == a["train"]["id"]
    assert best(place) == ([a["train"]["id"]], [a["train"]["id"]])
    assert deployed(place) == before
    assert output(b["verify"], "agreement") == "1.0"


@pytest.mark.campaign
def test_a_better_model_replaces_it_under_load_by_clearml_task(
    place, a, server, photographs
):
    script = place.checkout / "training" / "train.py"
    committed = script.read_text()
    script.write_text(committed.replace("test accuracy {", "uncommitted accuracy {"))
    values = {
        "raw": [str(photographs)],
        "set": [option.replace("=", ":") for option in C],
        "url": server.grpc_url,
        "http_url": server.http_url,
    }
    arguments = [f"{name}={value}" for name, value in values.items()]
    shell = f'source {place.home}/agents/environment && exec "$@"'
    photograph = next((photographs / "B").iterdir()).read_bytes()
    with Clients(server.grpc_url, photograph) as clients:
        try:
            command = ["bash", "-c", shell, "bash", "clearml-task", "--pipeline"]
            command += ["--project", "ASL", "--name", "asl"]
            command += ["--script", "pipelines/asl.py"]
            command += ["--queue", "services", "--args", *arguments]
            created = place.run(*command)
        finally:
            script.write_text(committed)
        (line,) = [x for x in created.stdout.splitlines() if x.startswith("New ")]
        controller = place.ended(line.split("id=")[1].split()[0], seconds=1100)
    console = place.console(controller["id"])
    assert controller["status"] == "completed", console[-3000:]
    assert controller["last_worker"].startswith("embedded:services")
    c = {task["name"]: task for task in place.tasks(parent=controller["id"])}
    # validate runs the same code, and train does not
    assert sorted(c) == ["deploy", "evaluate", "promote", "train", "verify"]
    assert "uncommitted accuracy" in place.console(c["train"]["id"])
    assert output(c["promote"], "task_id") == c["train"]["id"]
    assert best(place) == ([c["train"]["id"]], [c["train"]["id"]])
    assert deployed(place)["metadata"]["task_id"] == c["train"]["id"]
    assert output(c["verify"], "agreement") == "1.0"
    assert clients.failures == []
    assert len(clients.answers) == 2  # A's, then C's
    assert_it_shows_what_its_steps_found(place, controller["id"])


def assert_it_shows_what_its_steps_found(place, controller: str):
    plots = place.call("events.get_task_plots", task=controller)["plots"]
    shown = {(plot["metric"], plot["variant"]) for plot in plots}
    assert {("evaluation", "overall"), ("evaluation", "by class")} <= shown
    assert "candidates" in {metric for metric, _ in shown}
    images = place.call("events.debug_images", metrics=[{"task": controller}])
    (found,) = images["metrics"]
    names = {event["variant"] for event in found["iterations"][0]["events"]}
    assert {"confusion_matrix", "predictions"} <= names


@pytest.mark.campaign
def test_a_search_trains_on_the_agents_and_names_the_best(place, a):
    command = [place.python, "-m", "pipelines.search", "--trials", "2"]
    command += ["--space", "lr=0.0001:0.01:log", "batch-size=8,16"]
    command += ["--set", "epochs=2", "model=baseline_cnn", "no-baselines=1"]
    done = place.run(*command, timeout=1100)
    (search,) = place.tasks(name="^search$")
    trials = {task["id"]: task for task in place.tasks(parent=search["id"])}
    assert len(trials) == 2
    rates = set()
    for task in trials.values():
        assert (task["status"], task["type"]) == ("completed", "training")
        assert task["last_worker"] == "embedded:default"
        options = {k: v["value"] for k, v in task["hyperparams"]["Args"].items()}
        assert 0.0001 <= float(options["lr"]) <= 0.01
        assert options["batch_size"] in ("8", "16") and options["epochs"] == "2"
        rates.add(options["lr"])
    assert len(rates) == 2
    best = output(search, "task_id")
    accuracies = {}
    for line in done.stdout.splitlines():
        if line[:32] in trials:
            accuracies[line[:32]] = float(line.split()[1])
    assert accuracies[best] == max(accuracies.values()) and len(accuracies) == 2
