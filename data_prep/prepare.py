"""Turn raw images into the packed, split data set that training reads.

python -m data_prep.prepare --raw DIR [DIR ...]
"""

import argparse
import functools
import sys
from dataclasses import replace
from pathlib import Path

if not __package__:  # run as a script, as clearml-task does
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from data_prep import leftovers, preparation, resolution  # noqa: E402
from data_prep.answer import add_json, answering  # noqa: E402
from data_prep.command_line import add_raw, command_parser  # noqa: E402
from data_prep.errors import InputError, exit_2_on_input_error  # noqa: E402
from data_prep.model_name import add_name  # noqa: E402
from data_prep.parallel import add_workers, workers  # noqa: E402
from data_prep.paths import data_home  # noqa: E402
from data_prep.preprocessing import Preprocessing  # noqa: E402
from data_prep.sources import Listing, RawImage, name_folders  # noqa: E402
from data_prep.splitting.methods import METHODS, SplitOptions  # noqa: E402


def arguments() -> argparse.ArgumentParser:
    pixels, split = Preprocessing(), SplitOptions()
    parser = command_parser(
        "python -m data_prep.prepare",
        description=__doc__.splitlines()[0],
        example="--raw photographs --image-size 96",
    )
    # Input
    add_raw(parser)
    parser.add_argument(
        "--test-set",
        nargs="+",
        metavar="DIR",
        help="folder or table that is the test split, as it is; with a Dataset, its "
        "name there",
    )
    parser.add_argument(
        "--val-set", nargs="+", metavar="DIR", help="the same of the validation split"
    )
    parser.add_argument(
        "--classes", nargs="+", metavar="NAME", help="only these; default: all"
    )
    parser.add_argument(
        "--limit", type=int, default=0, help="images a class at most; 0 (default): all"
    )
    # Pixels
    parser.add_argument(
        "--image-size",
        type=int,
        default=0,
        help="side of the square images, pixels; 0 (default): "
        f"{resolution.HAND_SIZE} for letterboxed hand signs, else {pixels.image_size}",
    )
    parser.add_argument(
        "--resize-mode",
        choices=resolution.CHOICES,
        default=resolution.AUTO,
        help="how a photograph becomes square: squash changes its proportions, "
        "letterbox keeps them and repeats the last pixels; auto (default): letterbox "
        "for hand signs, else squash",
    )
    parser.add_argument(
        "--border-crop",
        type=float,
        default=pixels.border_crop,
        help="share of each side cut off first, 0 to below 0.5 "
        f"(default {pixels.border_crop})",
    )
    # Splits
    parser.add_argument(
        "--split",
        default=split.method,
        help=f"how images are grouped: {', '.join(METHODS)} (default {split.method})",
    )
    parser.add_argument(
        "--hold-out",
        nargs="+",
        metavar="SOURCE",
        help="with --split source: test on these sets; default: one of fitting size",
    )
    parser.add_argument(
        "--drop-twins",
        action="store_true",
        help="leave out training images that have a near-duplicate in --test-set or "
        "--val-set (default: count them)",
    )
    parser.add_argument(
        "--ratios",
        nargs=3,
        type=float,
        default=list(split.ratios),
        metavar=("TRAIN", "VAL", "TEST"),
        help="parts of the three splits, of what is not given (default 80 10 10)",
    )
    parser.add_argument(
        "--seed", type=int, default=split.seed, help="of the split (default 0)"
    )
    # Output and machine
    add_name(parser, "that the prepared ClearML Dataset is for")
    parser.add_argument(
        "--output-uri",
        metavar="URI",
        help="where the Dataset's files go (s3://..., file://...); default: the "
        "ClearML file server",
    )
    add_workers(parser)
    add_json(parser, "split.json, the folder and the Dataset's id")
    return parser


def check(args: argparse.Namespace) -> preparation.Options:
    """Turn the command line into the options of a preparation.

    Returns:
        The options; values that depend on the photographs have their defaults.

    Raises:
        InputError: One of them is out of range.
    """
    workers(args)
    given = {"border_crop": args.border_crop}
    if args.image_size:
        given["image_size"] = args.image_size
    if args.resize_mode != resolution.AUTO:
        given["resize_mode"] = args.resize_mode
    try:
        pixels = Preprocessing(**given)
    except ValueError as error:
        raise InputError(str(error)) from None
    split = SplitOptions(
        method=args.split,
        ratios=tuple(args.ratios),
        seed=args.seed,
        hold_out=tuple(args.hold_out or ()),
        val_set=set_names(args, args.val_set),
        test_set=set_names(args, args.test_set),
        drop_twins=args.drop_twins,
    )
    return preparation.Options(pixels, split)


def all_folders(args: argparse.Namespace) -> list[str]:
    """All folders on the command line: --raw, then --val-set and --test-set."""
    return [*(args.raw or ()), *(args.val_set or ()), *(args.test_set or ())]


def set_names(args: argparse.Namespace, folders: list[str] | None) -> tuple[str, ...]:
    """What begins the paths of images that lie in a set.

    Raises:
        InputError: One is missing, or two cannot be told apart.
    """
    if not args.raw:  # of a Dataset, in which validate keeps folders by these names
        return tuple(Path(folder).name for folder in folders or ())
    known = {path: name for name, path in name_folders(all_folders(args)).items()}
    paths = [Path(folder).expanduser().resolve() for folder in folders or ()]
    return tuple(known[path] for path in paths)


def choose_pixels(
    pixels: Preprocessing, args: argparse.Namespace, images: list[RawImage]
) -> Preprocessing:
    """Choose size and resize mode from the photographs where no option gives them."""
    size, mode, line = resolution.choose(
        {image.label for image in images},
        resolution.typical_shorter_side(images),
        args.image_size,
        args.resize_mode,
    )
    print(line, flush=True)
    return replace(pixels, image_size=size, resize_mode=mode)


@exit_2_on_input_error
def main(tracking) -> None:
    """Run the step.

    Args:
        tracking: The package `pipelines.tracking`.
    """
    find_raw = functools.cache(tracking.find_raw)

    def find(args: argparse.Namespace) -> Listing:
        return find_raw(
            tuple(args.raw and all_folders(args) or ()),
            args.dataset_id,
            tuple(args.classes or ()),
            args.limit,
        )

    def look(args: argparse.Namespace) -> None:
        if args.output_uri:
            tracking.ensure_clearml()
            tracking.check_destination(args.output_uri)
        if args.dataset_id and not args.raw:
            tracking.ensure_clearml()
            tracking.check_dataset(args.dataset_id)
        else:
            find(args)

    with (
        answering(arguments()) as answer,
        tracking.step_task("prepare", arguments(), check=check, look=look) as (
            task,
            args,
        ),
    ):
        options = check(args)
        tracking.check_destination(args.output_uri)
        listing = find(args)
        pixels = choose_pixels(options.preprocessing, args, listing.images)
        options = replace(options, preprocessing=pixels)
        runs = data_home() / "runs"
        leftovers.remove_folders(runs.glob(f"*/prepared{preparation.PARTIAL}"))
        folder = runs / task.id / "prepared"
        summary = preparation.prepare(listing.images, folder, options, workers(args))
        raw_id = args.dataset_id or tracking.find_version(
            name_folders(all_folders(args)), args.name
        )
        if raw_id and not args.dataset_id:
            tracking.note_use(task, raw_id)
        dataset_id = tracking.upload_prepared(
            folder, args.output_uri, raw_id, args.name
        )
        _report(task, summary, folder, tracking)
        tracking.set_output(task, "dataset_id", dataset_id)
        counts = ", ".join(f"{k} {v}" for k, v in summary["counts"].items())
        size = f"{pixels.image_size} pixels, {pixels.resize_mode}"
        tracking.tell_result(
            task, f"{counts} images of {size}; {summary['left_out']} left out"
        )
        tracking.tell_warnings(task, summary["warnings"], folder / "split.json")
        answer.update(summary, folder=str(folder), dataset_id=dataset_id)
        print(f"folder: {folder}")
        print(dataset_id)


def _report(task, summary: dict, folder: Path, tracking) -> None:
    """Show the split on the ClearML task as well."""
    logger = task.get_logger()
    for split in summary["counts"]:
        logger.report_histogram(
            "Images a class",
            split,
            [counts[split] for counts in summary["classes"].values()],
            iteration=0,
            xlabels=list(summary["classes"]),
            yaxis="images",
        )
    preview = str(folder / "preview.png")
    logger.report_image("Preview", "a row a class", iteration=0, local_path=preview)
    for split, share in summary["twin_share"].items():
        logger.report_single_value(f"twin share of {split}", share)
    tracking.upload_artifact(task, "split", folder / "split.json")


if __name__ == "__main__":
    from pipelines import tracking

    main(tracking)
