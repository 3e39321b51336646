"""From raw images to the packed data set, each image decoded once.

Which split an image belongs to is known only when all are hashed. So all pixels go to
the array of the training split first, in the order of the list. Then those of the other
splits are copied out, and the gaps are filled with the last of the training images.
Memory does not grow with the pixels.
"""

import hashlib
import json
import math
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Iterator, Sequence

import cv2
import numpy as np

from data_prep import leftovers, packed, report
from data_prep.errors import InputError
from data_prep.figures import FEW, interval, some_counts
from data_prep.hashing import SIDE, miniatures, perceptual_hashes, thumbnail, to_hex
from data_prep.image_file import BrokenImage
from data_prep.parallel import run_chunks
from data_prep.preprocessing import FILE_NAME, Preprocessing, decode
from data_prep.sources import RawImage
from data_prep.splitting.grouping import TWIN_DISTANCE, has_twin
from data_prep.splitting.methods import LEFT_OUT, SplitOptions, assign

PARTIAL = ".partial"
LEAST_OF_CLASS = 5  # images of a class in a split, to judge anything by them
TOO_FEW_FOR = {
    "val": "which epoch is kept is left to chance",
    "test": "how good the model is at one of these cannot be said",
}
# In each process, set by _start_storing.
_stored: IO[bytes] = None  # type: ignore[assignment]
_preprocessing: Preprocessing = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Options:
    """How to prepare; the same options and raw files give the same bytes anywhere.

    Attributes:
        preprocessing: What is done to the pixels; mean and std are filled in.
        split: How to divide.
    """

    preprocessing: Preprocessing = Preprocessing()
    split: SplitOptions = SplitOptions()


def prepare(
    images: Sequence[RawImage], target: str | Path, options: Options, workers: int
) -> dict:
    """Make the prepared folder ``target`` (see data_prep.packed).

    Everything is written to ``<target>.partial`` and renamed when complete; what an
    interrupted run left there is removed first.

    Returns:
        The content of split.json.

    Raises:
        InputError: An image cannot be decoded, or ``target`` exists.
    """
    target = Path(target)
    if target.exists():
        raise InputError(f"{target} exists already; remove it or choose another folder")
    partial = target.with_name(target.name + PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    with leftovers.holding(target.parent):
        partial.mkdir()
        try:
            summary = _prepare(images, partial, options, workers)
            partial.rename(target)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    return summary


def _prepare(
    images: Sequence[RawImage], folder: Path, options: Options, workers: int
) -> dict:
    record = options.preprocessing
    size = record.image_size
    file = folder / "train" / "images.npy"
    file.parent.mkdir()
    file.touch()
    shas, arrays = [], []
    try:
        for names, *numbers in run_chunks(
            _store_chunk, images, workers, "prepare", _start_storing, (file, record)
        ):
            shas += names
            arrays.append(numbers)
    finally:
        _end_storing()
    hashes, tiny, sums, squares = map(np.concatenate, zip(*arrays))
    groups, split = assign(images, hashes, tiny, options.split)
    classes = sorted({image.label for image in images})
    labels = np.array([classes.index(image.label) for image in images])
    untrained = set(range(len(classes))) - set(labels[split == 0].tolist())
    if untrained:
        raise InputError(
            "no image to train on is left of class "
            f"{', '.join(classes[i] for i in sorted(untrained))}; add images of it to "
            "the training set, or name the classes that are wanted with --classes"
        )

    chosen = {}  # split -> which images it has, in its order
    with open(file, "r+b", buffering=0) as stored:
        for number, name in enumerate(packed.SPLITS[1:], 1):
            chosen[name] = np.flatnonzero(split == number)
            pixels = _read_stored(stored.fileno(), chosen[name], size)
            packed.write_split(folder / name, pixels, labels[chosen[name]], size)
        chosen["train"] = _keep(stored.fileno(), split == 0, size)
    train = chosen["train"]
    np.save(folder / "train" / "labels.npy", labels[train])

    group_ids = {name: _group_id(name) for name in set(groups)}
    rows = (
        packed.ManifestRow(
            images[i].path,
            images[i].label,
            images[i].source,
            shas[i],
            to_hex(hashes[i]),
            group_ids[groups[i]],
            name,
        )
        for name in packed.SPLITS
        for i in chosen[name].tolist()
    )
    packed.write_manifest(folder, rows)
    packed.write_classes(folder, classes)
    test = chosen["test"]
    picked = np.linspace(0, len(test) - 1, min(packed.SAMPLES, len(test))).astype(int)
    packed.write_samples(folder, (images[i].read() for i in test[picked].tolist()))
    filled = _with_statistics(record, sums[train], squares[train])
    filled.save(folder / FILE_NAME)
    preview = _preview(file, labels[train], classes, size)
    report.write_png(folder / "preview.png", preview)
    summary = _summary(labels, classes, hashes, groups, split, options)
    text = json.dumps(summary, indent=2, ensure_ascii=False) + "\n"
    (folder / "split.json").write_text(text, encoding="utf-8")
    return summary


def _start_storing(file: Path, preprocessing: Preprocessing) -> None:
    """In each process: open the file that all write to."""
    global _stored, _preprocessing
    _stored, _preprocessing = open(file, "r+b", buffering=0), preprocessing


def _end_storing() -> None:
    """Close the file, if it was opened in this very process."""
    if _stored is not None:
        _stored.close()


def _store_chunk(first: int, images: Sequence[RawImage]) -> tuple:
    """Decode, hash, fit and store a chunk of N images.

    Returns:
        The sha256 of each, and arrays: perceptual hashes, uint64 (N,); miniatures,
        uint8 (N, 8, 8); sums of the three channels and sums of their squares, int64
        (N, 3), exact, so that no order of summation matters.
    """
    size = _preprocessing.image_size
    thumbnails = np.empty((len(images), SIDE, SIDE), np.uint8)
    sums, squares = np.empty((2, len(images), 3), np.int64)
    planes = [np.empty((size, size), np.uint8) for _ in range(3)]
    shas = []
    for i, image in enumerate(images):
        data = image.read()
        try:
            bgr = decode(data)
        except BrokenImage as error:
            raise InputError(
                f"{image.path}: {error}; remove or replace it (python -m "
                "data_prep.validate lists all such files)"
            ) from None
        shas.append(hashlib.sha256(data).hexdigest())
        thumbnails[i] = thumbnail(bgr)
        pixels = _preprocessing.crop_and_resize(bgr)
        # each by itself, while it is in the processor's cache
        _write(_stored.fileno(), pixels, _place(first + i, size))
        sums[i] = cv2.sumElems(pixels)[:3]
        channels = cv2.split(pixels, planes)
        squares[i] = [cv2.norm(channel, cv2.NORM_L2SQR) for channel in channels]
    hashes = perceptual_hashes(thumbnails)
    return shas, hashes, miniatures(thumbnails), sums, squares


def _write(file: int, pixels, place: int) -> None:
    """Write an image.

    Raises:
        InputError: There is no room for it.
    """
    try:
        written = os.pwrite(file, pixels, place)
    except OSError as error:
        raise InputError(f"the prepared images cannot be written ({error})") from None
    if written < memoryview(pixels).nbytes:
        raise InputError(
            "the prepared images cannot be written: the disk is full; make room there"
        )


def _place(index: int, size: int) -> int:
    """Where in an ``images.npy`` an image begins, bytes."""
    return packed.HEADER_BYTES + index * size * size * 3


def _read_stored(file: int, indices: np.ndarray, size: int) -> Iterator[bytes]:
    """Read images, neighbours at once but never more than 16 MB."""
    item = size * size * 3
    most = max(1, (1 << 24) // item)
    starts = np.flatnonzero(np.diff(indices, prepend=-2) != 1).tolist()
    for start, end in zip(starts, [*starts[1:], len(indices)]):
        for at in range(start, end, most):
            count = min(most, end - at)
            yield os.pread(file, count * item, _place(int(indices[at]), size))


def _keep(file: int, keep: np.ndarray, size: int) -> np.ndarray:
    """Shorten a file of stored images to some of them: the last fill the gaps.

    Args:
        keep: bool ``(N,)``, for each stored image.

    Returns:
        Which stored image is now at each place.
    """
    count = int(keep.sum())
    gaps = np.flatnonzero(~keep[:count])
    last = count + np.flatnonzero(keep[count:])
    for gap, index in zip(gaps.tolist(), last.tolist()):
        pixels = os.pread(file, size * size * 3, _place(index, size))
        _write(file, pixels, _place(gap, size))
    os.ftruncate(file, _place(count, size))
    os.pwrite(file, packed.images_header(count, size), 0)
    order = np.arange(count)
    order[gaps] = last
    return order


def _with_statistics(
    record: Preprocessing, sums: np.ndarray, squares: np.ndarray
) -> Preprocessing:
    """Fill in mean and standard deviation of all training pixels, on the scale 0..1."""
    count = len(sums) * record.image_size**2
    mean = [int(s) / count for s in sums.sum(0)]
    variance = [int(q) / count - m * m for q, m in zip(squares.sum(0), mean)]
    red, green, blue = (round(m / 255, 6) for m in mean)
    # a set without any contrast must not divide by zero later
    spread = (round(max(math.sqrt(max(v, 0)), 1) / 255, 6) for v in variance)
    spread_red, spread_green, spread_blue = spread
    return replace(
        record,
        mean=(red, green, blue),
        std=(spread_red, spread_green, spread_blue),
    )


def _group_id(name: str) -> str:
    """A short name of a group for the manifest, the same wherever the data lies."""
    return hashlib.sha256(name.encode()).hexdigest()[:12]


def _preview(file: Path, labels: np.ndarray, classes: Sequence[str], size: int):
    """A row of training images of each class: uint8 RGB."""
    rows = {}
    with open(file, "rb") as stored:
        for number, name in enumerate(classes):
            members = np.flatnonzero(labels == number)
            picks = np.linspace(0, len(members) - 1, min(10, len(members))).astype(int)
            pixels = b"".join(_read_stored(stored.fileno(), members[picks], size))
            rows[name] = np.frombuffer(pixels, np.uint8).reshape(-1, size, size, 3)
    return report.mosaic(rows)


def _summary(labels, classes, hashes, groups, split, options: Options) -> dict:
    """The content of split.json."""

    def counts(chosen) -> dict:
        return {
            name: int((chosen & (split == number)).sum())
            for number, name in enumerate(packed.SPLITS)
        }

    twin_share = {}
    for number, name in enumerate(packed.SPLITS[1:], 1):
        here = split == number
        twins = has_twin(labels, hashes, here, split == 0)
        twin_share[name] = round(float(twins.sum() / max(1, here.sum())), 6)
    given = np.zeros(len(labels), bool)
    for number, names in ((1, options.split.val_set), (2, options.split.test_set)):
        given |= (split == number) & bool(names)
    train_twins = int(has_twin(labels, hashes, split == 0, given).sum())
    result = {
        "method": options.split.name,
        "seed": options.split.seed,
        "ratios": list(options.split.ratios),
        "hold_out": list(options.split.hold_out),
        "val_set": list(options.split.val_set),
        "test_set": list(options.split.test_set),
        "train_twins": train_twins,
        "images": len(labels),
        "left_out": int((split == LEFT_OUT).sum()),
        "groups": len(set(groups)),
        "counts": counts(split != LEFT_OUT),
        "classes": {name: counts(labels == i) for i, name in enumerate(classes)},
        "twin_distance": TWIN_DISTANCE,
        "twin_share": twin_share,
    }
    return {**result, "warnings": _warnings(result)}


def _warnings(summary: dict) -> list[str]:
    """What a person should know before trusting figures measured on this split."""
    found = []
    share = summary["twin_share"]["test"]
    if summary["method"] == "random" or share >= 0.01:
        found.append(
            f"{share:.1%} of the test images have a near-duplicate in training: "
            "accuracy on them measures memory"
            + (", use --split group" if summary["method"] == "random" else "")
        )
    if summary["train_twins"]:
        found.append(
            f"{summary['train_twins']} of the {summary['counts']['train']} training "
            "images have a near-duplicate in the given sets; --drop-twins leaves them "
            "out"
        )
    for number, name in enumerate(packed.SPLITS):
        of_class = {c: n[name] for c, n in summary["classes"].items()}
        missing = [c for c, n in of_class.items() if not n]
        if missing and summary["ratios"][number]:
            found.append(f"no image of class {', '.join(missing)} is in {name}")
        if name in TOO_FEW_FOR:
            few = {c: n for c, n in of_class.items() if 0 < n < LEAST_OF_CLASS}
            if few:
                found.append(
                    f"{name} has fewer than {LEAST_OF_CLASS} images of {len(few)} of "
                    f"{len(of_class)} classes (such as {some_counts(few)}): "
                    f"{TOO_FEW_FOR[name]}"
                )
    if 0 < (count := summary["counts"]["test"]) < FEW:
        right = round(0.8 * count)
        low, high = interval(right, count)
        found.append(
            f"test has {count} images in all: where {right} of them are right, it may "
            f"be {100 * low:.0f} to {100 * high:.0f} % of very many; more tell more"
        )
    return found
