"""The parser of every command: --help and --version look the same everywhere."""

import argparse
import configparser
import difflib
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from data_prep.paths import ROOT

# Options, by their names in Python, about the command itself: not what a step does.
OF_THE_COMMAND = ("help", "version", "json")
EXIT_CODES = (
    "exit codes: 0 done, 2 a mistake in the options or the input, 130 interrupted"
)

MAX_PORT = 65535
ADDRESS = re.compile(r"([A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})")
KINDS = {"int": "whole number", "float": "number"}  # what people call these types


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
    """Tells a mistake in one line, as the commands do, and what was probably meant."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {self._explained(message)} (see {self.prog} --help)\n")

    def _explained(self, message: str) -> str:
        if found := re.fullmatch("argument (.*): invalid (.*) value: (.*)", message):
            option, kind, value = found.groups()
            return f"{option} is {value}, which is no {KINDS.get(kind, kind)}"
        rest = message.removeprefix("unrecognized arguments: ")
        if rest == message:
            return message.removeprefix("argument ")
        known = list(_option_names(self))
        if not rest.startswith("-") and "--raw" in known:
            return f"{message}; did you mean --raw {rest.partition(' -')[0]}?"
        for word in re.findall("--[^ =]+", rest):
            if near := difflib.get_close_matches(word, known, 1):
                return f"{message}; did you mean {near[0]}?"
        return message


def _option_names(parser: argparse.ArgumentParser) -> Iterator[str]:
    """The options of a parser, and of the commands in it."""
    for action in parser._actions:
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for part in action.choices.values():
                yield from _option_names(part)


def port_number(text: str) -> int:
    """Read an option that is a port."""
    if not text.isdecimal() or int(text) > MAX_PORT:
        raise argparse.ArgumentTypeError(f"{text} is no port; ports are 0 to 65535")
    return int(text)


def address(text: str) -> str:
    """Read an option that is the address of a server, or "" for none."""
    found = ADDRESS.fullmatch(text)
    if text and (not found or int(found[2]) > MAX_PORT):
        raise argparse.ArgumentTypeError(
            f"{text} is not host:port, such as localhost:8001"
        )
    return text


def url(text: str) -> str:
    """Read an option that is the URL of a server."""
    if not text.startswith(("http://", "https://")):
        raise argparse.ArgumentTypeError(
            f"{text} is no URL, such as http://localhost:8000"
        )
    return text


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
