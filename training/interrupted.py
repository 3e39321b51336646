"""Trainings that were interrupted: where they lie, and with which options they ran.

This module does not import torch, so a mistake in ``--resume`` is reported at once.
"""

import json
from pathlib import Path
from typing import Any

from data_prep.errors import InputError
from training.reports import EVALUATION

ORIGIN_FILE = "origin.json"  # what a training was of, and its options
LAST_FILE = "last.pt"  # its state after the last epoch
LAST = "last"


def find_interrupted(resume: str, runs: Path) -> Path:
    """Find the folder that ``--resume`` means.

    Args:
        resume: A folder, the id of a training task, or "last": the newest that was
            interrupted.
        runs: Folder of all trainings.

    Raises:
        InputError: There is no such folder, or nothing in it to go on from.
    """
    if resume == LAST:
        found = [
            state
            for state in runs.glob(f"*/{LAST_FILE}")
            if not (state.parent / EVALUATION).exists()
        ]
        if not found:
            raise InputError(
                f"--resume last: no training in {runs} was interrupted; start one "
                "without --resume"
            )
        return max(found, key=lambda state: state.stat().st_mtime).parent
    for folder in (Path(resume), runs / resume):
        if (folder / LAST_FILE).is_file():
            return folder.resolve()
    raise InputError(
        f"--resume {resume}: there is no {LAST_FILE} in it; give last, the id of a "
        "training task, or the folder of an interrupted training"
    )


def options_of(run: Path) -> dict[str, Any]:
    """The options that an interrupted training had, by the names of their fields.

    Raises:
        InputError: As `read_origin`.
    """
    return read_origin(run)["options"]


def read_origin(run: Path) -> dict[str, Any]:
    """What an interrupted training had learned from, and its "options".

    Raises:
        InputError: It cannot be read.
    """
    try:
        origin = json.loads((run / ORIGIN_FILE).read_text(encoding="utf-8"))
        origin["options"]  # KeyError: of a release that kept none
        return origin
    except (OSError, ValueError, KeyError):
        raise InputError(
            f"{run / ORIGIN_FILE} is missing or damaged; --resume must name the folder "
            "of an interrupted training"
        ) from None


def how_to_go_on(run: Path) -> str:
    """Say how to go on with an interrupted training; "" where nothing was kept."""
    if not (run / LAST_FILE).exists():
        return ""
    return f"go on where it was: python -m training.train --resume {run}"
