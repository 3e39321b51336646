"""The workflows hold to the rules of the house, and call nothing that is not tested."""

import json
import os
import re
import shlex
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
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
    writers = {"format": ["contents", "actions"], "comment": ["pull-requests"]}

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
        script, *options = shlex.split(line)
        assert all(re.fullmatch("--[a-z-]+", option) for option in options)
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


@pytest.fixture
def branch(tmp_path):
    """A function that runs git in a clone whose branch has one file and a script."""

    def git(*words):
        line = ["git", "-c", "user.name=A", "-c", "user.email=a@localhost", *words]
        return subprocess.run(
            line, cwd=clone, check=True, capture_output=True, text=True
        ).stdout

    origin, clone = tmp_path / "origin", tmp_path / "clone"
    for line in ["init", "-q", "--bare", origin], ["clone", "-q", origin, clone]:
        subprocess.run(["git", *map(str, line)], check=True, capture_output=True)
    (clone / "scripts").mkdir()
    for script in ("commit-formatting", "common.sh"):
        shutil.copy(ROOT / "scripts" / script, clone / "scripts")
    (clone / "a.py").write_text("a=1\n")
    git("switch", "-q", "-c", "work")
    git("add", "--all")
    git("commit", "-q", "-m", "By a person")
    git("push", "-q", "-u", "origin", "work")
    git.folder = clone
    return git


def commit_formatting(branch, **variables):
    """Run the script, by default as a person would."""
    return subprocess.run(
        [branch.folder / "scripts/commit-formatting"],
        env={**os.environ, "GITHUB_TOKEN": "", **variables},
        capture_output=True,
        text=True,
    )


def test_formatting_is_committed_and_pushed_once(branch):
    assert commit_formatting(branch).returncode == 0
    assert branch("log", "--format=%s", "origin/work").splitlines() == ["By a person"]

    (branch.folder / "a.py").write_text("a = 1\n")
    for _ in range(2):
        assert commit_formatting(branch).returncode == 0

    pushed = branch("log", "--format=%an: %s", "origin/work").splitlines()
    by = "github-actions[bot]: Format with black and isort"
    assert pushed == [by, "A: By a person"]
    assert branch("show", "origin/work:a.py") == "a = 1\n"


@pytest.fixture
def github():
    """A server that answers as GitHub's API does, and notes what it is asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            allowed = self.headers["Authorization"] == "Bearer secret"
            self.send_response(204 if allowed else 403)
            self.end_headers()
            if allowed:
                server.asked.append((self.path, json.loads(body)))

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked = []
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_what_a_workflow_has_formatted_is_checked(branch, github):
    """By workflows that can be started by hand, since such a push starts none."""
    in_workflow = {
        "GITHUB_API_URL": f"http://127.0.0.1:{github.server_port}",
        "GITHUB_REPOSITORY": "o/r",
        "GITHUB_TOKEN": "secret",
        "no_proxy": "127.0.0.1",
    }
    assert commit_formatting(branch, **in_workflow).returncode == 0
    assert github.asked == []  # nothing was formatted

    (branch.folder / "a.py").write_text("a = 1\n")
    done = commit_formatting(branch, **in_workflow)

    assert done.returncode == 0, done.stderr
    assert github.asked == [
        (f"/repos/o/r/actions/workflows/{name}.yml/dispatches", {"ref": "work"})
        for name in ("lint", "test")
    ]
    for path, _ in github.asked:
        file = ROOT / ".github/workflows" / path.split("/")[-2]
        assert "workflow_dispatch" in load(file)["on"]

    (branch.folder / "a.py").write_text("a = 2\n")
    refused = commit_formatting(branch, **in_workflow | {"GITHUB_TOKEN": "other"})
    assert refused.returncode != 0 and "403" in refused.stderr
