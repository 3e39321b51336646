"""`python -m pipelines.promote` on an embedded server, with trainings made here."""

import json
import sqlite3
import subprocess
from pathlib import Path

import pytest

from data_prep.draw import draw_dataset

pytestmark = pytest.mark.slow

MADE = """
import sys
sys.path.insert(0, {tests!r})
import linear
from pathlib import Path
from pipelines import tracking
here = Path({here!r})
raw = tracking.register_raw({{"letters": here / "letters"}})
small = linear.prepare(raw, here / "d32", 32)
fair = linear.train(here / "d32", small, here / "fair", noise=0.1)
bad = linear.train(here / "d32", small, here / "bad", noise=0.5)
# another model, whose dataset and training are newer
other = linear.prepare(raw, here / "other d32", 32, "signs")
signs = linear.train(here / "other d32", other, here / "signs", name="signs")
print(json.dumps([raw, small, fair, bad, signs]))
"""
BETTER = """
import sys
sys.path.insert(0, {tests!r})
import linear
from pathlib import Path
from clearml import Task
here = Path({here!r})
large = linear.prepare({raw!r}, here / "d48", 48)
better = linear.train(here / "d48", large, here / "better")
# a promotion that was killed, and is heard of no more
killed = Task.create("ASL", "promote", task_type="custom")
killed.mark_started()
print(json.dumps([large, better, killed.id]))
"""


@pytest.fixture(scope="module")
def place(place):
    """A server with two trainings on the same dataset, one of them bad, and one of
    another model; and what the first promotions there said and changed."""
    draw_dataset(place.folder / "letters", 60, classes=["B", "L", "V"], workers=1)
    tests = str(Path(__file__).parent)
    place.fill = {"here": str(place.folder), "tests": tests}
    made = place.show(MADE.format(**place.fill))
    place.raw, place.small, place.fair, place.bad, place.signs = made
    place.first = []
    for options in (["--dry-run"], [], ["--json"]):
        place.first.append((promote(place, *options), best(place)))
    return place


def promote(place, *options):
    return place.run(place.python, "-m", "pipelines.promote", *options).stdout


def outcome(_, output: str) -> str:
    """The line that says who serves and why."""
    return [line for line in output.splitlines() if ": " in line][-1]


def with_better(place) -> list[str]:
    """Add a better training on a newer dataset, and a promotion that was killed; return
    the ids of dataset and training."""
    if not hasattr(place, "further"):
        *place.further, killed = place.show(BETTER.format(**place.fill, raw=place.raw))
        with sqlite3.connect(place.home / "clearml" / "server.sqlite") as database:
            database.execute(
                "UPDATE tasks SET last_update = '2020-01-01T00:00:00.000000+00:00' "
                "WHERE id = ?",
                [killed],
            )
    return place.further


def find_best(place) -> str:
    return place.show(
        "from pipelines.tracking.trainings import find_training\n"
        'print(json.dumps(find_training("best").id))'
    )


def best(place) -> tuple[list[str], list[str]]:
    """Which tasks of asl are tagged, and whose models are tagged and published."""
    models = place.call("models.get_all", tags=["best"])["models"]
    assert all(model["ready"] for model in models)
    tagged = [t["id"] for t in place.tasks(tags=["best"])], [m["task"] for m in models]
    return tuple([id_ for id_ in ids if id_ != place.signs] for ids in tagged)


def test_promotion(place):
    # a dry run tells, and changes nothing
    output, found = place.first[0]
    told = outcome(place, output)
    assert told.startswith(f"{place.fair} wins")
    assert "no model was promoted before" in told
    assert found == ([], [])
    # the better of two is published and tagged
    output, found = place.first[1]
    assert outcome(place, output).startswith(f"{place.fair} wins")
    assert place.bad in output
    assert found == ([place.fair], [place.fair])
    task = place.tasks(name="^promote$")[1]
    outputs = {k: v["value"] for k, v in task["hyperparams"]["Outputs"].items()}
    assert outputs["task_id"] == place.fair
    assert outputs["raw_dataset_id"] == place.raw
    # again: it stays
    answer = json.loads(place.first[2][0])
    assert answer["winner"] == answer["earlier_best"] == place.fair
    assert [x["task_id"] for x in answer["candidates"]] == [place.fair, place.bad]


def test_of_promotions_at_once_on_two_machines_the_first_decides(place, tmp_path):
    large, better = with_better(place)
    if find_best(place) != place.fair:  # other tests have promoted it
        place.call("tasks.archive", tasks=[better])
        promote(place)
        place.call("tasks.unarchive_many", ids=[better])
    assert find_best(place) == place.fair  # until the other one is promoted
    here = place.environment
    elsewhere = {"ASL_HOME": str(tmp_path), "CLEARML_CONFIG_FILE": str(place.conf)}
    started = [
        subprocess.Popen(
            [place.python, "-m", "pipelines.promote"],
            cwd=place.checkout,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for environment in (here, here, here | elsewhere)
    ]
    outputs = [process.communicate(timeout=200)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], outputs
    told = sorted(outcome(place, output).split(":")[0] for output in outputs)
    assert told == [f"{better} stays", f"{better} stays", f"{better} wins"]
    # on the test set of the newest dataset, whose images are larger
    assert all(large in output for output in outputs)
    assert best(place) == ([better], [better])


def test_an_archived_or_rejected_training_is_no_candidate(place):
    _, better = with_better(place)
    promote(place)
    assert find_best(place) == better
    place.call("tasks.archive", tasks=[better])
    assert outcome(place, promote(place)).startswith(f"{place.fair} wins")
    place.call("tasks.unarchive_many", ids=[better])
    place.call("tasks.update", task=place.fair, tags=["best", "rejected"])
    try:
        output = promote(place)
    finally:
        place.call("tasks.update", task=place.fair, tags=[])
    assert outcome(place, output).startswith(f"{better} wins")
    assert place.fair not in output


def test_other_peoples_photographs_decide(place, tmp_path):
    others = draw_dataset(tmp_path / "others", 8, seed=9, classes=["B", "L"], workers=1)
    output = promote(place, "--external", others, "--dataset-id", place.small)
    heading, *lines = output[output.index("   task") :].splitlines()
    column = heading.index("external")
    shown = [line[column : column + 8].strip() for line in lines[:2]]
    assert shown == sorted(shown, reverse=True)
    assert all(0 <= float(value) <= 1 for value in shown)


@pytest.mark.parametrize(
    "options, named",
    [
        (["--task", "nobody"], "nobody"),
        (["--external", "/no/such/folder"], "/no/such/folder"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(place, options, named):
    done = place.run(place.python, "-m", "pipelines.promote", *options, check=False)
    assert done.returncode == 2, json.dumps(done.stdout)
    assert "Traceback" not in done.stderr
    assert named in done.stderr.splitlines()[-1]


def test_each_model_has_a_best_training_of_its_own(place):
    tasks, _ = best(place)
    output = promote(place, "--name", "signs")
    assert outcome(place, output).startswith(f"{place.signs} wins")
    assert place.fair not in output and place.bad not in output
    assert best(place)[0] == tasks
    assert place.signs in [task["id"] for task in place.tasks(tags=["best"])]
    assert find_best(place) == tasks[0]
    # one of another name is not deployed by mistake
    command = [place.python, "-m", "pipelines.deploy", "--task", place.signs]
    done = place.run(*command, check=False)
    assert done.returncode == 2
    assert "is a training of signs, not of asl; give --name signs" in done.stderr
