"""The networks, by name. All map float ``(N, channels, S, S)`` to logits
``(N, classes)``."""

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from data_prep.errors import InputError
from training.config import BACKBONE, TIMM, check_model
from training.efficientnet_lite import efficientnet_lite0, published_weights
from training.torch_setup import import_torchvision


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch norm and a shortcut (He et al. 2015)."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = (
            nn.Identity()
            if stride == 1 and inputs == outputs
            else nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False),
                nn.BatchNorm2d(outputs),
            )
        )
        # Each block starts as its shortcut alone, which steadies high learning rates.
        nn.init.zeros_(self.convolutions[-1].weight)

    def forward(self, x):
        return torch.relu(self.convolutions(x) + self.shortcut(x))


def small_resnet(classes: int, image_size: int, channels: int) -> nn.Module:
    """1.2 M parameters, one residual block at each of 32, 64, 128 and 256 channels.

    The stem reduces large images by 4 and small ones by 2, so that the last block
    sees about 4x4 to 8x8 positions.
    """
    stride = 4 if image_size >= 96 else 2
    return nn.Sequential(
        nn.Conv2d(channels, 32, 2 * stride, stride, stride // 2, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(inplace=True),
        ResidualBlock(32, 32, 1),
        ResidualBlock(32, 64, 2),
        ResidualBlock(64, 128, 2),
        ResidualBlock(128, 256, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(256, classes),
    )


def baseline_cnn(classes: int, image_size: int, channels: int) -> nn.Module:
    """Three convolutions with ReLU and max-pooling, then two linear layers."""
    layers = []
    for outputs in (32, 64, 128):
        layers += [nn.Conv2d(channels, outputs, 3, padding=1), nn.ReLU()]
        layers += [nn.MaxPool2d(2)]
        channels = outputs
    # A fixed grid keeps the first linear layer the same for every image size.
    grid = max(1, min(8, image_size // 8))
    return nn.Sequential(
        *layers,
        nn.AdaptiveAvgPool2d(grid),
        nn.Flatten(),
        nn.Linear(128 * grid**2, 256),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Linear(256, classes),
    )


def five_block_cnn(classes: int, image_size: int, channels: int) -> nn.Module:
    """Five blocks of convolution, max-pooling, ReLU and batch norm, 32 to 512 channels,
    then dropout and two linear layers: a network for Sign Language MNIST."""
    layers = []
    for outputs in (32, 64, 128, 256, 512):
        layers += [
            nn.Conv2d(channels, outputs, 3, padding=1),
            # rounding up, five halvings leave 28 pixels a last position
            nn.MaxPool2d(2, ceil_mode=True),
            nn.ReLU(),
            nn.BatchNorm2d(outputs),
        ]
        channels = outputs
    return nn.Sequential(
        *layers,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(512, 256),
        nn.ReLU(),
        nn.Linear(256, classes),
    )


def mlp(classes: int, image_size: int, channels: int) -> nn.Module:
    """Pixels to 128, 64 and the classes, with dropout; 784 inputs for grey 28x28."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(channels * image_size**2, 128),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(128, 64),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(64, classes),
    )


BUILDERS: dict[str, Callable[[int, int, int], nn.Module]] = {
    builder.__name__: builder
    for builder in (small_resnet, baseline_cnn, five_block_cnn, mlp, efficientnet_lite0)
}


def build_model(
    name: str, classes: int, image_size: int, channels: int = 3
) -> nn.Module:
    """Build a network with random weights.

    Args:
        name: One of `BUILDERS`, any torchvision classification model, or ``timm:`` and
            the name of a timm model.
        classes: Width of the output.
        image_size: Side of the input, pixels.
        channels: 3; or 1 for grey images, which the zoos' models get three times.

    Raises:
        InputError: No model has that name, or it cannot take images of that size.
    """
    check_model(name)
    if name in BUILDERS:
        network = BUILDERS[name](classes, image_size, channels)
    elif name.startswith(TIMM):
        network = _timm_model(name, classes)
    else:
        network = _torchvision_model(name, classes)
    if channels == 1 and name not in BUILDERS:
        network = nn.Sequential(RepeatGrey(), network)
    try:
        with torch.inference_mode():
            network.eval()(torch.zeros(1, channels, image_size, image_size))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise InputError(
            f"model {name} cannot take images of {image_size} pixels "
            f"({' '.join(str(error).split())[:100]}); choose another model, or prepare "
            "the data with a larger --image-size (pictures of hands have 96 pixels)"
        ) from None
    return network.train()


class RepeatGrey(nn.Module):
    """``(N, 1, S, S)`` -> ``(N, 3, S, S)``."""

    def forward(self, x):
        return x.expand(-1, 3, -1, -1)


def _torchvision_model(name: str, classes: int) -> nn.Module:
    zoo = import_torchvision().models
    # these two have a second output unless told otherwise
    options = {"aux_logits": False} if name in ("googlenet", "inception_v3") else {}
    return zoo.get_model(name, weights=None, num_classes=classes, **options)


def _timm_model(name: str, classes: int) -> nn.Module:
    import_torchvision()  # timm imports it
    import timm

    try:
        return timm.create_model(name.removeprefix(TIMM), num_classes=classes)
    except RuntimeError as error:
        raise InputError(
            f"unknown model '{name}' ({error}); timm.list_models() names those it has"
        ) from None


def load_weights(network: nn.Module, file: Path) -> list[str]:
    """Take over what fits from a state dict, such as one trained on other classes.

    Args:
        network: From `build_model`; changed in place.
        file: Written by ``torch.save``; only tensors are read, never code.

    Returns:
        Names of the parameters that kept their random values: the new head.

    Raises:
        InputError: No such file, not a state dict, or one of another network.
    """
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(
            f"--weights {file} cannot be read ({' '.join(str(error).split())[:100]}); "
            "give a state dict saved by torch.save"
        ) from None
    for key in ("state_dict", "model"):  # where others put it, beside a name perhaps
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    return take_over(network, state if isinstance(state, dict) else {}, str(file))


def load_pretrained(network: nn.Module, name: str) -> list[str]:
    """Download the zoo's weights for a model and take over what fits.

    Returns:
        As `load_weights`; all parameters where there is no network: training then goes
        on from random weights, with a warning.

    Raises:
        InputError: The model is one of ours: there are no such weights; or the package
            registry, which those of efficientnet_lite0 come from, does not answer.
    """
    if name == BACKBONE:
        return take_over(network, published_weights(), name)
    if name in BUILDERS:
        raise InputError(
            f"there are no pretrained weights for {name}; use --weights FILE with a "
            "checkpoint.pt of an earlier training, or a model of torchvision"
        )
    try:
        if name.startswith(TIMM):
            import timm

            donor = timm.create_model(name.removeprefix(TIMM), pretrained=True)
            state = donor.state_dict()
        else:
            zoo = import_torchvision().models
            state = zoo.get_model_weights(name).DEFAULT.get_state_dict(progress=True)
    except Exception as error:  # whatever a download can raise
        print(
            f"warning: no pretrained weights for {name} "
            f"({' '.join(str(error).split())[:100]}); going on from random ones. "
            "Offline, use --weights FILE",
            file=sys.stderr,
        )
        return [key for key, _ in network.named_parameters()]
    return take_over(network, state, name)


def take_over(network: nn.Module, state: dict, origin: str) -> list[str]:
    """Copy the tensors of equal name and shape; return the parameters left over."""
    # checkpoints of ours hold the network under this name
    state = {
        key.removeprefix("network."): value
        for key, value in state.items()
        if isinstance(key, str)
    }
    target = network.state_dict()
    # with or without the layer that `build_model` puts in front of a zoo's model
    spellings = (
        state,
        {f"1.{key}": value for key, value in state.items()},
        {key.removeprefix("1."): value for key, value in state.items()},
    )
    fitting = max((_fitting(spelt, target) for spelt in spellings), key=len)
    if len(fitting) < len(target) // 2:
        raise InputError(
            f"{origin} fits {len(fitting)} of the network's {len(target)} tensors; it "
            "holds another model"
        )
    network.load_state_dict(fitting, strict=False)
    return [key for key, _ in network.named_parameters() if key not in fitting]


def _fitting(state: dict, target: dict) -> dict:
    return {
        key: value
        for key, value in state.items()
        if key in target and getattr(value, "shape", None) == target[key].shape
    }
