"""Choose which photographs are read: a part of many similar frames is enough.

A hundred neighbouring frames of one signer teach the geometry network what fifty do
(training/EXPERIMENTS.md); reading them is what takes the time.
"""

import hashlib

import numpy as np

LEAST = 40  # photographs of a class and source
OF_A_CLASS = 320  # where few sources share them


def most_of_a_source(sources: int) -> int:
    """How many photographs of each class and source are read by default."""
    return max(LEAST, OF_A_CLASS // sources)


class PickedPhotographs:
    """Some of many photographs, in slices; all at once would take much memory.

    Args:
        images: ``(N, S, S, 3)`` uint8 RGB.
        rows: ``(M,)`` int64, which of them.
    """

    def __init__(self, images: np.ndarray, rows: np.ndarray):
        self.images, self.rows = images, rows
        self.shape = (len(rows), *images.shape[1:])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice) -> np.ndarray:
        """Return ``(m, S, S, 3)`` uint8 RGB."""
        return self.images[self.rows[part]]

    def digest(self) -> bytes:
        """Return what differs between any two sets of photographs."""
        made = hashlib.sha256()
        for start in range(0, len(self), 256):
            made.update(np.ascontiguousarray(self[start : start + 256]))
        return made.digest()


def called(images: np.ndarray | PickedPhotographs) -> str:
    """What photographs are called while they are counted."""
    if isinstance(images, PickedPhotographs) and len(images) < len(images.images):
        return f"photographs picked from {len(images.images):,}"
    return "photographs"


def digest(images: np.ndarray | PickedPhotographs) -> bytes:
    """As `PickedPhotographs.digest`, also of an array: of all that are in it."""
    if not isinstance(images, PickedPhotographs):
        images = PickedPhotographs(images, np.arange(len(images)))
    return images.digest()


def pick_evenly(labels: np.ndarray, sources: np.ndarray, each: int) -> np.ndarray:
    """Pick photographs of every class of every source, spread over what there are.

    Args:
        labels: ``(N,)`` int64.
        sources: ``(N,)`` texts.
        each: At most so many.

    Returns:
        Rows ``(M,)`` int64, ascending.
    """
    picked = []
    for source in np.unique(sources):
        for label in np.unique(labels[sources == source]):
            rows = np.flatnonzero((sources == source) & (labels == label))
            places = np.linspace(0, len(rows) - 1, min(each, len(rows)))
            picked.append(rows[places.round().astype(int)])
    return np.sort(np.concatenate(picked))
