"""From the request log to raw photographs: proposals, a sheet to look at, a folder.

Plain functions; `pipelines.collect` is the command around them.
"""

import csv
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from data_prep.errors import InputError
from data_prep.image_file import BrokenImage
from data_prep.model_name import DEFAULT
from data_prep.preprocessing import decode
from pipelines.monitoring.request_log import ID, entries
from pipelines.repository import versions

COLUMNS = ("id", "label", "why", "predicted", "confidence", "time", "model", "version")
TILE, COLUMNS_OF_SHEET, ROWS_OF_SHEET = 160, 8, 8
SHEET_FILE, TABLE_FILE = "sheet-{}.png", "proposals.csv"
CORRECTED, UNCERTAIN = "corrected", "uncertain"


@dataclass(frozen=True)
class Proposal:
    """A photograph of the log, and the class that it is proposed for."""

    entry: dict
    photograph: Path
    label: str
    why: str

    def row(self) -> dict[str, str]:
        entry = self.entry
        return {
            "id": entry["id"],
            "label": self.label,
            "why": self.why,
            "predicted": entry["predicted"],
            "confidence": f"{entry['confidence']:.3f}",
            "time": entry["time"],
            "model": of_model(entry),
            "version": entry["model"]["version"],
        }


def propose(
    log: Path, below: float, limit: int, known: Iterable[str], name: str = DEFAULT
) -> list[Proposal]:
    """Choose what is worth learning from: what was corrected, and what was uncertain.

    Args:
        below: Confidence under which an answer is uncertain; 0: corrected ones only.
        limit: At most so many; corrected ones first, then the least certain.
        known: Ids of entries that were collected before.
        name: Of the model that answered.
    """
    known, found = set(known), []
    for entry, photograph in entries(log):
        if photograph is None or entry["id"] in known or of_model(entry) != name:
            continue
        if entry.get("label"):
            found.append(Proposal(entry, photograph, entry["label"], CORRECTED))
        elif entry["confidence"] < below:
            label = entry["predicted"]
            found.append(Proposal(entry, photograph, label, UNCERTAIN))
    found.sort(key=lambda x: (x.why != CORRECTED, x.entry["confidence"]))
    return found[:limit]


def of_model(entry: dict) -> str:
    """The name of the model that gave an entry's answer."""
    return entry["model"]["name"]


def write_sheets(proposals: Sequence[Proposal], folder: Path) -> list[Path]:
    """Draw the proposals with their labels, as many sheets as it takes, and the table
    that is accepted afterwards; all for the owner's eyes."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    paths, size = [], COLUMNS_OF_SHEET * ROWS_OF_SHEET
    for number, first in enumerate(range(0, len(proposals), size), 1):
        tiles = [draw(one) for one in proposals[first : first + size]]
        tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % COLUMNS_OF_SHEET)
        rows = [
            np.hstack(tiles[at : at + COLUMNS_OF_SHEET])
            for at in range(0, len(tiles), COLUMNS_OF_SHEET)
        ]
        path = folder / SHEET_FILE.format(number)
        data = cv2.imencode(".png", np.vstack(rows))[1].tobytes()
        write_private(path, data)
        paths.append(path)
    table = folder / TABLE_FILE
    write_private(table, b"")
    with open(table, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(one.row() for one in proposals)
    return [*paths, table]


def draw(proposal: Proposal) -> np.ndarray:
    """One tile: the photograph, its proposed label, and the first digits of its id."""
    tile = np.full((TILE + 34, TILE, 3), 255, np.uint8)
    try:
        picture = decode(proposal.photograph.read_bytes())
        scale = TILE / max(picture.shape[:2])
        height, width = (max(1, round(x * scale)) for x in picture.shape[:2])
        small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
        tile[:height, :width] = small
    except (BrokenImage, OSError):
        pass  # an empty tile says so; accepting it is refused
    colour = (0, 120, 0) if proposal.why == CORRECTED else (0, 0, 180)
    for line, (text, shade) in enumerate(
        ((proposal.label, colour), (proposal.entry["id"][:12], (90, 90, 90)))
    ):
        at = (3, TILE + 13 + 16 * line)
        cv2.putText(tile, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.42, shade, 1, 16)
    return tile


def read_table(path: Path) -> dict[str, str]:
    """Read a table that somebody has looked through: labels by id.

    Raises:
        InputError: It is none, or has a line that cannot be used.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path} cannot be read ({error})") from None
    labels: dict[str, str] = {}
    for number, row in enumerate(rows, 2):
        id_, label = (row.get("id") or "").strip(), (row.get("label") or "").strip()
        if not ID.fullmatch(id_):
            raise InputError(f"{path}, line {number}: '{id_}' is no id of an entry")
        if not label or "/" in label or label.startswith("."):
            raise InputError(f"{path}, line {number}: '{label}' is no class")
        if id_ in labels:
            raise InputError(f"{path}, line {number}: {id_} is there twice")
        labels[id_] = label
    if not labels:
        raise InputError(f"{path} has no lines; there is nothing to accept")
    return labels


def gather(log: Path, labels: dict[str, str], folder: Path, name: str = DEFAULT) -> int:
    """Copy accepted photographs to ``<folder>/<label>/<id>.<suffix>``.

    Args:
        name: Of the model that answered them all.

    Raises:
        InputError: One has gone from the log, is broken, or another model's; nothing is
            to be used then.
    """
    found = {entry["id"]: (entry, photograph) for entry, photograph in entries(log)}
    for id_, label in labels.items():
        entry, photograph = found.get(id_, ({}, None))
        if entry and of_model(entry) != name:
            raise InputError(
                f"the photograph {id_} was answered by the model {of_model(entry)}, "
                f"not by {name}; give --name {of_model(entry)}"
            )
        if photograph is None:
            raise InputError(
                f"the photograph {id_} is not in {log} any more; take its line away"
            )
        data = photograph.read_bytes()
        try:
            decode(data)
        except BrokenImage as error:
            raise InputError(
                f"the photograph {id_} is broken ({error}); take its line away"
            ) from None
        place = folder / label
        place.mkdir(parents=True, exist_ok=True)
        (place / photograph.name).write_bytes(data)
    return len(labels)


def remember(path: Path, ids: Iterable[str], dataset_id: str) -> None:
    """Note in which version of the raw Dataset entries have become data."""
    known = collected(path)
    versions.write_text(path, json.dumps(known | dict.fromkeys(ids, dataset_id)))


def collected(path: Path) -> dict[str, str]:
    """The versions of the raw Dataset that entries have become data in, by id."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}


def write_private(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with open(os.open(path, flags, 0o600), "wb") as file:
        file.write(data)
