"""Decide when a pipeline step reuses an earlier run: same code, input and options.

By itself ClearML compares the commit and the uncommitted changes. Then every commit
would repeat all steps, and a checkout without git would never be compared; of folders
it would compare the names only. So each step has a digest of the source files that it
runs, and of the content of the files that its options name. ClearML compares this
digest and the options.
"""

import hashlib
from pathlib import Path

from data_prep.containers import files_below
from data_prep.paths import ROOT
from pipelines.orchestration.sources import sources
from pipelines.tracking.options import as_list

CONTENT = "Cache/content"  # the step's parameter that holds the digest
# Steps that act on nothing but their own results.
SCRIPTS = (
    "data_prep/validate.py",
    "data_prep/prepare.py",
    "training/train.py",
    "training/score.py",
)
FILE_OPTIONS = ("raw", "external", "weights")


def digest(script: str, options: dict) -> str:
    """Compute the digest of a step's code and of its input files.

    Args:
        script: Path in the repository.
        options: The step's options by name, as ClearML keeps or gets them.

    Returns:
        Hexadecimal; "" if the step must not reuse an earlier run: it changes something
        outside ClearML, resumes an interrupted run, or a file cannot be read here.
    """
    if script not in SCRIPTS or options.get("resume"):
        return ""
    total = hashlib.sha256()
    for file in (*sources(script, ROOT), ROOT / "requirements.txt"):
        name = file.relative_to(ROOT).as_posix()
        total.update(f"{name}={content(file)}\n".encode())
    for name in FILE_OPTIONS:
        for path in map(Path, as_list(options.get(name))):
            if not path.exists():
                return ""
            total.update(f"{name}={content(path)}\n".encode())
    return total.hexdigest()


def content(path: Path) -> str:
    """Digest of a file, or of all files below a folder with their names."""
    total = hashlib.sha256()
    files = [path]
    if path.is_dir():
        files = sorted(files_below(path))
    for file in files:
        if file.is_file():
            with open(file, "rb") as opened:
                inside = hashlib.file_digest(opened, "sha256").hexdigest()
            total.update(f"{file.relative_to(path).as_posix()}\0{inside}\n".encode())
    return total.hexdigest()


def compare_by_content(task: dict) -> dict:
    """Tell ClearML what makes two steps the same.

    Args:
        task: ClearML's description of a task that it is about to hash.
    """
    if task["hyper_params"].get(CONTENT):
        task["script"] = None
    return task
