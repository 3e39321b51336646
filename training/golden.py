"""A few raw photographs with the answers that the model gave in training.

``golden_raw.npz`` lies beside ``golden.npz``, whose images are prepared already. With
it a deployment can check its answers against those of training, from decoding through
the preprocessing record to the graph. Three arrays, none of objects:

    files           uint8 (all bytes,), one file after the other
    lengths         int64 (n,), how many bytes each one has
    probabilities   float32 (n, classes)
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

RAW_GOLDEN_FILE = "golden_raw.npz"
MAX_BYTES = 1 << 26  # of all files together


def write_raw_golden(
    path: Path, files: Sequence[bytes], probabilities: np.ndarray
) -> None:
    """Write photographs and answers.

    Args:
        files: Encoded images, as they lie in the raw set.
        probabilities: ``(n, classes)``, of ``Preprocessing.apply(file)`` for each.

    Raises:
        ValueError: Not as many answers as files, or none.
    """
    if not files or len(files) != len(probabilities):
        raise ValueError(f"{len(files)} files, {len(probabilities)} answers")
    np.savez(
        path,
        files=np.frombuffer(b"".join(files), np.uint8),
        lengths=np.array([len(file) for file in files], np.int64),
        probabilities=np.asarray(probabilities, np.float32),
    )


def read_raw_golden(path: Path) -> tuple[list[bytes], np.ndarray]:
    """Read the files and their ``(n, classes)`` float32 probabilities.

    Raises:
        ValueError: The file is not as `write_raw_golden` makes it.
        OSError: It cannot be read.
    """
    with np.load(path, allow_pickle=False) as arrays:
        try:
            data, lengths = arrays["files"], arrays["lengths"]
            probabilities = arrays["probabilities"]
        except KeyError as error:
            raise ValueError(f"it has no array {error}") from None
    if (data.dtype, lengths.dtype) != (np.uint8, np.int64):
        raise ValueError(f"files are {data.dtype}, lengths {lengths.dtype}")
    shapes = data.ndim, lengths.ndim, probabilities.ndim
    if shapes != (1, 1, 2) or not 0 < len(lengths) == len(probabilities):
        raise ValueError("its arrays do not fit each other")
    ends = np.cumsum(lengths)
    if lengths.min() < 1 or ends[-1] != len(data) or len(data) > MAX_BYTES:
        raise ValueError(f"its files have {lengths.tolist()} of {len(data)} bytes")
    files = [part.tobytes() for part in np.split(data, ends[:-1])]
    return files, probabilities
