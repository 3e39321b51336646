"""Muon, an optimizer for the weights of layers (Jordan et al. 2024).

The step of a matrix is its averaged gradient with all singular values made about equal,
so that directions that rarely show in the gradient are learned as fast as the others.
A network learns from half as many images as with AdamW, for about a quarter more time
a step of 64 images on two cores (training/EXPERIMENTS.md).
"""

import torch
from torch import nn

# The best odd polynomials of degree 5, one after the other, for singular values of
# 0.001 to 1 (Amsel et al. 2025, "The Polar Express").
POLYNOMIALS = (
    (8.2872, -23.5959, 17.3004),
    (4.1071, -2.9478, 0.5448),
    (3.9487, -2.9089, 0.5518),
    (3.3184, -2.4885, 0.5100),
    (2.3007, -1.6689, 0.4188),
)
# Makes steps about as long as AdamW's, whose rates then fit (Liu et al. 2025).
LIKE_ADAM = 0.2
# Shorter side of a matrix, at most: the work grows with its cube, and that of VGG's
# first linear layer (4096 x 25088) is two trillion multiplications a step.
LARGEST = 1024
# Rows of a matrix that are orthogonalised together: two halves of 128 take 0.4 of the
# time of 256 at once, and teach as much (training/EXPERIMENTS.md).
BLOCK = 128


def matrices_of(network: nn.Module) -> list[nn.Parameter]:
    """The weights that Muon is for: of all layers but the first and the last, whose
    inputs and outputs have a meaning each; of no depthwise convolutions, and of none
    that are too large."""
    layers = [m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    return [
        layer.weight
        for layer in layers[1:-1]
        if getattr(layer, "groups", 1) == 1
        and min(layer.weight.flatten(1).shape) <= LARGEST
    ]


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised.

    Args:
        params: Weights of convolutions and linear layers, or groups of them.
        lr: Rate, on AdamW's scale.
        weight_decay: Decoupled, as AdamW's.
        momentum: Of the averaged gradient.
    """

    def __init__(self, params, lr, weight_decay=0.0, momentum=0.95):
        defaults = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._move(weight, group)

    def _move(self, weight: nn.Parameter, group: dict) -> None:
        state = self.state[weight]
        if not state:
            state["average"] = torch.zeros_like(weight)
        average = state["average"]
        average.lerp_(weight.grad, 1 - group["momentum"])
        ahead = weight.grad.lerp(average, group["momentum"])
        if ahead.ndim == 4:  # no copy where channels come last
            ahead = ahead.permute(0, 2, 3, 1)
        rows = ahead.flatten(1)
        length = LIKE_ADAM * max(rows.shape) ** 0.5
        step = torch.cat([orthogonalise(block) for block in rows.split(BLOCK)])
        step = step.reshape(ahead.shape)
        if step.ndim == 4:
            step = step.permute(0, 3, 1, 2)
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        weight.add_(step, alpha=-group["lr"] * length)


def orthogonalise(matrix: torch.Tensor) -> torch.Tensor:
    """Bring the singular values of ``(M, N)`` near 1, those above a thousandth of all
    at least; keep its singular vectors.

    The polynomials are of the small square matrix ``X X^T`` alone, and ``X`` is
    multiplied once, at the end: half the work where one side is much longer.
    """
    if matrix.shape[0] > matrix.shape[1]:
        return orthogonalise(matrix.T).T
    matrix = matrix.float()
    matrix = matrix / (1.01 * matrix.norm() + 1e-12)
    square, product = matrix @ matrix.T, None
    for number, (a, b, c) in enumerate(POLYNOMIALS, 1):
        factor = b * square + c * (square @ square)
        factor.diagonal().add_(a)
        product = factor if product is None else factor @ product
        if number < len(POLYNOMIALS):
            square = factor @ square @ factor
    return product @ matrix
