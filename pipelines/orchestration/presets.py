"""Presets: what is to be done with a set of pictures, one readable file a set.

A preset is a TOML file, in pipelines/presets or anywhere::

    name = "flowers"                # of the model
    raw = ["train.csv"]             # in the folder that --raw names; default: all of it
    test-set = ["test.csv"]         # likewise; val-set too

    [prepare]                       # options of steps, as --set takes them
    image-size = 224
"""

import argparse
import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.command_line import OF_THE_COMMAND
from data_prep.errors import InputError
from data_prep.model_name import DEFAULT, model_name
from data_prep.paths import ROOT
from pipelines.orchestration.steps import STEPS, parse_settings, read_settings
from pipelines.tracking.options import check, parser_of

FOLDER = ROOT / "pipelines" / "presets"
SUFFIX = ".toml"
PLACES = ("raw", "val_set", "test_set")


@dataclass(frozen=True)
class Preset:
    """What a file says.

    Attributes:
        label: What messages call it.
        name: Of the model.
        places: For each of PLACES, what it is called in the folder of raw data; () if
            the file does not say.
        settings: Options by step, as texts, by their names in Python.
    """

    label: str
    name: str
    places: dict[str, tuple[str, ...]]
    settings: dict[str, dict[str, str]]


def add_preset(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--preset",
        default=DEFAULT,
        metavar="NAME",
        help=f"what to do with which pictures: {', '.join(known())}, or a file like "
        f"those in {FOLDER.relative_to(ROOT)} (default {DEFAULT})",
    )


def known() -> list[str]:
    return sorted(file.stem for file in FOLDER.glob(f"*{SUFFIX}"))


def load(which: str) -> Preset:
    """Read a preset.

    Args:
        which: Name of one in FOLDER, or the path of a file.

    Raises:
        InputError: There is none, or it is misspelt.
    """
    file = Path(which) if which.endswith(SUFFIX) else FOLDER / f"{which}{SUFFIX}"
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"there is no preset {which}; choose {', '.join(known())}, or name a file "
            f"that ends in {SUFFIX}"
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"--preset {file} cannot be read: {error}") from None
    label = f"preset {file.stem}"
    try:
        name = model_name(str(content.pop("name", DEFAULT)))
    except argparse.ArgumentTypeError as error:
        raise InputError(f"{label}: {error}") from None
    places = {
        place: _texts(content.pop(place.replace("_", "-"), []), f"{label}: {place}")
        for place in PLACES
    }
    settings = {}
    for step, options in content.items():
        if step not in STEPS or not isinstance(options, dict):
            raise InputError(
                f"{label}: {step} is no step; there are name, raw, val-set, test-set, "
                f"and tables of the steps {', '.join(STEPS)}"
            )
        texts = {key.replace("-", "_"): _text(x) for key, x in options.items()}
        parser = parser_of(STEPS[step].script)
        settings[step] = check(parser, texts, f"{label}: {step}.")
    return Preset(label, name, places, settings)


def locate(preset: Preset, args: argparse.Namespace) -> None:
    """Let the options raw, val_set and test_set name what the preset says.

    Where --raw names one folder, the files that the preset names are looked for in
    there; what the command line says itself stands.

    Raises:
        InputError: One is missing.
    """
    raw = args.raw or []
    if not preset.places["raw"] or len(raw) != 1 or not Path(raw[0]).is_dir():
        return
    for place in PLACES:
        if place != "raw" and getattr(args, place):
            continue
        found = [Path(raw[0], inside) for inside in preset.places[place]]
        for path in found:
            if not path.exists():
                raise InputError(
                    f"{path} is missing, which the {preset.label} wants; give --raw "
                    "the folder that holds it, or the file itself"
                )
        setattr(args, place, [str(path) for path in found])


def layers(
    preset: Preset, name: str, settings: list[str], given: dict[str, dict[str, dict]]
) -> dict[str, dict[str, dict]]:
    """Where options of steps come from -> options by step, the last on top.

    Args:
        name: Of the model; the preset's, if it is `DEFAULT`.
        settings: Of --set.
        given: Further layers, between the preset's and those; options without a value
            are none.

    Raises:
        InputError: ``settings`` are misspelt, or do not go with the rest.
    """
    name = preset.name if name == DEFAULT else name
    found: dict[str, dict] = {preset.label: preset.settings}
    if name != DEFAULT:  # or steps would not be the same as before models had names
        found["name"] = {step: {"name": name} for step in STEPS}
    for label, layer in given.items():
        found[label] = {
            step: {key: _text(x) for key, x in options.items() if x}
            for step, options in layer.items()
        }
    parse_settings(settings, resolved(found))  # do all go together?
    return found | {"--set": read_settings(settings)}


def resolved(layers: dict[str, dict[str, dict]]) -> dict[str, dict[str, str]]:
    """Merge layers of options, the last on top, into the options of each step."""
    return {
        step: {
            key: value
            for layer in layers.values()
            for key, value in layer.get(step, {}).items()
        }
        for step in STEPS
    }


def configuration(
    layers: dict[str, dict[str, dict]],
) -> dict[str, dict[str, dict[str, str]]]:
    """All options of all steps: by step and option, its value and its origin."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    for name, step in STEPS.items():
        found[name] = {}
        for action in parser_of(step.script)._actions:
            key = action.dest
            if key in step.inputs or key in OF_THE_COMMAND:
                continue
            value, origin = action.default, "default"
            for label, layer in layers.items():
                if key in layer.get(name, {}):
                    value, origin = layer[name][key], label
            shown = "" if value in (None, [], ()) else _text(value)
            found[name][key.replace("_", "-")] = {"value": shown, "origin": origin}
    return found


def describe(configuration: dict[str, dict[str, dict[str, str]]]) -> str:
    """Write what `configuration` returns as a preset is written."""
    lines = []
    for step, options in configuration.items():
        lines += ["", f"[{step}]"]
        for name, option in options.items():
            line = f"{name} = {option['value']}"
            lines.append(f"{line:40} # {option['origin']}")
    return "\n".join(lines[1:])


def _text(value: Any) -> str:
    """A value as --set takes it."""
    if isinstance(value, list | tuple):
        return json.dumps([str(item) for item in value], ensure_ascii=False)
    return str(value)


def _texts(value: Any, label: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(x, str) for x in value):
        raise InputError(f"{label.replace('_', '-')} must be a list of names")
    return tuple(value)
