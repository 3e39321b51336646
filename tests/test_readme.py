"""What the README tells people to type exists, with the options it names."""

import re
import subprocess
import sys

import pytest

from data_prep.paths import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    line.split("#")[0].strip()
    for block in BLOCKS
    for line in block.splitlines()
    if line.split("#")[0].strip()
]


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("scripts/")])
def test_scripts_of_the_readme_exist_and_can_be_run(command):
    script = ROOT / command.split()[0]
    assert script.stat().st_mode & 0o111


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("python")])
def test_options_of_the_readme_are_options_of_the_command(command):
    words = command.split()
    target = words[1:3] if words[1] == "-m" else words[1:2]
    shown = subprocess.run(
        [sys.executable, *target, "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert shown.returncode == 0, shown.stderr
    for option in re.findall(r"(?<=\s)--[a-z-]+", command):
        assert re.search(rf"{option}\b", shown.stdout), option


@pytest.mark.parametrize("path", re.findall(r"[a-z_/]+\.(?:py|txt)\b", README))
def test_files_of_the_readme_exist(path):
    """Bare names stand in the tree below the folder named above them."""
    if path == "classes.txt":  # made by a preparation, not in the repository
        return
    folders = ("data_prep", "training", "pipelines", "demo", "triton")
    found = [x for folder in folders for x in (ROOT / folder).rglob(path)]
    assert found or (ROOT / path).exists()
