"""The workflows hold to the rules of the house, and call nothing that is not tested."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from data_prep.paths import ROOT

FILES = sorted((ROOT / ".github/workflows").glob("*.yml"))
NAMES = {"format", "lint", "pipeline", "test"}
PINNED = re.compile(r"uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")
EXPRESSION = re.compile(r"\$\{\{.*?\}\}")

each = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def load(file: Path) -> dict:
    workflow = yaml.safe_load(file.read_text())
    workflow["on"] = workflow.pop(True)  # what YAML 1.1 makes of "on"
    return workflow


def steps(file: Path) -> list[dict]:
    return [step for job in load(file)["jobs"].values() for step in job["steps"]]


def test_all_workflows_are_there_under_their_own_names():
    assert {load(file)["name"] for file in FILES} == NAMES
    assert {file.stem for file in FILES} == NAMES


@each
def test_actions_are_pinned_by_commit_with_their_version_beside(file):
    lines = [x.strip(" -") for x in file.read_text().splitlines() if "uses:" in x]

    assert lines
    assert [line for line in lines if not PINNED.fullmatch(line)] == []


def test_one_version_of_an_action_is_used_everywhere():
    everywhere = {
        step["uses"] for other in FILES for step in steps(other) if "uses" in step
    }
    names = [use.partition("@")[0] for use in everywhere]

    assert len(names) == len(set(names))


@each
def test_nothing_is_permitted_but_by_the_job_that_needs_it(file):
    workflow = load(file)
    writers = {"format": ["contents"], "comment": ["pull-requests"]}

    assert workflow["permissions"] == {}
    for name, job in workflow["jobs"].items():
        permissions = job["permissions"]
        assert set(permissions.values()) <= {"read", "write"}
        written = [what for what, how in permissions.items() if how == "write"]
        assert written == writers.get(name, [])


@each
def test_runs_do_not_pile_up_or_hang(file):
    workflow = load(file)

    assert EXPRESSION.search(workflow["concurrency"]["group"])
    for job in workflow["jobs"].values():
        assert 0 < job["timeout-minutes"] <= 350


@each
def test_every_run_line_is_a_script_of_this_repository_without_expressions(file):
    lines = [step["run"] for step in steps(file) if "run" in step]

    assert lines
    for line in lines:
        assert not EXPRESSION.search(line)
        [script] = shlex.split(line)
        assert script.startswith("scripts/")
        assert (ROOT / script).stat().st_mode & 0o111


@each
def test_only_the_job_that_pushes_keeps_its_credentials(file):
    for step in steps(file):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is (file.stem == "format")


@each
def test_secrets_reach_single_steps_and_no_pull_request(file):
    workflow = load(file)
    text = file.read_text()
    in_steps = sum(str(step.get("env", {})).count("secrets.") for step in steps(file))

    assert text.count("${{ secrets.") == in_steps
    assert "pull_request_target" not in workflow["on"]
    if in_steps:
        assert "pull_request" not in workflow["on"]
