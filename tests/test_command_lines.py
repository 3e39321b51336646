"""All commands: what --help says, and that what worked goes on working."""

import argparse
import importlib
import re
import shlex
import subprocess
import sys

import pytest

from data_prep.command_line import HelpFormatter, project_version
from data_prep.paths import ROOT
from pipelines.orchestration import run_options

MODULES = (
    "data_prep.validate",
    "data_prep.prepare",
    "data_prep.draw",
    "data_prep.download",
    "training.train",
    "training.score",
    "training.infer",
    "pipelines.asl",
    "pipelines.promote",
    "pipelines.deploy",
    "pipelines.verify",
    "pipelines.schedule",
    "pipelines.search",
    "pipelines.migrate",
    "pipelines.monitor",
    "pipelines.collect",
    "pipelines.export_plan",
    "pipelines.ci.start",
    "pipelines.clearml_server",
)
COMMANDS = {f"python -m {module}": module for module in MODULES} | {
    "scripts/quickstart": "pipelines.quickstart",
    "scripts/serve": "pipelines.serve",
    "scripts/demo": "demo.serve",
    "scripts/agents": "pipelines.agents",
    "scripts/remote-access": "pipelines.serving.remote_access",
    "scripts/bench serve": "benchmarks.serve",
    "scripts/bench train": "benchmarks.train",
    "scripts/bench data": "benchmarks.data",
    "scripts/bench folds": "benchmarks.folds",
    "scripts/bench frames": "benchmarks.frames",
    "scripts/bench reliability": "benchmarks.reliability",
}


def parser_of(name: str) -> argparse.ArgumentParser:
    module = COMMANDS[name]
    if module == "pipelines.clearml_server":  # a package
        module += ".__main__"
    return importlib.import_module(module).arguments()


def all_options(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    options = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for part in action.choices.values():
                options += all_options(part)
        else:
            options.append(action)
    return options


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_what_every_option_does_and_its_default(name):
    parser = parser_of(name)
    assert parser.prog == name
    assert "example: " in parser.format_help()
    for action in all_options(parser):
        shown = HelpFormatter("")._expand_help(action) if action.help else ""
        assert len(shown) > 3, action.option_strings
        if action.nargs != 0 and action.option_strings and not action.required:
            has_default = action.default not in (None, "", [], argparse.SUPPRESS)
            assert not has_default or "default" in shown, action.option_strings


@pytest.mark.parametrize("name", COMMANDS)
def test_the_example_is_a_line_that_the_command_takes(name):
    parser = parser_of(name)
    example = re.search("^example: (.*)$", parser.format_help(), re.MULTILINE)[1]
    assert example.startswith(name)
    _, rest = parser.parse_known_args(shlex.split(example.removeprefix(name)))
    if name == "python -m pipelines.ci.start":  # hands on what it does not know
        _, rest = run_options.run_arguments().parse_known_args(rest)
    assert rest == []


def test_whoever_starts_a_run_takes_no_option_that_does_not_reach_it():
    taken = {action.dest for action in all_options(run_options.run_arguments())}
    assert taken - {"help", "version"} == set(run_options.PARAMETERS)


def test_the_page_of_the_steps_names_every_command_that_answers_in_json():
    page = (ROOT / "docs" / "steps.md").read_text(encoding="utf-8")
    rows = page.partition("## Answers for programs")[2].splitlines()
    named = {row.split("|")[1].strip(" `") for row in rows if row.startswith("| `")}
    found = {
        name.removeprefix("python -m ").removeprefix("scripts/")
        for name in COMMANDS
        for action in all_options(parser_of(name))
        if "--json" in action.option_strings and action.nargs == 0
    }
    assert named == found


def test_the_version_is_that_of_setup_cfg():
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.deploy", "--version"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.stdout == f"asl-recognition {project_version()}\n"


def test_who_leaves_out_raw_is_told(capsys):
    with pytest.raises(SystemExit, match="2"):
        parser_of("scripts/quickstart").parse_args(["mine", "more", "--least", "0"])
    assert capsys.readouterr().err == (
        "error: unrecognized arguments: mine more; did you mean --raw mine more? (see "
        "scripts/quickstart --help)\n"
    )


@pytest.mark.parametrize(
    "name, line, said",
    [
        ("python -m training.train", "--epoks 3", "--epoks 3; did you mean --epochs?"),
        ("scripts/remote-access", "serve --prot 1", "--prot 1; did you mean --port?"),
        ("scripts/serve", "--http-port 99999", "--http-port: 99999 is no port; ports"),
        ("scripts/demo", "--port -1", "--port: -1 is no port; ports are 0 to 65535"),
        ("scripts/remote-access", "serve --port x", "--port: x is no port; ports are"),
        ("python -m pipelines.clearml_server", "--port 65536", "--port: 65536 is no p"),
        ("python -m pipelines.monitor", "--triton a:8000", "a:8000 is no URL, such as"),
        ("python -m pipelines.deploy", "--url here", "--url: here is not host:port"),
        (
            "python -m pipelines.verify",
            "--http-url a:65536",
            "a:65536 is not host:port",
        ),
        (
            "python -m data_prep.draw",
            "--out x --size ten",
            "'ten', which is no whole n",
        ),
    ],
)
def test_a_mistake_in_an_option_is_one_line(name, line, said, capsys):
    with pytest.raises(SystemExit, match="2"):
        parser_of(name).parse_args(line.split())
    told = capsys.readouterr().err
    assert told.startswith("error: ") and told.count("\n") == 1
    assert said in told and told.endswith(" --help)\n")
