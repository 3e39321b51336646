"""When a step of the pipeline is taken from an earlier run."""

import json
import shutil
import subprocess
import sys

import pytest

from pipelines.orchestration import step_cache, steps
from pipelines.orchestration.sources import sources


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "raw" / "A").mkdir(parents=True)
    (tmp_path / "raw" / "A" / "A1.jpg").write_bytes(b"photograph")
    return tmp_path / "raw"


LOADED = """
import json, pathlib, sys
import training.train, training.run
from pipelines import tracking
root = pathlib.Path.cwd()
files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
ours = [pathlib.Path(file) for file in files if file and not ".venv" in file]
names = [file.relative_to(root).as_posix() for file in ours if root in file.parents]
print(json.dumps([n for n in names if not n.startswith("pipelines/clearml_server")]))
"""


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A copy of the sources, which may be changed."""
    copy = tmp_path / "checkout"
    for name in ("data_prep", "training", "pipelines"):
        shutil.copytree(step_cache.ROOT / name, copy / name)
    shutil.copy(step_cache.ROOT / "requirements.txt", copy)
    monkeypatch.setattr(step_cache, "ROOT", copy)
    return copy


def digest(name, **options):
    return steps.parameters(name, options).get(step_cache.CONTENT)


def test_the_content_of_raw_folders_decides_not_their_dates(folder):
    first = digest("validate", raw=[str(folder)])
    photograph = folder / "A" / "A1.jpg"
    photograph.write_bytes(b"photograph")
    assert digest("validate", raw=[str(folder)]) == first
    photograph.write_bytes(b"photogroph")  # of the same length
    assert digest("validate", raw=[str(folder)]) != first
    photograph.write_bytes(b"photograph")
    assert digest("validate", raw=[str(folder)]) == first
    photograph.rename(folder / "A" / "A2.jpg")
    assert digest("validate", raw=[str(folder)]) != first


def test_options_may_be_lists_or_the_text_that_clearml_keeps_of_them(folder):
    raw = str(folder)
    assert digest("validate", raw=[raw]) == digest("validate", raw=f"['{raw}']")
    assert digest("train", external=raw) == digest("train", external=[raw])
    assert digest("train", external=raw) != digest("train")


def test_a_folder_that_cannot_be_read_here_is_never_taken_for_the_same(folder):
    assert digest("validate", raw=[str(folder / "elsewhere")]) is None


@pytest.mark.parametrize("name", ["promote", "deploy", "verify"])
def test_steps_that_act_on_the_world_are_always_run(name):
    assert digest(name) is None


def test_an_interrupted_run_is_taken_up_each_time():
    assert digest("train", resume="runs/1") is None


def test_only_the_code_of_a_step_decides(checkout):
    names = ("validate", "prepare", "train", "evaluate")
    before = {name: digest(name) for name in names}
    for path, changed in (
        ("pipelines/deploy.py", ()),
        ("training/loop.py", ("train",)),
        ("training/evaluate.py", ("train", "evaluate")),
        ("data_prep/splitting/splits.py", ("prepare",)),
        ("data_prep/errors.py", names),
        ("pipelines/tracking/task.py", names),
        ("requirements.txt", names),
    ):
        source = checkout / path
        text = source.read_text()
        source.write_text(text + "# more\n")
        now = {name: digest(name) for name in names}
        assert {name for name in names if now[name] != before[name]} == set(changed)
        source.write_text(text)


def test_every_file_that_a_training_loads_is_among_its_sources():
    shown = subprocess.run(
        [sys.executable, "-c", LOADED],
        cwd=step_cache.ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(json.loads(shown.stdout))
    assert {"training/run.py", "training/muon.py", "data_prep/__init__.py"} <= loaded
    known = sources("training/train.py", step_cache.ROOT)
    known = {file.relative_to(step_cache.ROOT).as_posix() for file in known}
    assert loaded <= known
    assert "data_prep/drawing/signers_poses.csv" in known  # it is read, not imported


def test_clearml_does_not_compare_the_commit_of_such_steps():
    script = {"version_num": "1", "diff": "x"}
    with_content = {"script": script, "hyper_params": {step_cache.CONTENT: "d"}}
    without = {"script": script, "hyper_params": {"Args/task": "x"}}
    assert step_cache.compare_by_content(dict(with_content))["script"] is None
    assert step_cache.compare_by_content(dict(without))["script"] == script
