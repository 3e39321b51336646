"""Real agents on the embedded server: whole pipelines, single tasks, failures, the end.

One pair of agents serves most tests; each looks at tasks of its own.
"""

import json
import shutil
import time

import pytest
from place import interrupt, start_agents

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # on a busy machine
SMALL = ("prepare.image-size=48", "train.epochs=2", "train.model=baseline_cnn")


@pytest.fixture(scope="module")
def steps(place, photographs):
    """The tasks of a pipeline whose steps ran on the agents, by name."""
    done = place.run(
        *(place.python, "-m", "pipelines.asl", "--raw", photographs),
        *("--queue", "default", "--set", *SMALL),
    )
    ids = dict(line.split(": ") for line in done.stdout.splitlines()[-4:])
    return {name: place.task(id_) for name, id_ in ids.items()}


def environment_of_a_shell(place) -> str:
    """What scripts/agents tells people to type first."""
    return f"source {place.home}/agents/environment"


def test_every_step_of_the_pipeline_runs_on_the_agent_of_its_queue(place, steps):
    assert list(steps) == ["validate", "prepare", "train", "deploy"]
    for task in steps.values():
        assert task["status"] == "completed"
        assert task["last_worker"] == "embedded:default"
        assert task["script"]["repository"] == place.checkout.as_uri()
    assert steps["train"]["hyperparams"]["Args"]["epochs"]["value"] == "2"


def test_the_model_repository_is_in_the_data_folder_not_in_the_agents_clone(
    place, steps
):
    models = place.home / "models"
    current = json.loads((models / "current.json").read_text())
    assert current["metadata"]["task_id"] == steps["train"]["id"]
    assert list(models.rglob("model.onnx"))
    assert not list((place.home / "agents").rglob("work/**/.asl"))


def test_agents_keep_out_of_the_users_home(place, steps):
    found = [str(path) for path in (place.folder / "user").rglob("*")]
    assert not [path for path in found if "gitconfig" in path]
    assert not [path for path in found if "vcs-cache" in path or "venvs" in path]


def test_clearml_task_runs_uncommitted_code_with_its_overrides(place, steps):
    script = place.checkout / "training" / "train.py"
    committed = script.read_text()
    script.write_text(committed.replace("test accuracy {", "uncommitted accuracy {"))
    try:
        created = place.run(
            *("bash", "-c"),
            f"{environment_of_a_shell(place)} && clearml-task --project ASL "
            "--name train --script training/train.py --queue default "
            "--args epochs=1 model=baseline_cnn",
        )
    finally:
        script.write_text(committed)
    (line,) = [x for x in created.stdout.splitlines() if x.startswith("New task")]
    task = place.ended(line.split("id=")[1])
    console = place.console(task["id"])
    assert task["status"] == "completed", console[-3000:]
    assert "uncommitted accuracy" in console
    history = place.home / "runs" / task["id"] / "history.json"
    assert history.read_text().count('"epoch"') == 1
    # without --dataset-id, it takes the newest
    used = task["hyperparams"]["Outputs"]["dataset_id"]["value"]
    assert used == steps["prepare"]["hyperparams"]["Outputs"]["dataset_id"]["value"]


def test_a_failure_reaches_the_controller_on_the_other_agent(
    place, photographs, tmp_path
):
    raw = shutil.copytree(photographs, tmp_path / "raw")
    (raw / "B" / "B3.jpg").write_text("no photograph")
    shown = place.run(place.python, "-m", "pipelines.asl", "--raw", raw, "--remote")
    page = shown.stdout.splitlines()[-1]
    assert page.startswith("pipeline: http")
    controller = place.ended(page.split("/tasks/")[1].split("/")[0])
    assert controller["status"] == "failed", place.console(controller["id"])[-3000:]
    assert controller["last_worker"] == "embedded:services"
    reason = controller["hyperparams"]["Outputs"]["error"]["value"]
    assert "step validate failed" in reason and "B3.jpg" in reason
    (step,) = place.tasks(parent=controller["id"])
    assert (step["name"], step["status"]) == ("validate", "failed")
    assert "B3.jpg" in step["hyperparams"]["Outputs"]["error"]["value"]


def test_an_aborted_step_ends_the_controller_with_one_line(place, photographs):
    before = {task["id"] for task in place.tasks(name="^validate$")}
    controller = place.start(
        place.python, "-m", "pipelines.asl", "--raw", photographs, "--queue", "default"
    )
    deadline = time.monotonic() + 400
    while controller.poll() is None and time.monotonic() < deadline:
        for task in place.tasks(name="^validate$", status=["in_progress"]):
            # again and again: an agent that is just starting a task forgets it
            if task["id"] not in before:
                place.call("tasks.stop", task=task["id"])
        time.sleep(0.5)
    output = controller.communicate(timeout=60)[0]
    assert controller.returncode == 2, output
    assert "Traceback" not in output
    (line,) = [x for x in output.splitlines() if x.startswith("error: ")]
    assert "step validate was stopped" in line


def test_a_second_pair_of_agents_on_the_same_folder_is_refused(place):
    done = place.run("scripts/agents", check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert str(place.home / "agents") in line


def test_one_task_runs_without_a_daemon_at_a_commit_that_is_not_pushed(
    quiet_place, photographs
):
    place = quiet_place
    # git takes this for the checkout's remote
    place.more = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "remote.origin.url",
        "GIT_CONFIG_VALUE_0": "https://remote.invalid/asl.git",
    }
    id_ = place.show(f"""
        from pipelines import asl
        from clearml import Task
        asl.name_remote()
        task = Task.create(
            project_name="ASL", task_name="validate", script="data_prep/validate.py",
            argparse_args=[("raw", "['{photographs}']")], add_task_init_call=False,
        )
        print(json.dumps(task.id))
        """)
    place.run("scripts/agents", "--execute", id_)
    status, console = place.show(f"""
        from clearml import Task
        task = Task.get_task(task_id="{id_}")
        print(json.dumps([task.status, task.get_reported_console_output(99)]))
        """)
    assert status == "completed"
    assert "72 images in 3 classes" in "".join(console)
    report = place.home / "runs" / id_ / "validation.json"
    assert report.exists()


def test_ctrl_c_stops_a_running_task_and_leaves_no_process(quiet_place):
    place = quiet_place
    sleeper = place.folder / "sleeper.py"
    sleeper.write_text("import time\nprint('asleep', flush=True)\ntime.sleep(600)\n")
    agents = start_agents(place)
    id_ = place.show(f"""
        from clearml import Task
        task = Task.create(project_name="ASL", task_name="sleeper",
                           script={str(sleeper)!r}, add_task_init_call=False)
        Task.enqueue(task, queue_name="default")
        print(json.dumps(task.id))
        """)
    deadline = time.monotonic() + 400
    while "asleep" not in place.console(id_):
        assert time.monotonic() < deadline, place.console(id_)
        time.sleep(0.3)
    assert any("sleeper.py" in line for line in place.processes())
    output = interrupt(agents)
    assert agents.returncode == 0, output
    assert not [x for x in place.processes() if "agent" in x or "sleeper" in x]
    assert place.task(id_)["status"] == "stopped"
    deadline = time.monotonic() + 20  # the server waits a little for further users
    while place.processes() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert place.processes() == []
