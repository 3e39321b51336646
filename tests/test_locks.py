"""The locks beside the requirements files (scripts/lock)."""

import re

import pytest

from data_prep.paths import ROOT

FILES = [*ROOT.glob("requirements*.txt"), *ROOT.glob("triton/*/requirements.txt")]


def wanted(file) -> dict[str, str]:
    """Versions by package, of a file and those that it includes."""
    found = {}
    for line in file.read_text().splitlines():
        line = line.partition("#")[0].strip()
        if line.startswith("-r "):
            found |= wanted(file.parent / line.removeprefix("-r "))
        elif line:
            name, version = re.fullmatch(r"([\w.-]+)(?:\[.*\])?==(.+)", line).groups()
            found[plain(name)] = version
    return found


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("file", FILES, ids=lambda f: f"{f.parent.name}/{f.stem}")
def test_a_lock_has_what_its_requirements_want_and_a_hash_of_every_package(file):
    entries = file.with_suffix(".lock").read_text().replace("\\\n", "").splitlines()
    locked = {}
    for entry in entries:
        name, version, hashes = re.fullmatch(
            r"([\w.-]+)==(\S+)(?: ;[^-]*?)?((?: +--hash=sha256:[0-9a-f]{64})+) *", entry
        ).groups()
        locked[plain(name)] = version
    missing = wanted(file).items() - locked.items()
    assert not missing, f"scripts/lock {file.name} has to be run again"


def test_the_images_install_what_the_locks_name_and_nothing_else():
    for file in ROOT.glob("triton/*/Dockerfile"):
        (line,) = (x for x in file.read_text().splitlines() if "pip install" in x)
        assert "--require-hashes -r" in line and line.endswith("requirements.lock")
