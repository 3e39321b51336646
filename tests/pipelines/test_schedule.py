"""`python -m pipelines.schedule`: ClearML's own schedulers start the pipeline."""

import signal
import time

import psutil
import pytest
from place import interrupt

from data_prep.draw import draw_dataset

pytestmark = pytest.mark.slow

REGISTER = """
from pathlib import Path
from pipelines import tracking
print(json.dumps(tracking.register_raw({{"letters": Path({folder!r})}})))
"""


def start(place, *options):
    process = place.start(place.python, "-m", "pipelines.schedule", *options)
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("waiting"):
            return process
    raise AssertionError("".join(lines))


def queued(place) -> dict:
    """Take the one task that waits for an agent out of its queue, once there is one."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for task in place.tasks(status=["queued"]):
            place.call("tasks.dequeue", task=task["id"])
            return task
        time.sleep(0.3)
    raise AssertionError(place.tasks())


def test_it_has_no_process_of_the_sdk_beside_it(place, tmp_path):
    """One made while git is asked would keep git's pipe open: minutes of silence."""
    schedule = start(place, "--daily", "02:30", "--raw", str(tmp_path))
    try:
        assert psutil.Process(schedule.pid).children() == []
    finally:
        interrupt(schedule, seconds=200)


def options_of(task) -> dict:
    known = task["hyperparams"]["Args"]
    return {name: item["value"] for name, item in known.items()}


def test_new_photographs_start_the_pipeline_on_them(place, tmp_path):
    folder = draw_dataset(tmp_path / "letters", 3, classes=["A", "B"], workers=1)
    options = ["--on-new-data", "--poll", "0.01"]
    options += ["--set", "train.epochs=3", "prepare.image-size=48"]
    schedule = start(place, *options)
    try:
        id_ = place.show(REGISTER.format(folder=str(folder)))
        task = queued(place)
    finally:
        output = interrupt(schedule, seconds=200)
    assert schedule.returncode == 130 and "Traceback" not in output, output
    assert task["type"] == "controller"
    assert options_of(task)["dataset_id"] == id_
    assert options_of(task)["set"] == "['train.epochs=3', 'prepare.image-size=48']"
    queue = place.call("queues.get_by_id", queue=task["execution"]["queue"])["queue"]
    assert queue["name"] == "services"


def test_the_clock_starts_the_pipeline_every_day(place, tmp_path):
    raw = ("--raw", str(tmp_path))
    schedule = start(place, "--daily", "02:30", "--now", *raw)
    try:
        task = queued(place)
        following = next(line for line in schedule.stdout if "next run" in line)
    finally:
        output = interrupt(schedule, 200, signal.SIGTERM)
    assert schedule.returncode == 0 and "Traceback" not in output, output
    assert options_of(task)["raw"] == f"['{tmp_path}']"
    assert "02:30:00" in following


@pytest.mark.parametrize(
    "options, named",
    [
        (["--daily", "25:00", "--raw", "x"], "25:00"),
        (["--daily", "02:30+02:00", "--raw", "x"], "02:30+02:00"),
        (["--on-new-data", "--raw", "x"], "--raw"),
        (["--on-new-data", "--now"], "--now"),
        (["--daily", "02:30"], "--raw"),
        (["--on-new-data", "--set", "epochs=3"], "epochs=3"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(place, options, named):
    done = place.run(place.python, "-m", "pipelines.schedule", *options, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ") and named in line
