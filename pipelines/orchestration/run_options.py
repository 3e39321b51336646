"""The options of one run of the pipeline, which several commands have in common.

They say what is run. `pipelines.asl`, `pipelines.schedule` and `pipelines.ci.start`
take all of them, the quickstart some. From them and the preset come the options of each
step.
"""

import argparse
from pathlib import Path

from data_prep.command_line import add_raw, address, command_parser
from data_prep.errors import InputError
from data_prep.model_name import add_name
from pipelines.orchestration import presets

SERVICES = "services"  # the queue of agents that run controllers
# What the task of a run is made with: all options of `run_arguments`.
PARAMETERS = (
    "raw",
    "dataset_id",
    "preset",
    "test_set",
    "val_set",
    "name",
    "external",
    "set",
    "url",
    "http_url",
    "queue",
)


def run_arguments() -> argparse.ArgumentParser:
    """The options of one run, which other commands that start the pipeline have too."""
    parser = command_parser(
        "python -m pipelines.asl",
        description="From photographs to a verified server, as one ClearML pipeline.",
        example="--local --raw photographs --set train.epochs=30",
    )
    # what
    add_raw(parser)
    presets.add_preset(parser)
    for split in ("test", "val"):
        parser.add_argument(
            f"--{split}-set",
            nargs="+",
            metavar="DIR",
            default=[],
            help=f"raw folders that are the {split} split, as they are (default: a "
            "part of --raw)",
        )
    add_name(parser, "that is made; with a --preset the default is its name")
    parser.add_argument(
        "--external",
        nargs="+",
        metavar="DIR",
        default=[],
        help="other people's photographs, which then decide what is promoted",
    )
    parser.add_argument(
        "--set",
        nargs="+",
        metavar="STEP.OPTION=VALUE",
        default=[],
        help="options of steps, such as train.epochs=30",
    )
    # which server
    parser.add_argument(
        "--url",
        type=address,
        default="",
        help="host:port (gRPC) of the Triton server to deploy to (default: the "
        "scripts/serve on the model repository, if it runs)",
    )
    parser.add_argument(
        "--http-url", type=address, default="", help="host:port (HTTP) of the same"
    )
    # where
    parser.add_argument(
        "--queue",
        default="default",
        help="queue of the steps' agents (default default)",
    )
    return parser


def add_verbose(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--verbose",
        action="store_true",
        help="show all that ClearML and the steps print, too (default: it goes into a "
        "log file, which is named)",
    )


def check_source(raw: list[str] | None, dataset_id: str) -> None:
    if bool(raw) == bool(dataset_id):
        raise InputError(
            "give raw images either by --raw DIR or by --raw-dataset-id ID"
        )


def make_absolute(args: argparse.Namespace) -> None:
    """Let folders keep their meaning where steps run in another current folder."""
    for name in ("raw", "test_set", "val_set", "external"):
        folders = getattr(args, name) or []
        setattr(args, name, [str(Path(folder).resolve()) for folder in folders])


def all_settings(args: argparse.Namespace) -> dict[str, dict[str, str]]:
    """The options of all steps: those of --set before those of the whole run.

    Raises:
        InputError: --set is misspelt.
    """
    return presets.resolved(all_layers(args))


def all_layers(args: argparse.Namespace) -> dict[str, dict[str, dict]]:
    """The origins of step options, each with its options; later ones override earlier.

    Raises:
        InputError: --set or a preset is misspelt.
    """
    preset = presets.load(args.preset)
    urls = {"url": args.url, "http_url": args.http_url}
    given = {
        "prepare": {"test_set": args.test_set, "val_set": args.val_set},
        "evaluate": {"external": args.external},
        "promote": {"external": args.external},
        "deploy": urls,
        "verify": urls,
    }
    return presets.layers(preset, args.name, args.set, {"command line": given})
