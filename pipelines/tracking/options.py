"""Options of steps, checked where they are written and where they arrive.

ClearML carries options as texts. It passes over those that a step does not know, and
takes every word but "false" for true: a misspelt option would change nothing, and "no"
would mean yes.
"""

import argparse
import difflib
import importlib

from data_prep.errors import InputError

WORDS = {
    **dict.fromkeys(("true", "yes", "on", "1"), "True"),
    **dict.fromkeys(("false", "no", "off", "0", ""), "False"),
}


def parser_of(script: str) -> argparse.ArgumentParser:
    """The parser of a step, by its script's path in the repository."""
    name = script.removesuffix(".py").replace("/", ".")
    return importlib.import_module(name).arguments()


def check(
    parser: argparse.ArgumentParser, options: dict[str, str], said: str = ""
) -> dict[str, str]:
    """Hold options against the parser that is to read them.

    Args:
        options: Texts, by the names that options have in Python.
        said: What stands before an option where the user wrote it: "--set train.".

    Returns:
        The same; switches as "True" or "False".

    Raises:
        InputError: One does not exist, or cannot have that value.
    """
    known = {action.dest: action for action in parser._actions}
    return {name: _check_one(known, name, text, said) for name, text in options.items()}


def _check_one(known: dict, name: str, text: str, said: str) -> str:
    shown = f"{said}{name.replace('_', '-')}"
    action = known.get(name)
    if action is None:
        near = difflib.get_close_matches(name, known, 1, 0.5) or sorted(known)
        choices = ", ".join(near).replace("_", "-")
        raise InputError(f"{shown}: there is no such option; did you mean {choices}?")
    if action.nargs == 0:
        if text.lower() not in WORDS:
            raise InputError(f"{shown} is {text!r}; it must be true or false")
        return WORDS[text.lower()]
    if action.nargs is None and text != "":
        try:
            value = (action.type or str)(text)
        except ValueError:
            kind = getattr(action.type, "__name__", "value")
            raise InputError(f"{shown} is {text!r}, which is no {kind}") from None
        if action.choices and value not in action.choices:
            known_values = ", ".join(map(str, action.choices))
            raise InputError(f"{shown} is {text!r}; choose {known_values}")
    return text
