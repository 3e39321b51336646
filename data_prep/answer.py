"""What a command answers to a program: with --json, one object on standard output.

    with answering(arguments()) as answer:
        print("for people")     # with --json, to standard error, like all else
        answer["version"] = 3

A mistake of the user adds ``"error"`` to the object. Exit codes stay as they are.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import IO, Any

from data_prep.errors import InputError


def add_json(parser: argparse.ArgumentParser, content: str) -> None:
    """Give a command the option --json.

    Args:
        content: What the object says, in a few words.
    """
    parser.add_argument(
        "--json",
        action="store_true",
        help=f"print one JSON object on standard output: {content}; all else goes to "
        "standard error",
    )


@contextmanager
def answering(
    parser: argparse.ArgumentParser, arguments: Sequence[str] | None = None
) -> Iterator[dict[str, Any]]:
    """Yield a dictionary; print it in the end if --json was given.

    Args:
        parser: Of the command; has the option of `add_json`.
        arguments: The command line; None: that of this process.
    """
    answer: dict[str, Any] = {}
    if not parser.parse_args(arguments).json:
        yield answer
        return
    with only_for_the_answer() as output:
        try:
            yield answer
        except InputError as error:
            print(json.dumps(answer | {"error": str(error)}), file=output)
            raise
        print(json.dumps(answer), file=output)


@contextmanager
def only_for_the_answer() -> Iterator[IO[str]]:
    """Yield standard output; what is printed meanwhile goes to standard error.

    That of started programs does as well: not only `sys.stdout` is exchanged, but the
    file descriptor too.
    """
    sys.stdout.flush()
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as output:
        os.dup2(2, 1)
        try:
            with redirect_stdout(sys.stderr):
                yield output
        finally:
            os.dup2(output.fileno(), 1)
