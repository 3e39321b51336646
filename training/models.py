"""The networks, by name. All map float ``(N, 3, S, S)`` to logits ``(N, classes)``."""

import difflib

import torch
from torch import nn

from data_prep.errors import InputError
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


def small_resnet(classes: int, image_size: int) -> nn.Module:
    """1.2 M parameters, one residual block at each of 32, 64, 128 and 256 channels.

    The stem reduces large images by 4 and small ones by 2, so that the last block
    sees about 4x4 to 8x8 positions.
    """
    stride = 4 if image_size >= 96 else 2
    return nn.Sequential(
        nn.Conv2d(3, 32, 2 * stride, stride, stride // 2, bias=False),
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


def baseline_cnn(classes: int, image_size: int) -> nn.Module:
    """Three convolutions with ReLU and max-pooling, then two linear layers."""
    layers, channels = [], 3
    for outputs in (32, 64, 128):
        layers += [nn.Conv2d(channels, outputs, 3, padding=1), nn.ReLU()]
        layers += [nn.MaxPool2d(2)]
        channels = outputs
    return nn.Sequential(
        *layers,
        # A fixed grid keeps the first linear layer the same for every image size.
        nn.AdaptiveAvgPool2d(min(8, image_size // 8)),
        nn.Flatten(),
        nn.Linear(128 * min(8, image_size // 8) ** 2, 256),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Linear(256, classes),
    )


OURS = {"small_resnet": small_resnet, "baseline_cnn": baseline_cnn}


def build_model(name: str, classes: int, image_size: int) -> nn.Module:
    """Build a network with random weights.

    Args:
        name: One of `OURS`, or any torchvision classification model.
        classes: Width of the output.
        image_size: Side of the input, pixels.

    Raises:
        InputError: No model has that name.
    """
    if name in OURS:
        return OURS[name](classes, image_size)
    zoo = import_torchvision().models
    known = zoo.list_models(module=zoo)
    if name not in known:
        near = difflib.get_close_matches(name, [*OURS, *known], n=3)
        raise InputError(
            f"unknown model '{name}'; "
            + (f"did you mean {' or '.join(near)}? " if near else "")
            + f"Ours: {', '.join(OURS)}; torchvision: resnet18, mobilenet_v3_small, ..."
        )
    return zoo.get_model(name, weights=None, num_classes=classes)
