"""`python -m pipelines.migrate` from one embedded server to another one."""

import json
import subprocess
import time

import pytest
from place import Place, interrupt
from sdk_process import sdk_process

pytestmark = pytest.mark.slow

MADE = """
import numpy as np
from pathlib import Path
from clearml import Dataset, OutputModel, Task
here = Path({here!r})

task = Task.init("Old/sub", "training", tags=["good"], output_uri=True,
                 auto_connect_frameworks=False, auto_resource_monitoring=False)
task.connect({{"rate": 0.5, "name": "Zoë"}}, name="General")
task.connect_configuration({{"a": [1, 2]}}, name="recipe")
task.set_comment("a comment")
logger = task.get_logger()
for i in range(5):
    logger.report_scalar("loss", "train", i / 10, iteration=i)
logger.report_single_value("accuracy", 0.875)
logger.report_confusion_matrix("confusion", "test", np.eye(2, dtype=int), 0)
logger.report_image("picture", "red", 0, image=np.full((4, 4, 3), 200, np.uint8))
logger.report_text("a line of the console")
task.upload_artifact("numbers", {{"x": [1, 2, 3]}}, wait_on_upload=True)
weights = here / "weights.onnx"
weights.write_bytes(b"weights" * 1000)
model = OutputModel(task=task, name="net", framework="ONNX", tags=["best"],
                    label_enumeration={{"A": 0, "B": 1}})
model.update_weights(str(weights), auto_delete_file=False)
model.set_metadata("size", "48", "int")
task.set_parameter("Outputs/model_id", model.id)
task.close()
model.publish()
task.publish()

failed = Task.create("Old/sub", "failing", task_type="testing")
failed.mark_started()
failed.mark_failed(status_reason="out of luck", status_message="at once")
Task.create("Old/sub", "draft")

(here / "data").mkdir()
(here / "data" / "one.txt").write_text("one")
first = Dataset.create("numbers", "Old")
first.add_files(str(here / "data"))
first.upload(show_progress=False)
first.finalize()
(here / "data" / "two.txt").write_text("two")
second = Dataset.create("numbers", "Old", parent_datasets=[first.id])
second.add_files(str(here / "data"))
second.upload(show_progress=False)
second.finalize()
print(json.dumps([task.id, model.id, failed.id, first.id, second.id]))
"""

READ = """
from pathlib import Path
from clearml import Dataset, Model, Task
task = Task.get_task(project_name="Old/sub", task_name="training")
model = Model(task.get_parameter("Outputs/model_id"))
failed = Task.get_task(project_name="Old/sub", task_name="failing")
data = Dataset.get(dataset_project="Old", dataset_name="numbers")
scalars = task.get_all_reported_scalars()
(image,) = task.get_debug_samples("picture", "red")
(plot,) = task.get_reported_plots()
print(json.dumps({
    "parameters": task.get_parameters_as_dict()["General"],
    "configuration": task.get_configuration_object_as_dict("recipe"),
    "about": [task.status, task.get_tags(), task.comment, str(task.task_type)],
    "scalars": scalars["loss"],
    "single": task.get_reported_single_values(),
    "plot": [plot["metric"], plot["variant"], json.loads(plot["plot_str"])],
    "image": image["url"].startswith(task.get_output_destination()),
    "console": "".join(task.get_reported_console_output(99)).count("a line of the"),
    "numbers": task.artifacts["numbers"].get(),
    "model": [model.name, model.framework, model.labels, model.tags, model.published,
              model.get_metadata("size"), model.task == task.id],
    "of_task": [m.id for m in task.models["output"]] == [model.id],
    "weights": Path(model.get_weights()).read_bytes().decode(),
    "failed": [failed.status, failed.data.status_reason, failed.data.status_message,
               str(failed.task_type)],
    "data": {p.name: p.read_text() for p in Path(data.get_local_copy()).iterdir()},
    "version": [data.version, data.is_final()],
    "parents": len(data.get_dependency_graph()[data.id]),
}, default=str))
"""


def start_server(place: Place) -> subprocess.Popen:
    process = place.start(place.python, "-m", "pipelines.clearml_server")
    assert "embedded ClearML server at" in process.stdout.readline()
    return process


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A place whose server, not running now, knows a task, models and Datasets."""
    place = Place(tmp_path_factory.mktemp("source"))
    place.ids = place.show(MADE.format(here=str(place.folder)))
    place.shown = place.show(READ)
    return place


def migrate(source, target, *options, check=True):
    command = [source.python, "-m", "pipelines.migrate", "--to", target.conf]
    return source.run(*command, *options, check=check)


@pytest.fixture(scope="module")
def target(source, tmp_path_factory):
    """A place with another server, running, to which all has been copied; what a dry
    run said before, and what the copying said."""
    place = Place(tmp_path_factory.mktemp("target"))
    process = start_server(place)
    place.planned = migrate(source, place, "--dry-run", "--project", "Old/sub")
    place.before = place.tasks()
    place.copying = migrate(source, place)
    with sdk_process(place.python, place.checkout, place.environment) as run:
        place.show = lambda program: json.loads(run(program))
        yield place
    interrupt(process)


def wait_until_stopped(place) -> None:
    """Wait for the end of a server that was started for a program."""
    deadline = time.monotonic() + 30
    while (place.home / "clearml" / "server.json").exists():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def last_line(done) -> str:
    return done.stdout.splitlines()[-1]


def test_everything_reads_the_same_on_the_other_server(source, target):
    assert "4 tasks, 1 models; there already: 0" in last_line(target.copying)
    assert last_line(target.copying).endswith("not ended: 1")
    # from here on, nothing can come from the first server
    wait_until_stopped(source)
    shown = target.show(READ)
    assert shown == source.shown
    assert shown["weights"] == "weights" * 1000
    assert shown["data"] == {"one.txt": "one", "two.txt": "two"}
    assert shown["about"][0] == "published"


def test_a_second_run_copies_only_what_is_new(source, target):
    before = {task["id"] for task in target.tasks()}
    assert "0 tasks, 0 models; there already: 5" in last_line(migrate(source, target))
    assert {task["id"] for task in target.tasks()} == before
    new = source.show("""
        from clearml import OutputModel, Task
        task = Task.create("Old/sub", "newer")
        task.set_parameter("General/former", Task.get_task(
            project_name="Old/sub", task_name="training").id)
        task.mark_started()
        model = OutputModel(task=task, name="rough")
        model.update_weights(register_uri="file:///nowhere/rough.onnx")
        task.mark_stopped(status_message="enough")
        print(json.dumps(task.id))
        """)
    try:
        assert "1 tasks, 1 models; there" in last_line(migrate(source, target))
        (draft,) = target.call("models.get_all", name="^rough$")["models"]
        assert draft["ready"] is False
        (copy,) = target.tasks(name="^newer$")
        assert copy["runtime"]["copied_from"] == new
        (former,) = target.tasks(name="^training$")
        assert copy["hyperparams"]["General"]["former"]["value"] == former["id"]
        assert copy["status"] == "stopped"
    finally:
        source.show(f"""
            from clearml import Task
            Task.get_task(task_id="{new}").delete()
            print("null")
            """)


def test_an_interrupted_copy_is_done_again_in_its_place(source, target):
    (copy,) = target.tasks(name="^training$")
    runtime = {key: copy["runtime"][key] for key in ("copied_from",)}
    target.call("tasks.edit", task=copy["id"], force=True, runtime=runtime)
    target.call("tasks.edit", task=copy["id"], force=True, hyperparams={})
    assert "1 tasks, 0 models; there already: 4" in last_line(migrate(source, target))
    assert [task["id"] for task in target.tasks(name="^training$")] == [copy["id"]]
    shown = target.show(READ)
    assert shown == source.shown
    assert shown["console"] == 1


def test_a_dry_run_names_what_it_would_copy_and_copies_nothing(source, target):
    task, model, failed, *_ = source.ids
    lines = target.planned.stdout.splitlines()
    assert f"task Old/sub/training {task}" in lines
    assert f"task Old/sub/failing {failed}" in lines
    assert f"model Old/sub/net {model}" in lines
    assert lines[-1].startswith("to copy to") and "2 tasks, 1 models" in lines[-1]
    assert target.before == []


@pytest.mark.parametrize(
    "options, named",
    [
        (["--to", "/no/such/clearml.conf"], "/no/such/clearml.conf"),
        ([], "--to CONFIG_FILE"),
        (["--to", "itself"], "--to CONFIG_FILE"),
        (["--to", "target", "--project", "Nowhere"], "Nowhere"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(source, target, options, named):
    files = {"itself": str(source.conf), "target": str(target.conf)}
    options = [files.get(word, word) for word in options]
    command = [source.python, "-m", "pipelines.migrate", *options]
    done = source.run(*command, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ") and named in line
