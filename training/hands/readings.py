"""Photographs read once: their hands, and pictures of them, kept by content.

The reader's graph runs in ONNX Runtime, which is twice as fast on a CPU as torch; the
same graph is the first part of the model that is served.
"""

import hashlib
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.leftovers import holding, newest_first, remove_folders
from data_prep.parallel import cpu_count
from data_prep.paths import data_home
from data_prep.progress import Progress
from training.hands import picked
from training.hands.hand import NUMBERS
from training.hands.reader import MARGIN, PICTURE_SIZE

SIDE = PICTURE_SIZE + 2 * MARGIN
BATCH_SIZE = 8
KEPT = 12  # readings that are kept on the disk: those of the last few trainings
ROWS, PICTURES = "rows.npy", "pictures.npy"


@dataclass(frozen=True)
class Readings:
    """What was read from N photographs.

    Attributes:
        rows: ``(N, NUMBERS)`` float32, hands as `hand.pack` makes them.
        pictures: ``(N, SIDE, SIDE, 3)`` uint8 RGB, as `Reading.picture`; a memory map.
    """

    rows: np.ndarray
    pictures: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)


def read_photographs(images: np.ndarray, graph: Path, what: str) -> Readings:
    """Read all photographs of a split, unless the same ones were read before.

    Args:
        images: ``(N, S, S, 3)`` uint8 RGB, an array or `PickedPhotographs`.
        graph: From `reader_graph`.
        what: They are called so while the work goes on.
    """
    digest = hashlib.sha256(graph.name.encode() + picked.digest(images))
    kept = data_home() / "readings"
    folder = kept / digest.hexdigest()[:32]
    if not (folder / ROWS).exists():
        kept.mkdir(parents=True, exist_ok=True)
        remove_folders(kept.glob(".*"))  # of readings that were killed
        partial = kept / f".{folder.name}.{os.getpid()}"
        with holding(kept):
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            try:
                _read(images, graph, what, partial)
                if not (folder / ROWS).exists():  # nobody else has read them meanwhile
                    shutil.rmtree(folder, ignore_errors=True)
                    partial.rename(folder)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    os.utime(folder)
    _forget_oldest(kept)
    return Readings(np.load(folder / ROWS), np.load(folder / PICTURES, mmap_mode="r"))


def _forget_oldest(kept: Path) -> None:
    folders = (path for path in kept.iterdir() if not path.name.startswith("."))
    for folder in newest_first(folders)[KEPT:]:
        shutil.rmtree(folder, ignore_errors=True)


def _read(images: np.ndarray, graph: Path, what: str, folder: Path) -> None:
    rows = np.empty((len(images), NUMBERS), np.float32)
    pictures = np.lib.format.open_memmap(
        folder / PICTURES, "w+", np.uint8, (len(images), SIDE, SIDE, 3)
    )
    ask = _asker(graph)

    def read(start: int) -> int:
        here = slice(start, min(start + BATCH_SIZE, len(images)))
        made = ask(np.ascontiguousarray(images[here]))
        rows[here] = made[0]
        pictures[here] = made[1].transpose(0, 2, 3, 1).astype(np.uint8)
        return here.stop - here.start

    with (
        ThreadPoolExecutor(cpu_count()) as pool,
        Progress(what, len(images), picked.called(images)) as bar,
    ):
        for count in pool.map(read, range(0, len(images), BATCH_SIZE)):
            bar.update(count)
    pictures.flush()
    np.save(folder / ROWS, rows)


def _asker(graph: Path):
    """A function from uint8 photographs to rows and pictures, for many threads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # a thread a batch instead
    session = onnxruntime.InferenceSession(
        graph, options, providers=["CPUExecutionProvider"]
    )
    names = [value.name for value in session.get_outputs()[:2]]
    return lambda images: session.run(names, {"image": images})
