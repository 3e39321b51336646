"""What was asked and answered, kept to learn from it: only where it was asked for.

Nothing is kept unless the gateway is started with a log. Photographs are kept only if
that was asked for as well. One entry is one or two files, which only their owner may
read::

    <folder>/2026-11-28/<id>.json      what was answered, when, by which version
    <folder>/2026-11-28/<id>.jpg       the photograph, as it was sent

Whoever knows an entry's id, 128 random bits, may delete it. Entries that are older than
``days`` go by themselves; of more than ``max_bytes`` the oldest do.
"""

import json
import os
import random
import re
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from data_prep.errors import InputError

LOG_FOLDER = "request_log"  # in the data folder
ID = re.compile(r"[0-9a-f]{32}")
DAY = re.compile(r"\d{4}-\d\d-\d\d")
# first bytes of what is accepted as a photograph, and the suffix of its file
KINDS = {b"\xff\xd8": ".jpg", b"\x89PNG": ".png", b"RIFF": ".webp", b"BM": ".bmp"}
TIDY_S = 600.0
MAX_FILE_BYTES = 8 << 20
PROBABILITIES = 5  # of the likeliest classes


@dataclass(frozen=True)
class Policy:
    """What is kept, and for how long.

    Attributes:
        share: Of the requests, 0 to 1; corrections are kept in any case.
        photographs: Whether they are kept, or only what was answered.
        days: After which an entry is deleted.
        max_bytes: Of all files together.

    Raises:
        InputError: One of them is out of range.
    """

    share: float = 0.01
    photographs: bool = False
    days: int = 30
    max_bytes: int = 1 << 30

    def __post_init__(self):
        if not 0 <= self.share <= 1:
            raise InputError(f"--log-share {self.share} must be between 0 and 1")
        if self.days < 1 or self.max_bytes < 1 << 20:
            raise InputError("--log-days must be at least 1, --log-bytes 1048576")


class RequestLog:
    """A log in a folder, which is made when missing.

    Args:
        folder: Becomes readable by its owner only.
        seed: Of the sampling.
    """

    def __init__(self, folder: Path, policy: Policy, seed: int | None = None):
        self.folder, self.policy = Path(folder), policy
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder.chmod(0o700)
        self.random = random.Random(seed)
        self.bytes = sum(path.stat().st_size for path in self.folder.rglob("*.*"))
        self.tidied = float("-inf")
        self.lock = threading.Lock()
        self.tidy()

    def sampled(self) -> bool:
        """Is this request one that is kept?"""
        return self.random.random() < self.policy.share

    def add(self, answer: dict, photograph: bytes, label: str | None = None) -> str:
        """Keep one answer.

        Args:
            answer: In the form that the gateway gives.
            photograph: As it was sent; kept if the policy says so.
            label: What it really was, if somebody has said so.

        Returns:
            The entry's id.
        """
        now = datetime.now(timezone.utc)
        found = answer["all_predictions"]
        ranked = sorted(found, key=found.__getitem__, reverse=True)[:PROBABILITIES]
        entry = {
            "id": secrets.token_hex(16),
            "time": now.isoformat(timespec="seconds"),
            "model": answer["model"],
            "predicted": answer["predicted_class"],
            "confidence": round(answer["confidence"], 4),
            "probabilities": {name: round(found[name], 4) for name in ranked},
            "hand": answer.get("hand"),
            "label": label,
        }
        folder = self.folder / now.date().isoformat()
        folder.mkdir(exist_ok=True, mode=0o700)
        suffix = next((x for k, x in KINDS.items() if photograph.startswith(k)), "")
        if self.policy.photographs and suffix and len(photograph) <= MAX_FILE_BYTES:
            self._write(folder / (entry["id"] + suffix), photograph)
        # the last, so that an entry is whole once it is there
        self._write(folder / f"{entry['id']}.json", json.dumps(entry).encode())
        with self.lock:
            late = time.monotonic() > self.tidied + TIDY_S
            if late or self.bytes > self.policy.max_bytes:
                self.tidy()
        return entry["id"]

    def delete(self, id_: str) -> bool:
        """Delete an entry; whether there was one."""
        return bool(delete(self.folder, id_))

    def tidy(self) -> None:
        """Delete what is too old, and then the oldest of what is too much."""
        self.tidied = time.monotonic()
        first = datetime.now(timezone.utc).date() - timedelta(days=self.policy.days)
        delete_before(self.folder, first.isoformat())
        sizes = {path: path.stat().st_size for path in self.folder.glob("*/*.*")}
        self.bytes = sum(sizes.values())
        for path in sorted(sizes, key=lambda path: (path.parent.name, _age(path))):
            if self.bytes <= 0.9 * self.policy.max_bytes:
                break
            path.unlink(missing_ok=True)
            self.bytes -= sizes[path]

    def _write(self, path: Path, data: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with open(os.open(path, flags, 0o600), "wb") as file:
            file.write(data)
        with self.lock:
            self.bytes += len(data)


def entries(folder: Path) -> Iterator[tuple[dict, Path | None]]:
    """Give all entries, oldest first, and the photograph of each if it was kept."""
    for path in sorted(Path(folder).glob("*/*.json")):
        try:
            entry = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # deleted meanwhile, or being written
            continue
        files = [path.with_suffix(x) for x in KINDS.values()]
        yield entry, next((file for file in files if file.exists()), None)


def delete(folder: Path, id_: str) -> list[Path]:
    """Delete the files of an entry; return them.

    Raises:
        InputError: That is no id.
    """
    if not ID.fullmatch(id_):
        raise InputError(f"'{id_}' is no id of an entry: 32 letters and digits, 0 to f")
    found = list(Path(folder).glob(f"*/{id_}.*"))
    for path in found:
        path.unlink(missing_ok=True)
    return found


def delete_before(folder: Path, day: str) -> int:
    """Delete all entries from before a day; return how many days of them.

    Raises:
        InputError: That is no day.
    """
    try:
        datetime.strptime(day, "%Y-%m-%d")
    except ValueError:
        raise InputError(f"'{day}' is no day such as 2026-11-28") from None
    old = [
        path
        for path in Path(folder).iterdir()
        if path.is_dir() and DAY.fullmatch(path.name) and path.name < day
    ]
    for path in old:
        shutil.rmtree(path, ignore_errors=True)
    return len(old)


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
