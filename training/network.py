"""What surrounds a network: uint8 pixels in, normalisation, precision, probabilities.

`Classifier` is what is trained, evaluated and exported, so the three cannot differ in
how they scale their input.
"""

import torch
from torch import nn

from data_prep.preprocessing import Preprocessing

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601: how bright red, green and blue look


class Classifier(nn.Module):
    """``(N, S, S, 3)`` uint8 RGB -> logits or probabilities ``(N, classes)``.

    Args:
        network: Maps normalised float ``(N, channels, S, S)`` to logits.
        preprocessing: Has mean and std.
        grey: Whether the network sees one channel, of brightness.
    """

    def __init__(
        self,
        network: nn.Module,
        preprocessing: Preprocessing,
        grey: bool = False,
    ):
        super().__init__()
        self.network = network
        self.grey = grey
        mean, std = (
            torch.tensor(values).view(1, -1, 1, 1)
            for values in (preprocessing.mean, preprocessing.std)
        )
        # (x / 255 - mean) / std as one multiplication and one addition
        self.register_buffer("scale", 1 / (255 * std), persistent=False)
        self.register_buffer("offset", -mean / std, persistent=False)
        luma = torch.tensor(LUMA).view(1, 3, 1, 1)
        self.register_buffer("luma", luma, persistent=False)

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        return self.network(self.normalised(images))

    def normalised(self, images: torch.Tensor) -> torch.Tensor:
        """What the network is given."""
        # Transposed while still bytes: a quarter of the memory to move.
        x = images.permute(0, 3, 1, 2)
        # bfloat16 holds a byte exactly
        x = scale_channels(x.to(precision(x.device)), self.scale, self.offset)
        if self.grey:
            x = (x * self.luma).sum(1, keepdim=True)
        return x

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Probabilities, float32: the function that is exported and served."""
        return torch.softmax(self.logits(images).float(), dim=1)


class Logits(nn.Module):
    """A classifier whose ``forward`` is its logits: what training calls."""

    def __init__(self, classifier: Classifier):
        super().__init__()
        self.classifier = classifier

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier.logits(images)


def scale_channels(
    images: torch.Tensor, scale: torch.Tensor, offset: torch.Tensor
) -> torch.Tensor:
    """``images * scale + offset``, five times as fast where channels come last.

    Args:
        images: ``(N, C, H, W)``.
        scale, offset: ``(N, C, 1, 1)``.
    """
    rows = images.permute(0, 2, 3, 1).flatten(2)  # a long one each: no copy
    scale, offset = (
        values.to(images.dtype).flatten(1).repeat(1, images.shape[3])[:, None]
        for values in (scale, offset)
    )
    rows = torch.addcmul(offset, rows, scale)
    return rows.unflatten(2, (images.shape[3], -1)).permute(0, 3, 1, 2)


def precision(device: torch.device) -> torch.dtype:
    """What layers compute in here: autocast's type where it is on, else float32."""
    if torch.is_autocast_enabled(device.type):
        return torch.get_autocast_dtype(device.type)
    return torch.float32


def pick_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def autocast_for(network: nn.Module, device: torch.device) -> torch.autocast:
    """Choose the precision of training: bfloat16 where it is faster, else float32.

    On a CPU it pays only for dense convolutions: depthwise ones ran at half their
    float32 speed.
    """
    if device.type == "cuda":
        enabled = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        depthwise = any(
            isinstance(module, nn.Conv2d) and module.groups > 1
            for module in network.modules()
        )
        enabled = not depthwise and computes_bfloat16(torch.cpu.get_capabilities())
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def computes_bfloat16(cpu: dict) -> bool:
    """Say whether a processor multiplies bfloat16 faster than float32.

    With AMX it does; with AVX-512 BF16 AMD's do, and Intel's do not: small_resnet and
    resnet18 ran at 0.75 of their float32 speed on a Xeon that hid its AMX.

    Args:
        cpu: As `torch.cpu.get_capabilities` returns it.
    """
    intel = str(cpu.get("cpu_name", "")).startswith("Intel")
    vectors = cpu.get("avx512_bf16", False) and not intel
    return bool(vectors or cpu.get("amx_bf16", False))
