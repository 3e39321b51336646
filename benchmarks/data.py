"""Measure validation and preparation against bare decoding, side by side in one run.

python -m benchmarks.data --raw DIR --scales 1 3 --repeats 3

"bare" is the limit: the same files, decoded and resized by as many processes, and
nothing else. "pillow" is the obvious way: open, convert, resize and save, a file an
image. Larger sets are copies of the same photographs under altered bytes. Each
measurement is a process of its own; of the repeats, the fastest counts.
"""

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Sequence

if not __package__:  # run as a script
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from data_prep.checks.inspection import inspect  # noqa: E402
from data_prep.checks.validation import find_all  # noqa: E402
from data_prep.command_line import command_parser  # noqa: E402
from data_prep.draw import draw_dataset  # noqa: E402
from data_prep.errors import exit_2_on_input_error  # noqa: E402
from data_prep.parallel import cpu_count, run_chunks  # noqa: E402
from data_prep.paths import ROOT  # noqa: E402
from data_prep.preparation import Options, prepare  # noqa: E402
from data_prep.sources import RawImage, find_images  # noqa: E402

WAYS = ("bare", "validate", "prepare", "pillow")


def measure(way: str, raw: Path, out: Path, workers: int) -> dict:
    """Run one way in this process.

    Returns:
        images; seconds, listing the files included; cpu, the processor seconds of all
        processes; and memory, the peak in MB of this process and of its largest worker.
    """
    start = time.perf_counter()
    listing = find_images([raw])
    if way == "validate":
        inspected = inspect(listing.images, workers)
        find_all(listing, inspected)
    elif way == "prepare":
        prepare(listing.images, out / "prepared", Options(), workers)
    else:
        work = {"bare": _bare, "pillow": _pillow}[way]
        args = (Options().preprocessing,) if way == "bare" else (str(out),)
        for _ in run_chunks(work, listing.images, workers, way, _start, args):
            pass
    seconds = time.perf_counter() - start
    usage = [
        resource.getrusage(whose)
        for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    ]
    return {
        "images": len(listing.images),
        "seconds": seconds,
        "cpu": sum(used.ru_utime + used.ru_stime for used in usage),
        "memory": [round(used.ru_maxrss / 1024) for used in usage],
    }


def _start(setting) -> None:
    global _setting
    _setting = setting


def _bare(first: int, images: Sequence[RawImage]) -> int:
    return sum(int(_setting.apply(image.read())[0, 0, 0]) for image in images)


def _pillow(first: int, images: Sequence[RawImage]) -> None:
    from PIL import Image

    size = Options().preprocessing.image_size
    for i, image in enumerate(images, first):
        with Image.open(image.file) as picture:
            small = picture.convert("RGB").resize((size, size))
        small.save(Path(_setting, f"{i}.jpg"))


def enlarge(raw: Path, copies: int, target: Path) -> Path:
    """Write a set ``copies`` times as large: the same pixels, no two files alike."""
    for image in find_images([raw]).images:
        data, path = image.read(), Path(image.path)
        folder = target / image.label
        folder.mkdir(parents=True, exist_ok=True)
        for copy in range(copies):
            # decoders ignore what follows the image's end
            name = f"{path.stem}_{copy}{path.suffix}"
            (folder / name).write_bytes(data + b"copy %d" % copy)
    return target


def compare(raw: Path, repeats: int, workers: int) -> dict[str, dict]:
    """Measure all ways in turn, ``repeats`` times, and keep each one's fastest."""
    best = {}
    for _ in range(repeats):
        for way in WAYS:
            with tempfile.TemporaryDirectory() as out:
                command = ["-m", "benchmarks.data", "--measure", way, "--out", out]
                done = subprocess.run(
                    [sys.executable, *command, "--raw", raw, "--workers", str(workers)],
                    cwd=ROOT,
                    stdout=subprocess.PIPE,
                    check=True,
                )
            result = json.loads(done.stdout)
            if way not in best or result["seconds"] < best[way]["seconds"]:
                best[way] = result
    return best


def arguments() -> argparse.ArgumentParser:
    parser = command_parser(
        "scripts/bench data",
        description=__doc__.splitlines()[0],
        example="--scales 1000 4000",
    )
    parser.add_argument(
        "--raw", metavar="DIR", help="folder of raw images; default: drawn ones"
    )
    parser.add_argument(
        "--scales",
        nargs="+",
        type=int,
        default=[1, 3],
        help="how many times as many images, one measurement each (default 1 3)",
    )
    parser.add_argument(
        "--repeats", type=int, default=3, help="runs of each way (default 3)"
    )
    parser.add_argument(
        "--workers", type=int, default=0, help="processes; 0 (default): one a core"
    )
    # what the command itself uses for each measurement
    parser.add_argument("--measure", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    return parser


@exit_2_on_input_error
def main() -> None:
    args = arguments().parse_args()
    workers = args.workers or cpu_count()
    if args.measure:
        result = measure(args.measure, Path(args.raw), Path(args.out), workers)
        print(json.dumps(result))
        return
    print(f"{platform.processor() or platform.machine()}, {workers} processes")
    with tempfile.TemporaryDirectory() as folder:
        raw = args.raw or draw_dataset(Path(folder, "drawn"), 100, workers=workers)
        for scale in args.scales:
            larger = Path(folder, f"times_{scale}")
            best = compare(enlarge(Path(raw), scale, larger), args.repeats, workers)
            _print_table(best)


def _print_table(best: dict[str, dict]) -> None:
    bare = best["bare"]
    print(f"\n{bare['images']} images")
    print("way        seconds  images/s  speed  cpu s  work  memory MB")
    for way, result in best.items():
        print(
            f"{way:10} {result['seconds']:7.2f}  "
            f"{result['images'] / result['seconds']:8.0f}  "
            f"{bare['seconds'] / result['seconds']:5.2f}  {result['cpu']:5.1f}  "
            f"{bare['cpu'] / result['cpu']:4.2f}  "
            + " + ".join(map(str, result["memory"]))
        )
    print("speed, work: of bare, by the clock and by processor time (other programs")
    print("slow the clock down); memory: peak of the main process + of a worker")


if __name__ == "__main__":
    main()
