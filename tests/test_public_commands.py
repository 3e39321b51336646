"""The commands and files that people and workflows know stay where they are."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from data_prep.paths import ROOT

MODULES = (
    "benchmarks.data",
    "benchmarks.folds",
    "benchmarks.serve",
    "benchmarks.train",
    "data_prep.download",
    "data_prep.draw",
    "data_prep.prepare",
    "data_prep.validate",
    "demo.serve",
    "pipelines.agents",
    "pipelines.asl",
    "pipelines.ci.start",
    "pipelines.collect",
    "pipelines.clearml_server",
    "pipelines.deploy",
    "pipelines.export_plan",
    "pipelines.migrate",
    "pipelines.monitor",
    "pipelines.promote",
    "pipelines.quickstart",
    "pipelines.schedule",
    "pipelines.search",
    "pipelines.serve",
    "pipelines.serving.remote_access",
    "pipelines.verify",
    "training.infer",
    "training.score",
    "training.train",
)
# Run by their paths, as clearml-task and ClearML's agents do, from anywhere.
SCRIPTS = (
    "data_prep/download.py",
    "data_prep/draw.py",
    "data_prep/prepare.py",
    "data_prep/validate.py",
    "pipelines/asl.py",
    "pipelines/deploy.py",
    "pipelines/promote.py",
    "pipelines/search.py",
    "pipelines/verify.py",
    "training/infer.py",
    "training/score.py",
    "training/train.py",
    "triton/client/client.py",
)
EXECUTABLES = (
    "agents",
    "bench",
    "comment",
    "commit-formatting",
    "demo",
    "draw-picture",
    "format",
    "lint",
    "lock",
    "quickstart",
    "remote-access",
    "serve",
    "setup",
    "start-pipeline",
    "test",
)


# Runs modules as `python -m` does, one after the other: their imports take seconds.
ASK_MODULES = """
import contextlib, io, json, runpy, sys
wrong = {}
for name in sys.argv[1:]:
    said, code = io.StringIO(), None
    sys.argv = [name, "--help"]
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            runpy.run_module(name, run_name="__main__", alter_sys=True)
        except SystemExit as end:
            code = end.code
    if code or "usage: " not in said.getvalue():
        wrong[name] = [code, said.getvalue()]
print(json.dumps(wrong))
"""


def start(arguments: list[str], folder, **environment) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": ""} | environment,
        capture_output=True,
        text=True,
        timeout=250,
    )


@pytest.mark.slow
def test_every_module_tells_its_options(tmp_path):
    done = start(["-c", ASK_MODULES, *MODULES], tmp_path, PYTHONPATH=str(ROOT))
    assert json.loads(done.stdout.splitlines()[-1]) == {}, done.stderr
    assert list(tmp_path.iterdir()) == []  # to ask for help leaves nothing


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_tells_its_options_wherever_it_is_started(script, tmp_path):
    done = start([str(ROOT / script), "--help"], tmp_path)
    assert done.returncode == 0 and "usage: " in done.stdout, done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def bare(tmp_path):
    """Run a script of a checkout in which nothing is installed, nor can be."""
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")

    def run(line: str) -> subprocess.CompletedProcess:
        done = subprocess.run(
            ["bash", *f"scripts/{line}".split()],
            cwd=tmp_path,
            env=os.environ | {"PYTHON": "no-python"},
            capture_output=True,
            text=True,
        )
        assert [path.name for path in tmp_path.iterdir()] == ["scripts"]
        return done

    return run


def test_a_script_tells_what_it_does_before_anything_is_installed(bare):
    for name in EXECUTABLES:
        done = bare(f"{name} --help")
        assert (done.returncode, done.stderr) == (0, ""), name
        assert len(done.stdout) > 30, name


@pytest.mark.parametrize(
    "line, said",
    [
        ("test --al", "unknown option '--al'; there are --all and --keep-durations"),
        ("test --keep", "unknown option '--keep'"),
        ("setup main nonsense", "unknown part 'nonsense'; known: main, dev"),
        ("lint data_prep", "scripts/lint takes no arguments, and was given: data_prep"),
        ("bench trian", "unknown benchmark 'trian'"),
    ],
)
def test_a_script_refuses_what_it_does_not_know_before_it_begins(bare, line, said):
    done = bare(line)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(f"error: {said}") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", EXECUTABLES)
def test_scripts_can_be_run(name):
    assert (ROOT / "scripts" / name).stat().st_mode & 0o111
