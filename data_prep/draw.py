"""Draw sample photographs of the 29 classes, so that nothing need be downloaded.

python -m data_prep.draw --out asl_raw --per-class 120
"""

import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path

import cv2
import numpy as np

if not __package__:  # run as a script
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from data_prep.answer import add_json, answering  # noqa: E402
from data_prep.command_line import command_parser  # noqa: E402
from data_prep.drawing.hand_poses import CLASSES  # noqa: E402
from data_prep.drawing.scene import draw_image  # noqa: E402
from data_prep.errors import InputError, exit_2_on_input_error  # noqa: E402
from data_prep.figures import counted  # noqa: E402
from data_prep.parallel import cpu_count, run_chunks  # noqa: E402


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
        InputError: `out` is taken or not to be written; a number or class is unusable.
    """
    out = Path(out).absolute()
    workers = cpu_count() if workers is None else workers
    _check(out, per_class, seed, classes, size, workers)
    images = [
        (letter, index)
        for letter in sorted(set(classes))
        for index in range(1, per_class + 1)
    ]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise InputError(
            f"{out.parent} cannot be written to ({error.strerror}); draw elsewhere"
        ) from None
    try:
        for letter in set(classes):
            (part / letter).mkdir()
        draw = partial(_draw, part, seed, size)
        for _ in run_chunks(draw, images, workers, "draw", start=_keep_memory):
            pass
        part.chmod(0o755)  # mkdtemp's folders are for their owner only
        part.rename(out)  # over an empty folder too, but never over a filled one
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return out


def _keep_memory():
    """Stop glibc from giving each freed array back to the kernel, to be cleared anew.

    Freeing one large block raises the size from which it does so: 10 % faster.
    """
    np.empty(1 << 24, np.uint8)


def _draw(part, seed, size, first, images):
    """Draw and write a chunk of (class, index) pairs."""
    for letter, index in images:
        rng = image_rng(seed, letter, index)
        picture = cv2.cvtColor(draw_image(letter, rng, size), cv2.COLOR_RGB2BGR)
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(82, 95))]
        data = cv2.imencode(".jpg", picture, quality)[1]
        (part / letter / f"{letter}{index}.jpg").write_bytes(data)


def _check(out, per_class, seed, classes, size, workers):
    """Raise InputError unless the arguments of `draw_dataset` can be used."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(
            f"{out} exists and is not an empty folder; remove it or draw elsewhere"
        )
    for name, value, low, high in (
        ("per-class", per_class, 1, 100_000),
        ("seed", seed, 0, 2**63),
        ("size", size, 32, 1024),
        ("workers", workers, 1, 1024),
    ):
        if not low <= value <= high:
            raise InputError(f"--{name} is {value}; it must lie in {low} to {high}")
    unknown = sorted(set(classes) - set(CLASSES))
    if unknown or not classes:
        raise InputError(
            f"--classes has {', '.join(unknown) or 'no entry'}; "
            f"known are {' '.join(CLASSES)}"
        )


def arguments():
    parser = command_parser(
        "python -m data_prep.draw",
        description="Draw a raw set of ASL photographs with a kinematic hand model.",
        example="--out hands --per-class 60",
    )
    parser.add_argument("--out", required=True, help="folder to make; must be empty")
    parser.add_argument("--per-class", type=int, default=120, help="images a class")
    parser.add_argument(
        "--seed", type=int, default=0, help="seed; the same one gives the same bytes"
    )
    parser.add_argument(
        "--classes", nargs="+", default=CLASSES, metavar="NAME", help="default: all 29"
    )
    parser.add_argument("--size", type=int, default=200, help="side, pixels")
    parser.add_argument(
        "--workers", type=int, default=None, help="processes; default: one a core"
    )
    add_json(parser, "the folder, how many images and classes")
    return parser


@exit_2_on_input_error
def main(argv=None):
    args = arguments().parse_args(argv)
    with answering(arguments(), argv) as answer:
        out = draw_dataset(
            args.out, args.per_class, args.seed, args.classes, args.size, args.workers
        )
        classes = len(set(args.classes))
        images = args.per_class * classes
        answer.update(folder=str(out), images=images, classes=classes)
        drawn = counted(images, "image", "images")
        print(f"{out}: {drawn} of {counted(classes, 'class', 'classes')}")


if __name__ == "__main__":
    main()
