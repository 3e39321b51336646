"""The whole chain on drawn photographs, by quickstart and by single commands.

That another training follows into a running server is shown in tests/agents.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_prep.draw import draw_dataset
from data_prep.paths import ROOT
from pipelines.orchestration import steps

pytestmark = pytest.mark.slow


def environment(home) -> dict[str, str]:
    """A data folder of its own, and no ClearML but the embedded one."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith("CLEARML")}
    return ours | {"ASL_HOME": str(home), "PYTHONPATH": str(ROOT)}


def run(*command, home, check=True):
    """Run a command of the project on a data folder, to its end."""
    done = subprocess.run(
        [sys.executable, *command],
        env=environment(home),
        capture_output=True,
        text=True,
    )
    if check:
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done


def processes_of(home) -> list[str]:
    """Command lines of running processes that mention the data folder."""
    found = []
    for process in os.listdir("/proc"):
        if process.isdecimal() and int(process) != os.getpid():
            try:
                with open(f"/proc/{process}/cmdline", "rb") as file:
                    line = file.read().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if str(home) in line:
                found.append(line)
    return found


def assert_nothing_runs(home):
    deadline = time.monotonic() + 20  # the ClearML server lingers for a few seconds
    while processes_of(home) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert processes_of(home) == []


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def quickstart(home, tmp_path_factory):
    """The output of a quickstart on four letters, in an archive."""
    raw = tmp_path_factory.mktemp("photographs") / "four_letters"
    draw_dataset(raw, per_class=60, classes=["B", "L", "V", "nothing"], workers=1)
    raw = shutil.make_archive(str(raw), "zip", raw)
    command = ["-m", "pipelines.quickstart", "--raw", str(raw), "--set"]
    command += ["prepare.image-size=48", "train.epochs=30", "train.batch-size=16"]
    return run(*command, home=home).stdout


def lines_by_step(output: str) -> dict[str, str]:
    """What the display says of each step."""
    return dict(
        line.split(maxsplit=1) for line in output.splitlines() if " s" in line[-3:]
    )


def test_quickstart_shows_a_line_a_step_and_the_servers_answer(quickstart, home):
    told = lines_by_step(quickstart)
    steps = ["validate", "prepare", "train", "evaluate", "promote", "deploy"]
    assert list(told) == [*steps, "serve", "verify", "ask"]
    right, total, agreeing = re.fullmatch(
        r"(\d+) of (\d+) test images right .*; same answer as torch for (\d+) +\d+ s",
        told["verify"],
    ).groups()
    assert agreeing == total and int(total) > 12
    assert int(right) >= 0.7 * int(total)
    asked = re.match(
        r"asked about a photograph of (\w+), the server answers (\w+) .*: (\w+)",
        told["ask"],
    )
    assert (asked[1] == asked[2]) == (asked[3] == "right")
    assert "30 of 30 epochs" in told["train"] or "min were over" in told["train"]
    assert "The model of this run serves." in quickstart
    assert (home / "models" / "asl" / "config.pbtxt").exists()


def test_what_the_quickstart_prints_is_short_and_free_of_clearml(quickstart, home):
    assert len(quickstart.splitlines()) <= 40
    assert "ClearML" not in quickstart and "{" not in quickstart
    (log,) = (home / "logs").glob("quickstart-*.log")
    assert str(log) in quickstart
    assert "ClearML results page" in log.read_text()
    for file in re.findall(r"Look at +(\S+)", quickstart):
        assert Path(file).is_file()


def test_quickstart_leaves_nothing_running(quickstart, home):
    assert_nothing_runs(home)


def test_ctrl_c_ends_quickstart_and_all_that_it_started(home, tmp_path):
    raw = tmp_path / "raw"
    draw_dataset(raw, per_class=30, classes=["A", "B"], workers=1)
    command = ["-m", "pipelines.quickstart", "--raw", str(raw), "--set"]
    command += ["train.epochs=100000", "prepare.image-size=48"]
    process = subprocess.Popen(
        [sys.executable, *command],
        env=environment(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # a process group of its own, as in a terminal
    )
    for line in process.stdout:
        if line.startswith("prepare"):
            break
    runs = home / "runs"
    before = set(runs.glob("*/last.pt"))
    deadline = time.monotonic() + 200
    while set(runs.glob("*/last.pt")) == before and time.monotonic() < deadline:
        time.sleep(0.1)  # until it trains
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert_nothing_runs(home)


def test_two_processes_of_torchrun_are_one_training_task(quickstart, home):
    def trainings():
        return {path.parent for path in (home / "runs").glob("*/history.json")}

    before = trainings()
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += [str(ROOT / "training/train.py"), "--fast-dev-run"]
    done = run(*command, home=home)
    assert len(trainings() - before) == 1
    assert done.stdout.count("test accuracy") == 1
    # and it only tried the code: nobody deploys it by mistake
    program = (
        "from pipelines.tracking.connection import ensure_clearml; ensure_clearml()\n"
        "from pipelines.tracking.trainings import find_training\n"
        "print(find_training('last').id)"
    )
    last = run("-c", program, home=home).stdout.split()[-1]
    assert last not in {folder.name for folder in trainings() - before}


def test_a_failing_step_stops_the_pipeline_with_its_reason(home, tmp_path):
    raw = tmp_path / "raw"
    draw_dataset(raw, per_class=8, classes=["A", "B"], workers=1)
    (raw / "A" / "A3.jpg").write_text("no photograph")
    done = run(
        "-m", "pipelines.asl", "--local", "--raw", str(raw), home=home, check=False
    )
    assert done.returncode == 2
    assert "A3.jpg" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert list(lines_by_step(done.stdout)) == ["validate"]


@pytest.mark.parametrize(
    "arguments, named",
    [
        (["-m", "pipelines.quickstart", "--raw", "/no/such/folder"], "/no/such/folder"),
        (
            ["-m", "pipelines.asl", "--local", "--raw", "x", "--set", "epochs=3"],
            "epochs",
        ),
        (["-m", "pipelines.asl", "--local"], "--raw"),
        (["-m", "training.train", "--model", "resnet19"], "resnet18"),
        (["-m", "training.train", "--dataset-id", "abc"], "abc"),
        (["-m", "pipelines.deploy", "--task", "none-such"], "none-such"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(
    quickstart, home, arguments, named
):
    done = run(*arguments, home=home, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr + done.stdout
    (line,) = [x for x in done.stderr.splitlines() if x.startswith("error: ")]
    assert named in line


def test_settings_name_step_option_and_value():
    settings = steps.parse_settings(["train.max-minutes:1", "deploy.url=h:1"])
    assert settings["train"] == {"max_minutes": "1"}
    assert settings["deploy"] == {"url": "h:1"}
    assert settings["prepare"] == {}
