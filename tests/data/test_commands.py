"""The commands as people, pipelines and agents run them, on the embedded server."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from raw_sets import encoded, picture, write, write_raw_set
from refusing_store import refusing_store
from sdk_process import sdk_process

from data_prep import packed, prepare
from data_prep.draw import draw_dataset
from data_prep.paths import ROOT
from data_prep.preprocessing import Preprocessing
from data_prep.sources import find_images
from pipelines import tracking

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def environment(home):
    """That of a user without any ClearML configuration."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("CLEARML")}
    return {**kept, "ASL_HOME": str(home), "HOME": str(home)}


@pytest.fixture
def run(environment, tmp_path):
    """Run a command in a folder of its own; returns the finished process."""

    def run(*command, script=False, **more):
        name, *options = map(str, command)
        start = (
            [f"{ROOT}/data_prep/{name}.py"] if script else ["-m", f"data_prep.{name}"]
        )
        return subprocess.run(
            [sys.executable, *start, *options],
            env={**environment, **more},
            cwd=tmp_path if script else ROOT,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


@pytest.fixture(scope="module")
def clearml(environment):
    """Ask the embedded server: a function that returns what the code prints last."""
    with sdk_process(sys.executable, ROOT, environment) as ask:
        yield ask


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """So many photographs that a command is at work on them for some seconds."""
    folder = tmp_path_factory.mktemp("many")
    return write_raw_set(folder, count=1500, classes=["A", "B"])


def prepared_folder(process):
    line = next(x for x in process.stdout.splitlines() if x.startswith("folder: "))
    return line.removeprefix("folder: ")


def test_raw_data_by_folder_and_by_dataset_give_the_same_prepared_set(
    run, clearml, tmp_path
):
    raw = write_raw_set(tmp_path / "photos")
    registered = run("validate", "--raw", raw, "--register", script=True)
    assert registered.returncode == 0, registered.stderr
    dataset_id = registered.stdout.splitlines()[-1]
    options = ("--image-size", 32, "--limit", 10, "--classes", "A", "C")
    by_id = run("prepare", "--dataset-id", dataset_id, *options, script=True)
    by_folder = run("prepare", "--raw", raw, *options)
    assert by_id.returncode == by_folder.returncode == 0, by_id.stderr
    manifests = [packed.read_manifest(prepared_folder(p)) for p in (by_id, by_folder)]
    assert manifests[0] == manifests[1] and len(manifests[0]) == 20
    assert not list(tmp_path.glob("*.*")), "something was written where we stood"

    prepared_id = by_id.stdout.splitlines()[-1]
    task_id = prepared_folder(by_id).split("/")[-2]
    assert prepared_id == clearml(
        f"print(Task.get_task('{task_id}').get_parameters()['Outputs/dataset_id'])"
    )
    copy = clearml(f"print(Dataset.get('{prepared_id}').get_local_copy())")
    assert packed.read_manifest(copy) == manifests[0]
    for process in (by_id, by_folder):
        step = prepared_folder(process).split("/")[-2]
        prepared = process.stdout.split()[-1]
        for id_ in (step, prepared):
            lineage = f"Task.get_task('{id_}').get_parameters()['Datasets/ASL_raw']"
            assert clearml(f"print({lineage})") == dataset_id
        assert clearml(
            f"dataset = Dataset.get('{prepared}')\n"
            "print(dataset.tags, Task.get_task(dataset.id).comment)"
        ).startswith(
            f"['ASL_raw {dataset_id}'] Prepared from ASL_raw {dataset_id}: http://"
        )


def test_what_was_prepared_here_is_not_copied_again_unless_it_was_changed(
    run, clearml, tmp_path
):
    raw = write_raw_set(tmp_path / "photos")
    options = ("--image-size", 32, "--limit", 10, "--classes", "A", "C")
    prepared = run("prepare", "--raw", raw, *options)
    assert prepared.returncode == 0, prepared.stderr
    dataset_id = prepared.stdout.splitlines()[-1]
    folder = Path(prepared_folder(prepared))
    code = f"from pipelines import tracking; print(tracking.local_copy('{dataset_id}'))"

    assert clearml(code) == str(folder)
    labels = (folder / "train" / "labels.npy").read_bytes()
    with open(folder / "train" / "labels.npy", "r+b") as file:
        file.truncate(100)
    copy = Path(clearml(code))
    assert copy != folder
    assert (copy / "train" / "labels.npy").read_bytes() == labels


def test_hand_signs_are_letterboxed_unless_it_is_said_otherwise(run, tmp_path):
    raw = draw_dataset(tmp_path / "hands", 8, classes=["A", "B"], size=80, workers=1)
    chosen = run("prepare", "--raw", raw)
    assert chosen.returncode == 0, chosen.stderr
    assert "letterbox to 256 px: photographs of hand signs" in chosen.stdout
    record = Preprocessing.load(f"{prepared_folder(chosen)}/preprocessing.json")
    assert (record.image_size, record.resize_mode) == (256, "letterbox")
    given = run("prepare", "--raw", raw, "--resize-mode", "squash", "--image-size", 48)
    record = Preprocessing.load(f"{prepared_folder(given)}/preprocessing.json")
    assert (record.image_size, record.resize_mode) == (48, "squash")


def test_a_set_from_unregistered_folders_says_so(run, clearml, tmp_path):
    raw = write_raw_set(tmp_path / "unregistered", seed=77)
    done = run("prepare", "--raw", raw, "--image-size", 32, "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)  # nothing else, of ClearML neither
    assert f"folder: {answer['folder']}" in done.stderr
    assert sum(answer["counts"].values()) == 36
    assert "no version of ASL_raw" in clearml(
        f"print(Task.get_task('{answer['dataset_id']}').comment)"
    )


def test_the_report_of_validation_can_be_read_on_the_task(run, clearml, tmp_path):
    raw = write_raw_set(tmp_path / "odd")
    write(raw / "B" / "grey.png", encoded(picture(900)[:, :, 1], ".png"))
    write(raw / "C" / "brighter.png", encoded(picture(2000) + 3, ".png"))
    done = run("validate", "--raw", raw)
    assert done.returncode == 0, done.stderr
    assert "warning: 2 of 38 images have a near-duplicate" in done.stderr
    line = next(x for x in done.stdout.splitlines() if x.startswith("report: "))
    task_id = line.split("/")[-1]
    plots = json.loads(
        clearml(
            "import json\n"
            f"plots = Task.get_task('{task_id}').get_reported_plots()\n"
            "print(json.dumps({p['metric']: json.loads(p['plot_str'])['data'][0]"
            " for p in plots}))"
        )
    )
    assert plots["Images a class"]["x"] == ["A", "B", "C"]
    assert plots["Images a class"]["y"] == [12, 13, 13]
    assert plots["Near duplicates by class"]["y"] == [0, 0, round(2 / 13, 4)]
    assert "Findings" in plots
    widths = clearml(
        "import cv2\n"
        "from clearml.storage import StorageManager\n"
        f"task = Task.get_task('{task_id}')\n"
        "urls = [task.get_debug_samples('Examples', series)[0]['url']"
        " for series in ('01 near_duplicates', '02 grey')]\n"
        "files = map(StorageManager.get_local_copy, urls)\n"
        "print([cv2.imread(file).shape[1] for file in files])"
    )
    assert widths == str([120 + 2 * 64, 120 + 64])


def test_new_photographs_make_a_child_version_and_none_make_none(
    run, clearml, tmp_path
):
    raw = write_raw_set(tmp_path / "growing")
    place = tmp_path / "store"

    def register():
        where = f"file://{place}"
        done = run("validate", "--raw", raw, "--register", "--output-uri", where)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()[-1]

    elsewhere = write_raw_set(tmp_path / "elsewhere", classes=["D"], seed=50)
    (raw / "D").symlink_to(elsewhere / "D")
    first = register()
    assert register() == first
    assert list(place.rglob("*.zip")), "the files did not go to --output-uri"
    write(raw / "A" / "new.jpg", encoded(picture(999)))
    write(elsewhere / "D" / "D_new.jpg", encoded(picture(998)))
    (raw / "B" / "B1.jpg").unlink()
    second = register()
    assert second != first
    parents = f"print(Dataset.get('{second}').get_dependency_graph()['{second}'])"
    assert clearml(parents) == str([first])
    copy = clearml(f"print(Dataset.get('{second}').get_local_copy())")
    images = [i.path for i in find_images([copy], names=[""]).images]
    assert images == [i.path for i in find_images([raw]).images]


def test_archives_of_the_same_name_stay_apart_in_the_dataset(run, clearml, tmp_path):
    folders = [
        write_raw_set(tmp_path / n / "raw", seed=50 * k) for k, n in enumerate("xy")
    ]
    packed = [shutil.make_archive(str(f.parent / "train"), "zip", f) for f in folders]

    done = run("validate", "--raw", *packed, "--register")

    dataset_id = done.stdout.splitlines()[-1]
    copy = clearml(f"print(Dataset.get('{dataset_id}').get_local_copy())")
    images = find_images([copy], names=[""]).images
    assert [i.path for i in images] == [i.path for i in find_images(packed).images]
    assert len(images) == 72


def test_bad_input_is_one_line_exit_code_2_and_the_reason_of_a_failed_task(
    run, clearml, raw
):
    write(raw / "A" / "page.jpg", b"not found")
    done = run("validate", "--raw", raw, "--register")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert [x for x in done.stderr.splitlines() if "raw/A/page.jpg" in x] == [
        "error: 1 file cannot be decoded, such as raw/A/page.jpg: it is no JPEG, PNG, "
        "WebP or BMP image; remove or replace them"
    ]
    status = clearml(
        "task = Task.get_tasks(project_name='ASL', task_name='validate', task_filter="
        "{'order_by': ['-created']})[0]\nprint(task.status, task.data.status_reason)"
    )
    assert status.startswith("failed") and "raw/A/page.jpg" in status


def test_sigterm_ends_a_step_as_ctrl_c_does(environment, clearml, tmp_path):
    raw = write_raw_set(tmp_path / "many", count=4000, classes=["A", "B"])
    process = subprocess.Popen(
        [sys.executable, "-m", "data_prep.validate", "--raw", str(raw)],
        env=environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if "results page" in line:
            break
    task_id = line.rstrip().split("/")[-3]
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "interrupted"
    assert clearml(f"print(Task.get_task('{task_id}').status)") == "stopped"


def test_a_report_that_cannot_be_uploaded_fails_the_task_with_one_line(
    run, clearml, raw
):
    with refusing_store() as store:
        done = run("validate", "--raw", raw, "--json", CLEARML_FILES_HOST=store)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    line = done.stderr.splitlines()[-1]
    assert line.startswith("error: validation cannot be uploaded (") and "507" in line
    failed = clearml(
        "task = Task.get_tasks(project_name='ASL', task_name='validate')[-1]\n"
        "print(task.status, task.data.status_reason)"
    )
    assert failed == f"failed {line.removeprefix('error: ')}"


def test_a_set_without_a_single_image_is_refused_like_one_with_a_broken_image(
    run, tmp_path
):
    for name in ("A", "B"):
        (tmp_path / "texts" / name).mkdir(parents=True)
        (tmp_path / "texts" / name / "1.jpg").write_text("no photograph")
    done = run("validate", "--raw", tmp_path / "texts", "--json")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "error: 2 files cannot be decoded" in done.stderr
    answer = json.loads(done.stdout)
    assert answer["error"].startswith("2 files cannot be decoded")
    assert answer["findings"][0]["kind"] == "unreadable" and not answer["ok"]


@pytest.mark.parametrize(
    "options, message",
    [
        (("--raw", "/no/such/folder"), "/no/such/folder does not exist"),
        (("--dataset-id", "0" * 32), "no ClearML Dataset 000"),
        ((), "give raw images either by --raw DIR or by --raw-dataset-id"),
        (("--raw", ".", "--image-size", "4"), "image_size is 4"),
        (("--raw", "scripts"), "scripts holds no class folders with images"),
    ],
)
def test_impossible_requests_are_one_line_and_exit_code_2(run, options, message):
    done = run("prepare", *options)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    errors = [x for x in done.stderr.splitlines() if x.startswith("error: ")]
    assert len(errors) == 1 and message in errors[0]
    assert "ClearML" not in done.stdout, "a task was made"


@pytest.mark.parametrize(
    "options, message",
    [
        (("--image-size", "-5"), "image_size is -5"),
        (("--split", "luck"), "split method 'luck'"),
        (("--workers", "-2"), "--workers is -2"),
    ],
)
def test_options_out_of_range_are_refused_before_a_task_is_made(
    options, message, monkeypatch, capsys
):
    monkeypatch.setattr("sys.argv", ["prepare", "--raw", ".", *options])
    with pytest.raises(SystemExit, match="2"):
        prepare.main(tracking)
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert line.startswith("error: ") and message in line
    assert "ClearML" not in said.out


def test_parameters_changed_on_the_server_change_the_run(run, clearml, raw, home):
    first = run("prepare", "--raw", raw, "--image-size", 32)
    task_id = prepared_folder(first).split("/")[-2]
    changed = clearml(
        f"task = Task.clone('{task_id}')\n"
        "task.set_parameter('Args/classes', \"['A', 'B']\")\n"
        "task.set_parameter('Args/image_size', '40')\n"
        "task.set_parameter('Args/ratios', '[50, 25, 25]')\n"
        "print(task.id)"
    )
    # what an agent sets before it starts a task's script
    done = run(
        "prepare",
        script=True,
        CLEARML_TASK_ID=changed,
        CLEARML_LOG_TASK_TO_BACKEND="1",
        CLEARML_CONFIG_FILE=str(home / "clearml" / "clearml.conf"),
    )
    assert done.returncode == 0, done.stderr
    folder = prepared_folder(done)
    assert packed.read_classes(folder) == ["A", "B"]
    assert packed.load_split(folder, "train")[0].shape == (12, 40, 40, 3)


def test_ctrl_c_leaves_nothing_that_looks_finished(environment, clearml, many, home):
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "data_prep.prepare",
            "--raw",
            str(many),
            "--workers",
            "2",
        ],
        env=environment,
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not list(home.glob("runs/*/prepared.partial/train/images.npy")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors and "interrupted" in errors
    assert not list(home.glob("runs/*/*.partial"))
    assert "stopped" == clearml(
        "print(Task.get_tasks(project_name='ASL', task_name='prepare', task_filter="
        "{'order_by': ['-created']})[0].status)"
    )


def spawned_by(pid):
    """The processes that work for a command; not what tracks their resources."""
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = int((entry / "stat").read_text().rpartition(") ")[2].split()[1])
            if parent == pid and b"spawn_main" in (entry / "cmdline").read_bytes():
                yield int(entry.name)


@pytest.mark.parametrize("step", ["validate", "prepare"])
def test_a_worker_that_dies_fails_the_task_with_one_line(
    environment, clearml, many, step
):
    process = subprocess.Popen(
        [sys.executable, "-m", f"data_prep.{step}", "--raw", str(many)],
        env=environment,
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (workers := list(spawned_by(process.pid))):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    os.kill(workers[0], signal.SIGKILL)
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 2, errors
    (line,) = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert "ended from outside" in line
    assert "Traceback" not in errors
    assert "failed" == clearml(
        f"print(Task.get_tasks(project_name='ASL', task_name='{step}', task_filter="
        "{'order_by': ['-created']})[0].status)"
    )


@pytest.mark.parametrize(
    "command",
    [
        ["-m", "data_prep.validate"],
        ["-m", "pipelines.deploy"],
        ["-m", "training.train"],
        ["triton/client/client.py"],
    ],
    ids=lambda command: command[-1],
)
def test_ctrl_c_during_the_imports_is_quiet(command):
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", *command, "--help"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stderr:  # tells of every module that has been imported
        if line.rstrip().endswith(" numpy.exceptions"):
            break
    process.send_signal(signal.SIGINT)
    said, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT  # a shell says 130
    assert not said and "Traceback" not in errors
