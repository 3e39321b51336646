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
            weights = [w for w in group["params"] if w.grad is not None]
            if not weights:
                continue
            for weight in weights:
                if not self.state[weight]:
                    self.state[weight]["average"] = torch.zeros_like(weight)
            gradients = [weight.grad for weight in weights]
            averages = [self.state[weight]["average"] for weight in weights]
            torch._foreach_lerp_(averages, gradients, 1 - group["momentum"])
            ahead = torch._foreach_lerp(gradients, averages, group["momentum"])
            steps = self._directions(ahead)
            torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
            lengths = [LIKE_ADAM * max(w.flatten(1).shape) ** 0.5 for w in weights]
            torch._foreach_mul_(steps, [-group["lr"] * length for length in lengths])
            torch._foreach_add_(weights, steps)

    def _directions(self, ahead: list[torch.Tensor]) -> list[torch.Tensor]:
        """Orthogonalise gradients of any shape, all of them at once."""
        # no copy where channels come last
        last = [g.permute(0, 2, 3, 1) if g.ndim == 4 else g for g in ahead]
        blocks = [g.flatten(1).split(BLOCK) for g in last]
        done = iter(orthogonalise([block for parts in blocks for block in parts]))
        steps = []
        for gradient, parts in zip(last, blocks):
            step = torch.cat([next(done) for _ in parts]).reshape(gradient.shape)
            steps.append(step.permute(0, 3, 1, 2) if step.ndim == 4 else step)
        return steps


def orthogonalise(matrices: list[torch.Tensor]) -> list[torch.Tensor]:
    """Bring the singular values of matrices near 1, those above a thousandth of all
    at least; keep their singular vectors.

    The polynomials are of the small square matrices ``X X^T`` alone, and ``X`` is
    multiplied once, at the end: half the work where one side is much longer. Squares
    of one size are worked on together, which spares small operations.

    Args:
        matrices: ``(M, N)`` each, of any sizes.
    """
    wide = [
        x if x.shape[0] <= x.shape[1] else x.T
        for x in map(torch.Tensor.float, matrices)
    ]
    alike: dict[int, list[int]] = {}
    for i, x in enumerate(wide):
        alike.setdefault(x.shape[0], []).append(i)
    results = [*wide]  # each is replaced
    for numbers in alike.values():
        square = torch.stack([wide[i] @ wide[i].T for i in numbers])
        trace = square.diagonal(dim1=1, dim2=2).sum(1)
        length = (1.01 * trace.sqrt() + 1e-12).view(-1, 1, 1)  # Frobenius norm
        square, product = square / length**2, 1 / length
        for number, (a, b, c) in enumerate(POLYNOMIALS, 1):
            factor = torch.baddbmm(square, square, square, beta=b, alpha=c)
            factor.diagonal(dim1=1, dim2=2).add_(a)
            product = factor * product if number == 1 else factor @ product
            if number < len(POLYNOMIALS):
                square = factor @ square @ factor
        for i, p in zip(numbers, product):
            results[i] = p @ wide[i]
    return [y if y.shape == x.shape else y.T for x, y in zip(matrices, results)]
