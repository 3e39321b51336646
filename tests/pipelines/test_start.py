"""The pipeline is started for agents and waited for; the agents' part is played here.

`tests/agents` runs whole pipelines; this is about what is said of one.
"""

import json
import os
import signal
import subprocess

import pytest

from data_prep.paths import ROOT
from pipelines.ci import start

EVALUATION = {
    "overall": {"accuracy": 0.91, "top3_accuracy": 0.99, "macro_f1": 0.9, "images": 50},
    "per_class": {
        "A": {"precision": 0.9, "recall": 0.8, "f1": 0.85, "images": 20},
        "B": {"precision": 1.0, "recall": 0.5, "f1": 0.7, "images": 30},
        "C": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "images": 0},
    },
    "slices": {"external=others": {"accuracy": 0.6, "macro_f1": 0.5, "images": 9}},
}
CANDIDATES = {
    "table": [["", "task", "model"], ["*", "abc", "odd|name\n@x"]],
    "reason": "abc is better by 0.1",
}

# A controller as an agent would leave it.
PLAYED = """
from clearml import Task
controller = Task.get_task(task_id={id_!r})
controller.mark_started(force=True)
nodes = {{name: {{"executed": None}} for name in ("evaluate", "promote", "deploy")}}
for step, name, value in {left!r}:
    task = Task.create("ASL", step)
    task.mark_started()
    task.upload_artifact(name, value, wait_on_upload=True)
    task.flush(wait_for_uploads=True)
    task.mark_completed()
    nodes[step]["executed"] = task.id
controller.set_configuration_object("Pipeline", config_dict=nodes)
if {reason!r}:
    controller.set_parameter("Outputs/error", {reason!r})
    controller.mark_failed(force=True)
else:
    controller.mark_completed(force=True)
print("1")
"""


def test_a_report_has_scores_slices_worst_classes_and_the_promotion():
    text = start.report("completed", "http://x/1", "", EVALUATION, CANDIDATES)

    lines = text.splitlines()
    assert "| test split | 0.9100 | 0.9900 | 0.9000 | 50 |" in lines
    assert "| external=others | 0.6000 |  | 0.5000 | 9 |" in lines
    at = lines.index("| class | recall | precision | images |")
    assert [line.split()[1] for line in lines[at + 2 : at + 4]] == ["B", "A"]
    assert lines[at + 4] == ""  # a class without photographs has no score
    assert "| * | abc | odd\\|name @x |" in lines
    assert "abc is better by 0.1" in lines


def test_a_report_of_a_failure_is_one_paragraph():
    text = start.report("failed", "http://x/1", "step train failed:\n<b>`no`</b>")

    assert text.split("\n\n")[2] == "step train failed: \\<b\\>\\`no\\`\\</b\\>\n"


class Started:
    """A running scripts/start-pipeline, and the task it has enqueued."""

    def __init__(self, place, folder, **environment):
        self.files = {
            name: folder / name for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")
        }
        variables = {name: str(path) for name, path in self.files.items()}
        self.process = subprocess.Popen(
            ["scripts/start-pipeline"],
            cwd=ROOT,
            env=place.environment | variables | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.lines = []
        for line in self.process.stdout:
            self.lines.append(line)
            if line.startswith("pipeline: "):
                self.page = line.split()[1]
                self.id = self.page.split("/")[-3]  # .../ID/output/log
                break

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.communicate()

    def end(self) -> int:
        self.lines += self.process.communicate(timeout=200)[0].splitlines()
        return self.process.returncode

    def report(self) -> str:
        """The step's output, as GitHub reads it."""
        first, *rest = self.files["GITHUB_OUTPUT"].read_text().splitlines()
        name, _, delimiter = first.partition("<<")
        assert (name, rest[-1]) == ("report", delimiter)
        return "\n".join(rest[:-1]) + "\n"


def play(place, started, left, reason=""):
    place.show(PLAYED.format(id_=started.id, left=left, reason=reason))


@pytest.mark.slow
def test_a_completed_pipeline_is_reported(place, tmp_path):
    settings = "train.epochs=3 prepare.image-size=48"
    with Started(place, tmp_path, ASL_DATASET_ID="abc", ASL_SET=settings) as started:
        task = place.task(started.id)
        given = {k: v["value"] for k, v in task["hyperparams"]["Args"].items()}
        assert (given["dataset_id"], given["queue"]) == ("abc", "default")
        assert given["set"] == "['train.epochs=3', 'prepare.image-size=48']"
        assert task["status"] == "queued"

        evaluated = ("evaluate", "evaluation.json", EVALUATION)
        play(place, started, [evaluated, ("promote", "candidates", CANDIDATES)])

        assert started.end() == 0, started.lines
    expected = start.report("completed", started.page, "", EVALUATION, CANDIDATES)
    assert started.report() == expected
    assert started.files["GITHUB_STEP_SUMMARY"].read_text() == expected


@pytest.mark.slow
def test_a_failed_pipeline_fails_with_its_reason_and_what_it_had(place, tmp_path):
    reason = "pipeline step promote failed: nobody is fit"
    with Started(place, tmp_path, ASL_DATASET_ID="abc") as started:
        play(place, started, [("evaluate", "evaluation.json", EVALUATION)], reason)

        assert started.end() == 2
    assert f"ended as failed: {reason}" in started.lines[-1]
    text = started.report()
    assert "### Pipeline: failed" in text and reason in text
    assert "| test split | 0.9100 |" in text and "Promotion" not in text


@pytest.mark.slow
def test_without_waiting_the_report_says_where_to_look(place, tmp_path):
    with Started(place, tmp_path, ASL_DATASET_ID="abc", ASL_WAIT="false") as started:
        assert started.end() == 0, started.lines
    assert started.report() == start.report("started", started.page, "")
    assert place.task(started.id)["status"] == "queued"


@pytest.mark.parametrize(
    "environment, told",
    [
        ({}, "error: ASL_DATASET_ID is not set"),
        (
            {"ASL_DATASET_ID": "abc", "GITHUB_ACTIONS": "true", "CLEARML_API_HOST": ""},
            "error: CLEARML_API_HOST is not set",
        ),
        ({"ASL_DATASET_ID": "abc", "ASL_SET": "trian.epochs=1"}, "trian.epochs=1"),
    ],
)
def test_what_cannot_be_started_is_told_at_once(environment, told):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ASL", "GITHUB"))}

    done = subprocess.run(
        ["scripts/start-pipeline"],
        cwd=ROOT,
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=100,
    )

    assert done.returncode == 2
    assert told in done.stderr.splitlines()[-1]


@pytest.mark.slow
def test_steps_for_agents_that_do_not_exist_are_refused_at_once(place, tmp_path):
    before = place.tasks()
    command = [place.python, "-m", "pipelines.asl", "--raw", str(tmp_path), "--json"]
    done = place.run(*command, check=False)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    (line,) = [x for x in done.stderr.splitlines() if x.startswith("error: ")]
    assert "no agent listens to the queue default" in line and "--local" in line
    assert json.loads(done.stdout) == {"error": line.removeprefix("error: ")}
    assert len(place.tasks()) == len(before)
