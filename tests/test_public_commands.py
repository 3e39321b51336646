"""The commands and files that people and workflows know stay where they are."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

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
    "format",
    "lint",
    "quickstart",
    "remote-access",
    "serve",
    "setup",
    "start-pipeline",
    "test",
)


def helped(arguments: list[str], folder) -> str:
    """What is wrong with the answer to --help; "" if nothing is."""
    paths = [str(ROOT)] if arguments[0] == "-m" else []
    done = subprocess.run(
        [sys.executable, *arguments, "--help"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=250,
    )
    fine = (
        done.returncode == 0 and "usage: " in done.stdout and "Trace" not in done.stderr
    )
    return "" if fine else f"{arguments}: {done.returncode} {done.stderr[-500:]}"


@pytest.mark.slow
def test_every_command_tells_its_options(tmp_path):
    commands = [["-m", name] for name in MODULES]
    commands += [[str(ROOT / script)] for script in SCRIPTS]
    with ThreadPoolExecutor(2) as pool:
        wrong = list(pool.map(lambda command: helped(command, tmp_path), commands))
    assert [text for text in wrong if text] == []
    assert list(tmp_path.iterdir()) == []  # to ask for help leaves nothing


@pytest.mark.parametrize("name", EXECUTABLES)
def test_scripts_can_be_run(name):
    assert (ROOT / "scripts" / name).stat().st_mode & 0o111
