"""Photographs read once: their hands, and pictures of them, kept by content.

The networks that read are exported to ONNX once and run in ONNX Runtime, which is twice
as fast on a CPU as torch; the same graph is the first part of the model that is served.

python -m training.hands.readings      fetch the networks and make the graph, once
"""

import contextlib
import hashlib
import os
import shutil
import sys
import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from data_prep.errors import exit_2_on_input_error
from data_prep.leftovers import holding, remove_folders
from data_prep.parallel import cpu_count
from data_prep.paths import data_home
from data_prep.progress import Progress
from training.hands import crops, hand, landmarks, palms, picked
from training.hands import reader as reading
from training.hands import tflite
from training.hands.files import FILES, cache_folder, find_hand_networks
from training.hands.hand import NUMBERS, pack
from training.hands.reader import MARGIN, PICTURE_SIZE, HandReader

OPSET = 18
OUTPUTS = ("rows", "picture", "landmarks", "hand", "handedness")
SIDE = PICTURE_SIZE + 2 * MARGIN
BATCH_SIZE = 8
KEPT = 12  # readings that are kept on the disk: those of the last few trainings
KEPT_GRAPHS = 6  # of other versions of this code, and of other sizes of photographs
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


class _Read(torch.nn.Module):
    """`HandReader` as a graph: one array an output."""

    def __init__(self, reader: HandReader):
        super().__init__()
        self.reader = reader

    def forward(self, image):
        read = self.reader(image)
        return pack(read.hand), *read[1:]


def reader_graph(folder: str | Path = "", image_size: int = 256) -> Path:
    """Find the ONNX graph that reads photographs; export it where there is none yet.

    Args:
        folder: Of the hand networks, as `find_hand_networks` takes it.
        image_size: Side of the photographs, pixels.

    Returns:
        A file: ``image`` uint8 ``[batch, S, S, 3]`` in; OUTPUTS out.
    """
    networks = find_hand_networks(folder)
    digest = hashlib.sha256(torch.__version__.encode())
    modules = [crops, hand, landmarks, palms, reading, tflite]
    sources = [Path(module.__file__) for module in modules] + [Path(__file__)]
    for source in sources:  # another version of the code makes another graph
        digest.update(source.read_bytes())
    for known, _ in FILES.values():
        digest.update(known.encode())
    kept = cache_folder()
    path = kept / f"reader-{image_size}-{digest.hexdigest()[:16]}.onnx"
    if not path.exists():
        print("preparing the hand networks (a minute or two, once)", file=sys.stderr)
        kept.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}")
        _export(HandReader.load(networks), partial, image_size)
        partial.replace(path)
    os.utime(path)
    for old in _newest_first(kept.glob("reader-*.onnx"))[KEPT_GRAPHS:]:
        old.unlink(missing_ok=True)
    return path


def _export(reader: HandReader, path: Path, image_size: int) -> None:
    # three images, since export takes a dimension of 1 for a constant
    example = torch.zeros(3, image_size, image_size, 3, dtype=torch.uint8)
    with warnings.catch_warnings():
        # torch's exporter warns of its own use of a deprecated class
        warnings.filterwarnings("ignore", "`isinstance.treespec", FutureWarning)
        torch.onnx.export(
            _Read(reader).eval(),
            (example,),
            path,
            input_names=["image"],
            output_names=list(OUTPUTS),
            opset_version=OPSET,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            external_data=False,
            verbose=False,
        )


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
    for folder in _newest_first(folders)[KEPT:]:
        shutil.rmtree(folder, ignore_errors=True)


def _newest_first(paths: Iterable[Path]) -> list[Path]:
    """Sort by the time of the last use; leave out what is gone by now."""
    used = {}
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            used[path] = path.stat().st_mtime
    return sorted(used, key=used.__getitem__, reverse=True)


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
        Progress(what, len(images), "photographs") as bar,
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


@exit_2_on_input_error
def main() -> None:
    print(reader_graph())


if __name__ == "__main__":
    main()
