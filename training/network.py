"""What surrounds a network: uint8 pixels in, normalisation, precision, probabilities.

`Classifier` is what is trained, evaluated and exported, so the three cannot differ in
how they scale their input.
"""

import torch
from torch import nn

from data_prep.preprocessing import Preprocessing


class Classifier(nn.Module):
    """``(N, S, S, 3)`` uint8 RGB -> logits or probabilities ``(N, classes)``."""

    def __init__(self, network: nn.Module, preprocessing: Preprocessing):
        super().__init__()
        self.network = network
        mean = torch.tensor(preprocessing.mean).view(1, 3, 1, 1)
        std = torch.tensor(preprocessing.std).view(1, 3, 1, 1)
        # (x / 255 - mean) / std as one multiplication and one addition
        self.register_buffer("scale", 1 / (255 * std), persistent=False)
        self.register_buffer("offset", -mean / std, persistent=False)

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        # Transposed while still bytes: a quarter of the memory to move.
        x = images.permute(0, 3, 1, 2).float()
        return self.network(x * self.scale + self.offset)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Probabilities, float32: the function that is exported and served."""
        return torch.softmax(self.logits(images).float(), dim=1)


def pick_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def autocast_for(network: nn.Module, device: torch.device) -> torch.autocast:
    """Choose the precision of training: bfloat16 where it is faster, else float32.

    On a CPU bfloat16 pays only with AVX-512 BF16 or AMX, and only for dense
    convolutions: depthwise ones ran at half their float32 speed.
    """
    if device.type == "cuda":
        enabled = torch.cuda.is_bf16_supported()
    else:
        depthwise = any(
            isinstance(module, nn.Conv2d) and module.groups > 1
            for module in network.modules()
        )
        enabled = not depthwise and torch.cpu._is_avx512_bf16_supported()
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)
