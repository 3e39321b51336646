"""Real agents on the embedded server: single tasks, failures, the end.

One pair of agents serves most tests; each looks at tasks of its own.
"""

import shutil
import time

import pytest
from place import interrupt, start_agents

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]  # on a busy machine


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
    assert controller["last_worker"].startswith("embedded:services")
    reason = controller["hyperparams"]["Outputs"]["error"]["value"]
    assert "step validate failed" in reason and "B3.jpg" in reason
    (step,) = place.tasks(parent=controller["id"])
    assert (step["name"], step["status"]) == ("validate", "failed")
    assert "B3.jpg" in step["hyperparams"]["Outputs"]["error"]["value"]


def test_an_aborted_step_ends_the_controller_with_one_line(place, photographs):
    before = {task["id"] for task in place.tasks(name="^train$")}
    command = [place.python, "-m", "pipelines.asl", "--raw", photographs]
    command += ["--queue", "default", "--set", "prepare.image-size=48"]
    # it does not end by itself
    command += ["train.epochs=100000", "train.max-minutes=0"]
    command += ["train.model=baseline_cnn", "train.find-hand=no"]
    controller = place.start(*command)
    deadline = time.monotonic() + 800
    aborted = None
    while controller.poll() is None and time.monotonic() < deadline:
        for task in place.tasks(name="^train$", status=["in_progress"]):
            # once it trains: an agent that is just starting a task forgets it
            if task["id"] not in before and task["last_iteration"] > 0 and not aborted:
                aborted = task["id"]
                place.call("tasks.stop", task=aborted)
        time.sleep(0.5)
    output = controller.communicate(timeout=60)[0]
    assert controller.returncode == 2, output
    assert "Traceback" not in output
    (line,) = [x for x in output.splitlines() if x.startswith("error: ")]
    assert "step train was stopped" in line and aborted in line


def test_a_second_pair_of_agents_on_the_same_folder_is_refused(place):
    done = place.run("scripts/agents", check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert str(place.home / "agents") in line


def test_agents_that_wait_for_work_write_no_more(place):
    agents = [path.parent.name for path in place.home.glob("agents/*/agent.log")]
    assert sorted(agents) == ["default", "services", "services-2", "services-3"]
    for log in place.home.glob("agents/*/agent.log"):
        text = log.read_text(encoding="utf-8")
        assert "Listening to queues" in text and "No tasks in" not in text


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
        from pipelines.tracking import checkout
        from clearml import Task
        checkout.name_remote()
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
    assert "120 images in 3 classes" in "".join(console)
    report = place.home / "runs" / id_ / "validation.json"
    assert report.exists()


def test_ctrl_c_stops_a_running_task_and_leaves_no_process(quiet_place):
    place = quiet_place
    sleeper = place.folder / "sleeper.py"
    sleeper.write_text("import time\nprint('asleep', flush=True)\ntime.sleep(600)\n")
    agents = start_agents(place, "--services", "1")
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
    assert agents.returncode == 130, output
    assert not [x for x in place.processes() if "agent" in x or "sleeper" in x]
    assert place.task(id_)["status"] == "stopped"
    deadline = time.monotonic() + 20  # the server waits a little for further users
    while place.processes() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert place.processes() == []
