"""What moves the weights: recipe, learning rate, optimizer, losses, averaging."""

import functools
import math
from dataclasses import dataclass

import torch
from torch import nn

from data_prep.errors import InputError
from training.muon import Muon, matrices_of

# fused: one pass over the memory, 0.8 instead of 4 ms a step of 45 (small_resnet, CPU)
OPTIMIZERS = {
    "muon": Muon,
    "adamw": functools.partial(torch.optim.AdamW, fused=True),
    "adam": functools.partial(torch.optim.Adam, fused=True),
    "sgd": functools.partial(torch.optim.SGD, momentum=0.9, nesterov=True, fused=True),
}
TEMPERATURE = 0.1  # of the contrastive loss, as in its paper


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes:
        epochs: Passes over the training split.
        max_minutes: Wall-clock budget of the loop, minutes; the schedule shrinks to fit
            it. 0 is no limit.
        patience: Epochs without a better one before training ends; 0 is no limit.
        batch_size: Images a step, over all processes.
        optimizer: One of OPTIMIZERS; muon leaves what it is not for to adamw, sgd has
            Nesterov momentum 0.9.
        lr: Peak learning rate.
        backbone_lr: Share of it for weights that were loaded; 0 freezes them.
        weight_decay: Not applied to biases and batch norm.
        warmup: Share of the run over which the rate rises from 0.
        grad_clip: Largest norm of the gradient; 0 is no limit.
        label_smoothing: Share of the target spread over all classes.
        contrastive: Weight of the supervised contrastive loss beside cross-entropy.
        ema: Decay of the averaged weights, a step.
        augment: Strength of the random variation of images; 0 is none.
        flip: Mirror half of the images, which makes a right hand a left one.
        balance: How far images of large sources and classes are drawn less often: 0 is
            each once an epoch, 1 is all sources and all classes equally often.
        seed: Of initial weights, order and augmentation.
    """

    epochs: int = 20
    max_minutes: float = 0.0
    patience: int = 0
    batch_size: int = 64
    optimizer: str = "muon"
    lr: float = 3e-3
    backbone_lr: float = 1.0
    weight_decay: float = 0.05
    warmup: float = 0.04
    grad_clip: float = 0.0
    label_smoothing: float = 0.1
    contrastive: float = 0.0
    ema: float = 0.998
    augment: float = 1.0
    flip: bool = False
    balance: float = 0.0
    seed: int = 0

    def __post_init__(self):
        for name, low, high in (
            ("epochs", 1, math.inf),
            ("max_minutes", 0, math.inf),
            ("patience", 0, math.inf),
            ("batch_size", 1, math.inf),
            ("lr", 0, math.inf),
            ("backbone_lr", 0, 1),
            ("weight_decay", 0, math.inf),
            ("warmup", 0, 0.9),
            ("grad_clip", 0, math.inf),
            ("label_smoothing", 0, 0.9),
            ("contrastive", 0, math.inf),
            ("ema", 0, 0.99999),
            ("augment", 0, 2),
            ("balance", 0, 1),
            ("seed", 0, 2**31 - 1),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                option = name.replace("_", "-")
                upper = "" if high == math.inf else f" and at most {high}"
                raise InputError(
                    f"--{option} is {value}; it must be at least {low}{upper}"
                )
        if self.optimizer not in OPTIMIZERS:
            raise InputError(
                f"--optimizer is {self.optimizer}; choose {', '.join(OPTIMIZERS)}"
            )


def learning_rate(progress: float, recipe: Recipe) -> float:
    """Rate at ``progress`` (0 to 1): linear warm-up, then half a cosine to zero."""
    if progress < recipe.warmup:
        return recipe.lr * progress / recipe.warmup
    rest = (progress - recipe.warmup) / (1 - recipe.warmup)
    return recipe.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, rest)))


class Together:
    """Several optimizers, each of its own parameters, used as one."""

    def __init__(self, *optimizers: torch.optim.Optimizer):
        self.optimizers = optimizers

    @property
    def param_groups(self) -> list[dict]:
        return [group for each in self.optimizers for group in each.param_groups]

    def step(self) -> None:
        for each in self.optimizers:
            each.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        for each in self.optimizers:
            each.zero_grad(set_to_none)

    def state_dict(self) -> dict:
        return {str(i): each.state_dict() for i, each in enumerate(self.optimizers)}

    def load_state_dict(self, state: dict) -> None:
        for i, each in enumerate(self.optimizers):
            each.load_state_dict(state[str(i)])


def make_optimizer(
    network: nn.Module, recipe: Recipe, loaded: set[str]
) -> torch.optim.Optimizer | Together:
    """Make the optimizer; every parameter group has a "scale" for its learning rate.

    Args:
        network: Its parameters are optimized; frozen ones lose ``requires_grad``.
        recipe: How to train.
        loaded: Names of the parameters that were loaded, hence the backbone.

    Raises:
        InputError: All of them are frozen.
    """
    matrices, rest = set(), recipe.optimizer
    if recipe.optimizer == "muon":
        matrices, rest = set(matrices_of(network)), "adamw"
    groups = {}
    for name, parameter in network.named_parameters():
        scale = recipe.backbone_lr if name in loaded else 1.0
        if not scale:
            parameter.requires_grad_(False)
            continue
        kind = "muon" if parameter in matrices else rest
        decay = recipe.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault(kind, {}).setdefault((scale, decay), []).append(parameter)
    if not groups:
        raise InputError("--backbone-lr 0 leaves nothing to train; give it a value")
    made = []
    for kind, alike in groups.items():
        described = [
            {"params": parameters, "scale": scale, "weight_decay": decay}
            for (scale, decay), parameters in alike.items()
        ]
        made.append(OPTIMIZERS[kind](described, lr=recipe.lr))
    return made[0] if len(made) == 1 else Together(*made)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]


class Criterion:
    """Cross-entropy with label smoothing, plus a contrastive loss where wanted.

    The contrastive loss sees what enters the network's last linear layer.
    """

    def __init__(self, network: nn.Module, recipe: Recipe):
        self.recipe = recipe
        if recipe.contrastive:
            linear = [m for m in network.modules() if isinstance(m, nn.Linear)]
            if not linear:
                raise InputError("--contrastive needs a model with a linear last layer")
            linear[-1].register_forward_pre_hook(self._keep)

    def _keep(self, module, inputs):
        self.features = inputs[0]

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        loss = nn.functional.cross_entropy(
            logits.float(), labels, label_smoothing=self.recipe.label_smoothing
        )
        if self.recipe.contrastive:
            loss = loss + self.recipe.contrastive * supervised_contrastive(
                self.features.float(), labels
            )
        return loss


def supervised_contrastive(features: torch.Tensor, labels: torch.Tensor):
    """Pull images of a class together and push others away (Khosla et al. 2020, L_out).

    Args:
        features: ``(N, D)`` float; their length does not matter.
        labels: ``(N,)`` int64.

    Returns:
        Mean over the images that have another one of their class in the batch; 0 where
        none has.
    """
    features = nn.functional.normalize(features, dim=1)
    similarity = features @ features.T / TEMPERATURE
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    log_share = similarity - torch.logsumexp(
        similarity.masked_fill(itself, -torch.inf), 1, keepdim=True
    )
    same = (labels[:, None] == labels) & ~itself
    count = same.sum(1)
    loss = -(log_share * same).sum(1) / count.clamp(min=1)
    return loss[count > 0].mean() if (count > 0).any() else log_share.sum() * 0


class Average:
    """Moves averaged weights, and batch norm's statistics, towards a model's.

    Args:
        averaged, model: Of the same kind; their tensors must stay where they are.
    """

    def __init__(self, averaged: nn.Module, model: nn.Module):
        states = averaged.state_dict(), model.state_dict()
        pairs = list(zip(*(state.values() for state in states)))
        self.pairs = [pair for pair in pairs if pair[0].is_floating_point()]
        self.others = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def follow(self, decay: float) -> None:
        ours, theirs = zip(*self.pairs)
        torch._foreach_lerp_(ours, theirs, 1 - decay)
        for a, b in self.others:
            a.copy_(b)
