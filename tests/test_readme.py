"""What the README tells people to type exists, with the options it names."""

import functools
import importlib.util
import re

import pytest

from data_prep.paths import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md"))]
README = PAGES[0].read_text(encoding="utf-8")


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
        spec.loader.exec_module(module)
    else:
        module = importlib.import_module(target.split()[-1])
    return module.arguments().format_help()


@pytest.mark.parametrize("command", [c for c in commands() if PYTHON.match(c)])
def test_options_of_the_pages_are_options_of_the_command(command):
    shown = help_of(PYTHON.match(command)[1])
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
