"""The parser of every command: --help and --version look the same everywhere."""

import argparse
import configparser
from typing import Any, NoReturn

from data_prep.paths import ROOT

# Options, by their names in Python, about the command itself: not what a step does.
OF_THE_COMMAND = ("help", "version", "json")
EXIT_CODES = (
    "exit codes: 0 done, 2 a mistake in the options or the input, 130 interrupted"
)


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Adds the default to the help of each option that has one and does not say it."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        has_value = action.option_strings and action.nargs != 0
        if not has_value or action.default is argparse.SUPPRESS or "default" in text:
            return text
        value = action.default
        if value in (None, "", []):
            return text
        shown = " ".join(map(str, value)) if isinstance(value, list) else value
        return f"{text} (default {shown})".replace("%", "%%")


class Parser(argparse.ArgumentParser):
    """Tells those who leave out --raw about it."""

    def error(self, message: str) -> NoReturn:
        rest = message.removeprefix("unrecognized arguments: ")
        is_folder = rest != message and not rest.startswith("-")
        if is_folder and "--raw" in self._option_string_actions:
            message += f"; did you mean --raw {rest.partition(' -')[0]}?"
        super().error(message)


def command_parser(
    name: str, description: str | None, example: str, exit_codes: str = "", **more: Any
) -> argparse.ArgumentParser:
    """Make the parser of a command.

    Args:
        name: What people type: "python -m pipelines.asl", "scripts/serve".
        description: What it does.
        example: What follows the name in one common use.
        exit_codes: Exit codes other than the usual ones, and when they occur.
        more: Handed on to ArgumentParser.
    """
    codes = f"{EXIT_CODES}; {exit_codes}" if exit_codes else EXIT_CODES
    parser = Parser(
        prog=name,
        description=description,
        epilog=f"example: {name} {example}\n{codes}",
        formatter_class=HelpFormatter,
        **more,
    )
    parser.add_argument(
        "--version",
        action="version",
        version=f"asl-recognition {project_version()}",
        help="print the version and end",
    )
    return parser


def add_raw(
    parser: argparse.ArgumentParser,
    folders: str = "folders of class folders of images",
    dataset: str = "a raw ClearML Dataset instead of --raw",
) -> None:
    """Add the two ways to name raw photographs: --raw and --raw-dataset-id.

    Args:
        folders: The help of --raw.
        dataset: The help of --raw-dataset-id.
    """
    parser.add_argument("--raw", nargs="+", metavar="DIR", help=folders)
    parser.add_argument(
        "--raw-dataset-id",
        "--dataset-id",
        dest="dataset_id",
        metavar="ID",
        default="",
        help=dataset,
    )


def project_version() -> str:
    """The version in setup.cfg, the one place that names it."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg", encoding="utf-8")
    return settings["metadata"]["version"]
