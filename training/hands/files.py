"""The files of the hand networks: MediaPipe's, fetched once, known by their hash.

They lie inside a wheel of the package registry, so that whoever can install this
project can fetch them. The wheel itself is not installed: it wants older packages.

python -m training.hands.files      fetch them, or say where they are
"""

from pathlib import Path

from data_prep.errors import exit_2_on_input_error
from training.wheel_files import WheelFiles

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
HAND_NETWORKS = WheelFiles(
    wheel=WHEEL,
    title="the hand networks",
    size="36 MB",
    cache="hand-networks",
    option="--hand-networks",
    files=FILES,
)


def cache_folder() -> Path:
    """Where the files are kept for all runs of this user."""
    return HAND_NETWORKS.cache_folder()


def find_hand_networks(folder: str | Path = "") -> Path:
    """Find the folder of the files, and fetch them if they were never fetched.

    Args:
        folder: Holds them, on a machine without a registry; "" for the cache.

    Returns:
        A folder with all of FILES, each of the right content.

    Raises:
        InputError: They are not there, are others, or cannot be fetched.
    """
    return HAND_NETWORKS.find(folder)


@exit_2_on_input_error
def main() -> None:
    print(find_hand_networks())


if __name__ == "__main__":
    main()
