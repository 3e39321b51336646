"""What the README tells people to type exists, with the options it names."""

import argparse
import functools
import importlib.util
import re
import sys
from pathlib import Path
from unittest.mock import patch

import pytest

from data_prep.paths import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md"))]
PAGES += [ROOT / "pipelines" / "README.md", *sorted(ROOT.glob("triton/**/README.md"))]
README = PAGES[0].read_text(encoding="utf-8")
TROUBLES = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")


def commands() -> list[str]:
    """All command lines in the pages' code blocks, continued lines joined."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                if command := line.split("#")[0].strip():
                    found.append(command)
    return sorted(set(found))


PYTHON = re.compile(r"^(?:python3?|\.venv/bin/python)\s+(-m\s+\S+|\S+\.py)")
# What starts with a module of another name, or is no module.
SCRIPT = re.compile(r"^scripts/(bench \w+|[\w-]+)")
MODULES = {
    "agents": "pipelines.agents",
    "demo": "demo.serve",
    "quickstart": "pipelines.quickstart",
    "remote-access": "pipelines.serving.remote_access",
    "serve": "pipelines.serve",
}


@pytest.mark.parametrize("command", [c for c in commands() if c.startswith("scripts/")])
def test_scripts_of_the_pages_exist_and_can_be_run(command):
    script = ROOT / command.split()[0]
    assert script.stat().st_mode & 0o111


@functools.cache
def help_of(target: str) -> str:
    """What a command says of itself; tests/test_public_commands.py starts each."""
    if target == "client.py":  # as it is called in its image
        target = "triton/client/client.py"
    if target.startswith("triton/"):  # no package
        spec = importlib.util.spec_from_file_location("client_program", ROOT / target)
        module = importlib.util.module_from_spec(spec)
        with patch.object(sys, "path", [str(Path(spec.origin).parent), *sys.path]):
            spec.loader.exec_module(module)
    else:
        module = importlib.import_module(target.split()[-1])
    return all_help(module.arguments())


def all_help(parser: argparse.ArgumentParser) -> str:
    """With that of its parts, such as ``serve`` of scripts/remote-access."""
    parts = [
        part
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
        for part in action.choices.values()
    ]
    return parser.format_help() + "".join(map(all_help, parts))


def target_of(command: str) -> str:
    """The module or file that a command line starts, "" for other programs."""
    if found := PYTHON.match(command):
        return found[1]
    name = found[1] if (found := SCRIPT.match(command)) else ""
    return MODULES.get(name, name.replace("bench ", "benchmarks."))


@pytest.mark.parametrize(
    "command", [c for c in commands() if "." in target_of(c) or "-m" in target_of(c)]
)
def test_options_of_the_pages_are_options_of_the_command(command):
    shown = help_of(target_of(command))
    for option in re.findall(r"(?<=\s)--[a-z][a-z-]+", command):
        assert re.search(rf"{option}\b", shown), option


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_the_pages_name_exist(page):
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"!?\[[^]]*\]\((?!http)([^)#]+)", text):
        assert (page.parent / link).exists(), link
    for path in re.findall(
        r"`((?:docs|scripts|tests|triton|training)/[\w./-]+)`", text
    ):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("path", re.findall(r"[a-z_/]+\.(?:py|txt)\b", README))
def test_files_of_the_readme_exist(path):
    """Bare names stand in the tree below the folder named above them."""
    if path == "classes.txt":  # made by a preparation, not in the repository
        return
    folders = ("data_prep", "training", "pipelines", "demo", "triton")
    found = [x for folder in folders for x in (ROOT / folder).rglob(path)]
    assert found or (ROOT / path).exists()


def sources() -> str:
    """All that commands can say, literals that continue on the next line joined."""
    files = [x for x in (ROOT / "scripts").iterdir() if x.is_file()]
    files += (ROOT / "triton" / "nginx").glob("*.template")
    for folder in ("data_prep", "training", "pipelines", "demo", "triton/client"):
        files += (ROOT / folder).rglob("*.py")
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    return re.sub(r'"\s*\n\s*f?"', "", text)


def test_the_messages_of_the_troubleshooting_page_are_those_of_the_commands():
    said = sources()
    messages = re.findall(r"^\| `([^`]+)` \|", TROUBLES, re.MULTILINE)
    assert len(messages) > 12
    for message in messages:
        for part in message.split("..."):
            assert part.strip() in said, message
