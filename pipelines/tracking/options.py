"""Check the options of steps, where they are given and in the step that gets them.

ClearML passes options as texts. It ignores options that a step does not know, and lists
that it cannot read; and it takes every word but "false" for true. So without a check a
misspelt option would change nothing, and "no" would mean yes.
"""

import argparse
import ast
import difflib
import importlib
import json
from collections.abc import Mapping
from typing import Any

from data_prep.command_line import KINDS, OF_THE_COMMAND
from data_prep.errors import InputError

WORDS = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0", ""), False),
}


def parser_of(script: str) -> argparse.ArgumentParser:
    """The parser of a step, by its script's path in the repository."""
    return _module(script).arguments()


def check_step(script: str, options: Mapping[str, str], said: str = "") -> None:
    """Refuse options that a step would refuse, before anything is started.

    A step's module may have a function ``check(args)`` that raises InputError. It is
    called with the options as the step will get them.

    Args:
        script: The step's path in the repository.
        options: Texts, by the names that options have in Python.
        said: What stands before an option where the user wrote it: "--set train.".

    Raises:
        InputError: One does not exist, cannot have that value, or does not go together
            with another one.
    """
    args = step_arguments(script, options, said)
    module = _module(script)
    if hasattr(module, "check"):
        try:
            module.check(args)
        except InputError as error:
            raise InputError(f"{said.removesuffix('.')}: {error}") from None


def step_arguments(
    script: str, options: Mapping[str, str], said: str = ""
) -> argparse.Namespace:
    """What a step's parser would give for these options; the rest has its defaults.

    Raises:
        InputError: One does not exist, or cannot have that value.
    """
    parser = parser_of(script)
    args = parser.parse_args([])
    for name, value in read(parser, options, said).items():
        setattr(args, name, value)
    return args


def check(
    parser: argparse.ArgumentParser, options: Mapping[str, str], said: str = ""
) -> dict[str, str]:
    """Check options against the parser that will read them.

    Args:
        options: Texts, by the names that options have in Python, or one of the names on
            the command line.
        said: What stands before an option where the user wrote it: "--set train.".

    Returns:
        The same, by the names in Python, as ClearML reads them: switches as "True" or
        "False", lists as JSON.

    Raises:
        InputError: One does not exist, or cannot have that value.
    """
    texts = {}
    for name, text in options.items():
        ((name, value),) = read(parser, {name: text}, said).items()
        if isinstance(value, bool):
            text = str(value)
        elif isinstance(value, list) and text:
            text = json.dumps(value, ensure_ascii=False)
        texts[name] = text
    return texts


def read(
    parser: argparse.ArgumentParser, options: Mapping[str, str], said: str = ""
) -> dict[str, Any]:
    """Read texts as the parser would: the values by name.

    A list is "A,B,C", or a JSON or Python list.

    Raises:
        InputError: As `check`.
    """
    settable = [x for x in parser._actions if x.dest not in OF_THE_COMMAND]
    known = {action.dest: action for action in settable}
    for action in settable:
        for option in action.option_strings:
            known.setdefault(option.lstrip("-").replace("-", "_"), action)
    values = {}
    for name, text in options.items():
        shown = f"{said}{name.replace('_', '-')}"
        if name not in known:
            near = difflib.get_close_matches(name, known, 1, 0.5) or sorted(known)
            choices = ", ".join(near).replace("_", "-")
            raise InputError(
                f"{shown}: there is no such option; did you mean {choices}?"
            )
        values[known[name].dest] = _read_one(known[name], text, shown)
    return values


def as_list(value: Any) -> list[str]:
    """Read an option of several values as ClearML hands it on: a list, or its text.

    Raises:
        ValueError: It begins like a list, and is none.
    """
    if isinstance(value, str) and value.startswith("["):
        try:
            value = ast.literal_eval(value)
        except SyntaxError as error:
            raise ValueError(str(error)) from None
    if isinstance(value, str):
        value = [value] if value else []
    return [str(item) for item in value or []]


def _read_one(action: argparse.Action, text: str, shown: str) -> Any:
    if action.nargs == 0:
        if text.lower() not in WORDS:
            raise InputError(f"{shown} is {text!r}; it must be true or false")
        return WORDS[text.lower()]
    # how ClearML says that an option is not given; of others it is no value
    if text == "" and not action.default:
        return action.default
    if action.nargs is None:
        return _convert(action, text, shown)
    try:
        items = as_list(text) if text.startswith("[") else text.split(",")
    except ValueError:
        raise InputError(f"{shown} is {text!r}, which is no list; give A,B,C") from None
    items = [item.strip() for item in items if item.strip()]
    if isinstance(action.nargs, int) and len(items) != action.nargs:
        raise InputError(
            f"{shown} is {text!r}; it takes {action.nargs} values, such as "
            f"{','.join(map(str, action.default or 'ABC'[: action.nargs]))}"
        )
    return [_convert(action, item, shown) for item in items]


def _convert(action: argparse.Action, text: str, shown: str) -> Any:
    kind = action.type if callable(action.type) else str
    try:
        value = kind(text)
    except argparse.ArgumentTypeError as error:
        raise InputError(f"{shown}: {error}") from None
    except ValueError:
        name = getattr(kind, "__name__", "value")
        name = KINDS.get(name, name)
        raise InputError(f"{shown} is {text!r}, which is no {name}") from None
    if action.choices and value not in action.choices:
        known = ", ".join(map(str, action.choices))
        raise InputError(f"{shown} is {text!r}; choose {known}")
    return value


def _module(script: str):
    return importlib.import_module(script.removesuffix(".py").replace("/", "."))
