"""Draw sample photographs of the 29 classes, so that nothing need be downloaded.

python -m data_prep.draw --out asl_raw --per-class 120
"""

import argparse
import multiprocessing
import os
import shutil
import tempfile
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from data_prep.draw_scene import draw_image
from data_prep.errors import InputError, exit_2_on_input_error
from data_prep.hand_poses import CLASSES

__all__ = ["CLASSES", "draw_dataset", "draw_image"]

_CHUNK = 32  # images of one class that a worker draws at a time


def image_rng(seed: int, letter: str, index: int) -> np.random.Generator:
    """The generator of one image: depends on nothing but these three."""
    return np.random.default_rng([seed, CLASSES.index(letter), index])


def draw_dataset(
    out: str | Path,
    per_class: int = 120,
    seed: int = 0,
    classes: tuple[str, ...] | list[str] = CLASSES,
    size: int = 200,
    workers: int | None = None,
) -> Path:
    """Draw ``out/<class>/<class><1..per_class>.jpg``; `out` appears when complete.

    The same seed gives the same bytes whatever the classes asked for and the workers.

    Args:
        out: A folder that does not exist or is empty.
        size: Side of the pictures, pixels.
        workers: Processes; None for one a usable core.

    Raises:
        InputError: `out` is taken, or a number or class cannot be used.
    """
    out = Path(out)
    classes = _checked(out, per_class, seed, classes, size, workers)
    workers = workers or len(os.sched_getaffinity(0))
    jobs = [
        (letter, first, min(first + _CHUNK, per_class + 1))
        for letter in classes
        for first in range(1, per_class + 1, _CHUNK)
    ]
    out.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        for letter in classes:
            (part / letter).mkdir()
        total = per_class * len(classes)
        with tqdm(total=total, desc="draw", unit="image", disable=None) as bar:
            for count in _run(part, jobs, seed, size, workers):
                bar.update(count)
        part.chmod(0o755)  # mkdtemp's folders are for their owner only
        part.rename(out)  # over an empty folder too, but never over a filled one
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return out


def _checked(out, per_class, seed, classes, size, workers):
    """Return the classes, sorted and once each, or raise InputError."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(
            f"{out} exists and is not an empty folder; remove it or draw elsewhere"
        )
    for name, value, low, high in (
        ("per-class", per_class, 1, 100_000),
        ("seed", seed, 0, 2**63),
        ("size", size, 32, 1024),
        ("workers", workers or 1, 1, 1024),
    ):
        if not low <= value <= high:
            raise InputError(f"{name} is {value}; it must lie in {low} to {high}")
    unknown = sorted(set(classes) - set(CLASSES))
    if unknown or not classes:
        raise InputError(
            f"classes has {', '.join(unknown) or 'no entry'}; "
            f"known are {' '.join(CLASSES)}"
        )
    return sorted(set(classes))


def _run(part, jobs, seed, size, workers):
    """Do the jobs in this process or in several; yield the images of each."""
    if workers == 1 or len(jobs) == 1:
        for job in jobs:
            yield _draw_files(part, *job, seed, size)
        return
    # Started afresh: a fork of a process with threads may hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(jobs)), context) as pool:
        try:
            futures = [pool.submit(_draw_files, part, *job, seed, size) for job in jobs]
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _draw_files(part, letter, first, end, seed, size):
    """Draw and write images `first` to `end` - 1 of one class; return their count."""
    cv2.setNumThreads(1)
    for index in range(first, end):
        rng = image_rng(seed, letter, index)
        image = draw_image(letter, rng, size)
        quality = int(rng.integers(86, 97))
        ok, data = cv2.imencode(
            ".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality]
        )
        if not ok:
            raise RuntimeError(f"OpenCV could not encode {letter}{index}")
        (part / letter / f"{letter}{index}.jpg").write_bytes(data.tobytes())
    return end - first


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description="Draw a raw set of ASL photographs with a kinematic hand model."
    )
    parser.add_argument("--out", required=True, help="folder to make; must be empty")
    parser.add_argument("--per-class", type=int, default=120, help="images a class")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same bytes")
    parser.add_argument(
        "--classes", nargs="+", default=CLASSES, metavar="NAME", help="default: all 29"
    )
    parser.add_argument("--size", type=int, default=200, help="side, pixels")
    parser.add_argument(
        "--workers", type=int, default=None, help="processes; default: one a core"
    )
    return parser.parse_args(argv)


@exit_2_on_input_error
def main(argv=None):
    args = parse_args(argv)
    out = draw_dataset(
        args.out, args.per_class, args.seed, args.classes, args.size, args.workers
    )
    count = args.per_class * len(set(args.classes))
    print(f"{out}: {count} images of {len(set(args.classes))} classes")


if __name__ == "__main__":
    main()
