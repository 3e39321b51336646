"""Check raw images and report what would spoil a model.

python -m data_prep.validate --raw DIR [DIR ...]
"""

import argparse
import functools
import sys
from dataclasses import fields
from pathlib import Path

if not __package__:  # run as a script, as clearml-task does
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from data_prep.answer import add_json, answering  # noqa: E402
from data_prep.checks.findings import ERROR, WARNING, Thresholds  # noqa: E402
from data_prep.checks.validation import example_rows, require_ok, validate
from data_prep.command_line import add_raw, command_parser  # noqa: E402
from data_prep.errors import exit_2_on_input_error  # noqa: E402
from data_prep.figures import counted  # noqa: E402
from data_prep.model_name import add_name  # noqa: E402
from data_prep.parallel import add_workers, workers  # noqa: E402
from data_prep.paths import data_home  # noqa: E402
from data_prep.sources import Listing, name_folders  # noqa: E402


def arguments() -> argparse.ArgumentParser:
    defaults = Thresholds()
    parser = command_parser(
        "python -m data_prep.validate",
        description=__doc__.splitlines()[0],
        example="--raw photographs",
    )
    # Input
    add_raw(parser)
    parser.add_argument(
        "--expected-classes",
        nargs="+",
        metavar="NAME",
        help="the expected classes; others are an error; default: any",
    )
    # Output
    add_name(parser, "that the raw ClearML Dataset is for")
    parser.add_argument(
        "--register",
        action="store_true",
        help="if no error is found, upload --raw as the raw ClearML Dataset",
    )
    parser.add_argument(
        "--output-uri",
        metavar="URI",
        help="where the Dataset's files go (s3://..., file://...); default: the "
        "ClearML file server",
    )
    # What counts as unusual
    for name, unit in (
        ("dark", "mean grey, 0 to 255; nearly black below it"),
        ("flat", "standard deviation of grey, 0 to 255; shows nothing below it"),
        ("size-ratio", "times the usual side; larger or smaller is an outlier"),
        ("imbalance", "largest class divided by smallest"),
        ("few", "images; a smaller class is reported"),
        ("copy", "share of a set found in another that makes it a copy, 0 to 1"),
        ("leak", "share of a set with twins in another to report, 0 to 1"),
    ):
        default = getattr(defaults, name.replace("-", "_"))
        parser.add_argument(
            f"--{name}",
            type=type(default),
            default=default,
            help=f"{unit} (default {default:g})",
        )
    # Machine
    add_workers(parser)
    add_json(parser, "validation.json, the folder of the report, the Dataset's id")
    return parser


def check(args: argparse.Namespace) -> Thresholds:
    """Turn the command line into the options of a validation.

    Raises:
        InputError: One of the options is out of range.
    """
    workers(args)
    return Thresholds(
        **{field.name: getattr(args, field.name) for field in fields(Thresholds)}
    )


@exit_2_on_input_error
def main(tracking) -> None:
    """Run the step.

    Args:
        tracking: The package `pipelines.tracking`.
    """
    find_raw = functools.cache(tracking.find_raw)

    def look(args: argparse.Namespace) -> None:
        if args.output_uri:
            tracking.ensure_clearml()
            tracking.check_destination(args.output_uri)
        if args.dataset_id and not args.raw:
            tracking.ensure_clearml()
            tracking.check_dataset(args.dataset_id)
        else:
            find_raw(tuple(args.raw or ()), args.dataset_id)

    with (
        answering(arguments()) as answer,
        tracking.step_task("validate", arguments(), "qc", check, look) as (task, args),
    ):
        tracking.check_destination(args.output_uri)
        listing = find_raw(tuple(args.raw or ()), args.dataset_id)
        folder = data_home() / "runs" / task.id
        result = validate(
            listing,
            folder,
            workers(args),
            args.expected_classes or (),
            check(args),
        )
        answer.update(result, report=str(folder))
        _report(task, result, listing, folder, tracking)
        tracking.tell_result(task, summary(result))
        for message in messages(result, ERROR)[1:]:  # the last line has the first
            print(f"error: {message}", file=sys.stderr)
        warnings = messages(result, WARNING)
        tracking.tell_warnings(task, warnings, folder / "validation.html")
        print(f"report: {folder}")
        require_ok(result)
        dataset_id = args.dataset_id
        if args.register and args.raw:
            folders = name_folders(args.raw)
            dataset_id = tracking.register_raw(folders, args.output_uri, args.name)
        if dataset_id:
            answer["dataset_id"] = dataset_id
            tracking.set_output(task, "dataset_id", dataset_id)
            print(dataset_id)


def messages(result: dict, severity: str) -> list[str]:
    """What the findings of one severity say."""
    found = (f for f in result["findings"] if f["severity"] == severity)
    return [finding["message"] for finding in found]


def summary(result: dict) -> str:
    """Summarise the result of a validation in one line."""
    found = [
        counted(count, severity, f"{severity}s")
        for severity in (ERROR, WARNING)
        if (count := len(messages(result, severity)))
    ]
    images = counted(result["images"], "image", "images")
    classes = counted(len(result["classes"]), "class", "classes")
    return f"{images} in {classes}, " + (", ".join(found) or "nothing to mend")


def _report(task, result: dict, listing: Listing, folder: Path, tracking) -> None:
    """Show the report on the ClearML task as well."""
    logger = task.get_logger()
    classes = result["classes"]
    logger.report_histogram(
        "Images a class",
        "images",
        list(classes.values()),
        iteration=0,
        xlabels=list(classes),
        yaxis="images",
    )
    columns = ["severity", "kind", "count", "message"]
    rows = [[str(f[c]) for c in columns] for f in result["findings"]]
    logger.report_table("Findings", "all", iteration=0, table_plot=[columns, *rows])
    for finding in result["findings"]:
        _report_finding(logger, finding)
    for name, row in example_rows(result["findings"], listing.images):
        logger.report_image("Examples", name, iteration=0, image=row)
    samples = str(folder / "samples.png")
    logger.report_image("Samples", "a row a class", iteration=0, local_path=samples)
    logger.report_single_value("images", result["images"])
    logger.report_single_value("findings", len(rows))
    tracking.upload_artifact(task, "validation", folder / "validation.json")
    tracking.upload_artifact(task, "report", folder / "validation.html")


def _report_finding(logger, finding: dict) -> None:
    """Plot the numbers of a finding for each class."""
    for name, values in finding["details"].items():
        if name.endswith("by_class"):
            logger.report_histogram(
                f"{finding['kind']} by class".replace("_", " ").capitalize(),
                name.replace("_", " "),
                list(values.values()),
                iteration=0,
                xlabels=list(values),
            )


if __name__ == "__main__":
    from pipelines import tracking

    main(tracking)
