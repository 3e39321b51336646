"""A checkout with agents on it.

The checkout is a copy of the working tree with a commit of its own and no git remote:
what agents see does not depend on the state of the tree that the tests run in.
"""

import shutil
import subprocess
from pathlib import Path

import pytest
from place import Place, interrupt, start_agents

from data_prep.draw import draw_dataset
from data_prep.paths import ROOT

ENVIRONMENTS = (".venv", ".venv-agent")


@pytest.fixture(scope="session")
def checkout(tmp_path_factory) -> Path:
    """A copy of the working tree, committed, without a remote."""
    folder = tmp_path_factory.mktemp("checkout") / "asl"
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True).stdout
    for name in names.decode().strip("\0").split("\0"):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    for name in ENVIRONMENTS:
        (folder / name).symlink_to(ROOT / name)
    git = ["git", "-c", "user.name=Test", "-c", "user.email=test@localhost"]
    subprocess.run([*git, "init", "--quiet"], cwd=folder, check=True)
    exclude = folder / ".git" / "info" / "exclude"
    exclude.parent.mkdir(exist_ok=True)
    exclude.write_text(".venv*\n")  # in .gitignore they are folders
    subprocess.run([*git, "add", "--all"], cwd=folder, check=True)
    subprocess.run([*git, "commit", "--quiet", "-m", "Copy"], cwd=folder, check=True)
    return folder


@pytest.fixture(scope="session")
def photographs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photographs") / "three_letters"
    draw_dataset(folder, per_class=40, classes=["B", "L", "nothing"], workers=1)
    return folder


@pytest.fixture(scope="session")
def place(checkout, tmp_path_factory):
    """A place where both agents run."""
    place = Place(tmp_path_factory.mktemp("place"), checkout)
    process = start_agents(place)
    yield place
    interrupt(process)


@pytest.fixture
def quiet_place(checkout, tmp_path):
    """A place where nothing runs yet."""
    return Place(tmp_path, checkout)
