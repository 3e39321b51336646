"""The whole chain on drawn photographs: quickstart, then another training."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from data_prep.draw import draw_dataset
from data_prep.paths import ROOT
from pipelines.orchestration import steps
from pipelines.repository import versions
from pipelines.serving.triton_server import TritonServer

pytestmark = pytest.mark.slow


def environment(home) -> dict[str, str]:
    """A data folder of its own, and no ClearML but the embedded one."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith("CLEARML")}
    return ours | {"ASL_HOME": str(home), "PYTHONPATH": str(ROOT)}


def run(*command, home, check=True, cwd=None):
    """Run a command of the project on a data folder, to its end."""
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
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
def photographs(tmp_path_factory):
    """An archive of four letters: coloured discs, which are learned in few epochs."""
    raw = tmp_path_factory.mktemp("photographs") / "four_letters"
    draw_discs(raw, dict(zip(("B", "L", "V", "nothing"), COLOURS)), per_class=40)
    return shutil.make_archive(str(raw), "zip", raw)


@pytest.fixture(scope="module")
def quickstart(home, photographs):
    """The output of a quickstart on them."""
    command = ["-m", "pipelines.quickstart", "--raw", photographs, "--set"]
    command += ["prepare.image-size=48", "train.epochs=3", "train.batch-size=16"]
    return run(*command, home=home).stdout


# blue, green and red, from 0 to 255
COLOURS = [(250, 250, 250), (40, 30, 210), (30, 200, 220), (200, 80, 20)]


def draw_discs(folder, colours, per_class):
    """Draw folders of photographs of discs, of a colour each."""
    rng = np.random.default_rng(8)
    for name, colour in colours.items():
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            picture = rng.integers(0, 90, (40, 40, 3), np.uint8)
            place = tuple(map(int, rng.integers(12, 28, 2)))
            cv2.circle(picture, place, 11, colour, cv2.FILLED)
            cv2.imwrite(str(folder / name / f"{number}.png"), picture)


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
    assert "3 of 3 epochs" in told["train"]
    assert "The model of this run serves." in quickstart
    assert (home / "models" / "asl" / "config.pbtxt").exists()


def test_what_the_quickstart_prints_is_short_and_free_of_clearml(quickstart, home):
    assert len(quickstart.splitlines()) <= 40
    assert "ClearML" not in quickstart and "{" not in quickstart
    (log,) = re.findall(r"What the steps print is in (\S+)", quickstart)
    assert Path(log).parent == home / "logs"
    assert "ClearML results page" in Path(log).read_text()
    for file in re.findall(r"Look at +(\S+)", quickstart):
        assert Path(file).is_file()


def test_quickstart_leaves_nothing_running(quickstart, home):
    assert_nothing_runs(home)


def test_ctrl_c_ends_quickstart_and_all_that_it_started(quickstart, photographs, home):
    command = ["-m", "pipelines.quickstart", "--raw", photographs, "--set"]
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
    assert "interrupted in the step train; the same command goes on" in output
    assert "Traceback" not in output
    assert_nothing_runs(home)


@pytest.mark.campaign
def test_another_training_follows_into_the_running_server_without_an_edit(
    quickstart, home, tmp_path, monkeypatch
):
    monkeypatch.setenv("ASL_HOME", str(home))
    raw = tmp_path / "three_letters"
    draw_dataset(raw, per_class=60, classes=["C", "W", "Y"], workers=1, seed=3)
    client = str(ROOT / "triton" / "client" / "client.py")
    photograph = str(raw / "W" / "W1.jpg")
    with TritonServer(home / "models") as server:
        ask = (client, "--url", server.grpc_url, "--image", photograph, "--top", "9")
        before = run(*ask, home=home).stdout
        command = ["-m", "pipelines.asl", "--local", "--raw", str(raw)]
        command += ["--set", "prepare.image-size=64", "train.epochs=2"]
        command += ["train.model=baseline_cnn", "promote.min-recall=0"]
        command += ["deploy.allow-new-classes=true"]
        done = run(*command, "--url", server.grpc_url, "--json", home=home)
        assert list(json.loads(done.stdout)["steps"]) == list(steps.STEPS)
        after = run(*ask, home=home).stdout
    assert before.count("(") == 4 and "nothing (" in before
    assert after.count("(") == 3
    assert all(f"{letter} (" in after for letter in "CWY")


# what makes the presets small; the first command of the page was the quickstart
SMALL = {
    "sign_mnist": ("train.epochs=2", "train.batch-size=16"),
    "flowers": (
        "prepare.image-size=32",
        "train.epochs=2",
        "train.batch-size=16",
        "train.model=small_resnet",
        "train.pretrained=no",
        "train.frozen-layers=0",
    ),
}


FLOWERS = dict(zip(("daisy", "rose", "tulip"), COLOURS))


def write_tables(folder):
    """The two tables of Sign-MNIST, with three letters; return these."""
    folder.mkdir()
    rng = np.random.default_rng(9)
    headings = "label," + ",".join(f"pixel{i}" for i in range(1, 785))
    for name, count in (("train", 90), ("test", 12)):
        lines = [headings]
        for row in range(count):
            label = (0, 1, 24)[row % 3]
            greys = rng.integers(0, 60, (28, 28))
            greys[:, label : label + 4] = 250
            lines.append(",".join(map(str, (label, *greys.ravel()))))
        (folder / f"sign_mnist_{name}.csv").write_text("\n".join(lines) + "\n")
    cv2.imwrite(str(folder / "y.png"), greys.astype(np.uint8))
    return ["A", "B", "Y"]


@pytest.mark.campaign
def test_the_commands_of_the_docs_page_train_three_sets_that_are_served_side_by_side(
    quickstart, home, tmp_path
):
    page = (ROOT / "docs" / "other-pictures.md").read_text()
    lines = re.findall(r"^scripts/quickstart --preset (\w+) --raw (\w+) ", page, re.M)
    assert [preset for preset, _ in lines] == list(SMALL)
    classes = {
        "sign_mnist": write_tables(tmp_path / "sign_mnist"),
        "flowers": list(FLOWERS),
    }
    draw_discs(tmp_path / "flowers", FLOWERS, per_class=24)
    for preset, raw in lines:
        command = ["-m", "pipelines.quickstart", "--preset", preset, "--raw", raw]
        command += ["--least-accuracy", "0", "--set", *SMALL[preset]]
        done = run(*command, "--json", home=home, cwd=tmp_path)
        answer = json.loads(done.stdout)
        assert answer["model"]["name"] == preset and answer["is_of_this_run"]
        told = lines_by_step(done.stderr)
        assert f"version 1 of {preset} in " in told["deploy"]
        assert "same answer as torch for" in told["verify"]

    photographs = {
        "asl": tmp_path / "flowers" / "rose" / "1.png",
        "sign_mnist": tmp_path / "sign_mnist" / "y.png",
        "flowers": tmp_path / "flowers" / "rose" / "1.png",
    }
    with TritonServer(home / "models") as server:
        for name, photograph in photographs.items():
            client = (ROOT / "triton" / "client" / "client.py", "--json")
            address = ("--url", server.grpc_url, "--model", name)
            done = run(*client, *address, "--image", photograph, home=home)
            (answer,) = json.loads(done.stdout)
            assert answer["model"]["name"] == name
            known = classes.get(name) or answered_by_asl(home)
            assert sorted(answer["all_predictions"]) == known

    row = ("--csv-row", tmp_path / "sign_mnist" / "sign_mnist_test.csv")
    asked = run("-m", "training.infer", "--name", "sign_mnist", *row, home=home)
    assert "sign_mnist, version 1, which is served" in asked.stderr
    assert len(asked.stdout.splitlines()) == 2 + 3  # all classes, too


def answered_by_asl(home):
    version = versions.current(home / "models")["version"]
    file = home / "models" / f"asl_classifier_{version}" / "classes.txt"
    return sorted(file.read_text().split())


def test_two_processes_of_torchrun_are_one_training_task(quickstart, home):
    def trainings():
        return {path.parent for path in (home / "runs").glob("*/history.json")}

    before = trainings()
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += [str(ROOT / "training/train.py"), "--fast-dev-run", "--json"]
    done = run(*command, home=home)
    (made,) = trainings() - before
    assert json.loads(done.stdout)["results"] == str(made)
    assert done.stderr.count("test accuracy") == 1
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
    command = ["-m", "pipelines.asl", "--local", "--raw", str(raw)]
    command += ["--set", "deploy.allow-new-classes=true"]  # what serves has others
    done = run(*command, home=home, check=False)
    assert done.returncode == 2
    assert "A3.jpg" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert list(lines_by_step(done.stdout)) == ["validate"]


def test_a_model_that_deploy_would_refuse_is_not_trained(quickstart, home, tmp_path):
    raw = tmp_path / "raw"
    draw_dataset(raw, per_class=12, classes=["A", "B"], workers=1)
    register = ("-m", "data_prep.validate", "--raw", str(raw), "--register")
    dataset_id = run(*register, home=home).stdout.split()[-1]
    pipeline = ("-m", "pipelines.asl", "--local", "--raw-dataset-id", dataset_id)
    done = run(*pipeline, home=home, check=False)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "which is served, has" in done.stderr.splitlines()[-1]
    assert list(lines_by_step(done.stdout)) == ["validate", "prepare"]


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
