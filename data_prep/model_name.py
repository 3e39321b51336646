"""The name of a model, which its datasets, trainings, versions and answers carry.

"newest", "last" and "best" mean those of the same name; a Triton server serves one
model of each name. Datasets and trainings from before models had names are
those of `DEFAULT`.
"""

import argparse
import re

DEFAULT = "asl"
PATTERN = r"[A-Za-z0-9][A-Za-z0-9_-]{2,63}"  # ClearML wants three characters or more
# How names go on that are made of a model's: its raw dataset, and its parts in Triton.
RESERVED = r".*_(raw|classifier|fused|decode)(_\d+)?"


def model_name(text: str) -> str:
    """Check a name; as the type of an option it ends the program with the reason.

    Raises:
        argparse.ArgumentTypeError: It is no name.
    """
    if not re.fullmatch(PATTERN, text, re.ASCII):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no name of a model; it takes 3 to 64 letters, digits, _ and "
            "-, and begins with a letter or a digit"
        )
    if re.fullmatch(RESERVED, text):
        raise argparse.ArgumentTypeError(
            f"{text!r} would be mistaken for a part of another model; choose a name "
            "that does not end like this"
        )
    if text.lower() == DEFAULT != text:
        raise argparse.ArgumentTypeError(f"{text!r}: write {DEFAULT}")
    return text


def add_name(parser: argparse.ArgumentParser, use: str, option: str = "--name") -> None:
    """Give a parser the option that names a model.

    Args:
        use: What of the model the command is about, for the help.
    """
    parser.add_argument(
        option,
        type=model_name,
        default=DEFAULT,
        metavar="NAME",
        help=f"model {use} (default {DEFAULT})",
    )
