"""Learning rate, optimizer, losses, and averaged weights."""

import functools
import math
from collections.abc import Callable
from collections.abc import Set as AbstractSet

import torch
from torch import nn

from data_prep.errors import InputError
from training.config import TrainConfig
from training.contrastive import supervised_contrastive
from training.muon import Muon, matrices_of

# fused: one pass over the memory, 0.8 instead of 4 ms a step of 45 (small_resnet, CPU)
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "muon": Muon,
    "adamw": functools.partial(torch.optim.AdamW, fused=True),
    "adam": functools.partial(torch.optim.Adam, fused=True),
    "sgd": functools.partial(torch.optim.SGD, momentum=0.9, nesterov=True, fused=True),
}


def learning_rate(progress: float, train_config: TrainConfig) -> float:
    """Rate at ``progress`` (0 to 1): linear warm-up, then half a cosine to zero."""
    if progress < train_config.warmup:
        return train_config.lr * progress / train_config.warmup
    rest = (progress - train_config.warmup) / (1 - train_config.warmup)
    return train_config.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, rest)))


class OptimizerGroup:
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
    network: nn.Module, train_config: TrainConfig, loaded: AbstractSet[str]
) -> torch.optim.Optimizer | OptimizerGroup:
    """Make the optimizer; every parameter group has a "scale" for its learning rate.

    Args:
        network: Its parameters are optimized; frozen ones lose ``requires_grad``.
        train_config: How to train.
        loaded: Names of the parameters that were loaded, hence the backbone.

    Raises:
        InputError: All of them are frozen.
    """
    matrices, rest = set(), train_config.optimizer
    if train_config.optimizer == "muon":
        matrices, rest = set(matrices_of(network)), "adamw"
    groups = {}
    for name, parameter in network.named_parameters():
        scale = train_config.backbone_lr if name in loaded else 1.0
        if not scale:
            parameter.requires_grad_(False)
            continue
        kind = "muon" if parameter in matrices else rest
        decay = train_config.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault(kind, {}).setdefault((scale, decay), []).append(parameter)
    if not groups:
        raise InputError("--backbone-lr 0 leaves nothing to train; give it a value")
    made = []
    for kind, alike in groups.items():
        described = [
            {"params": parameters, "scale": scale, "weight_decay": decay}
            for (scale, decay), parameters in alike.items()
        ]
        made.append(OPTIMIZERS[kind](described, lr=train_config.lr))
    return made[0] if len(made) == 1 else OptimizerGroup(*made)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]


class Criterion:
    """Cross-entropy with label smoothing, plus a contrastive loss where wanted.

    The contrastive loss sees what enters the network's last linear layer.
    """

    def __init__(self, network: nn.Module, train_config: TrainConfig):
        self.train_config = train_config
        if train_config.contrastive:
            linear = [m for m in network.modules() if isinstance(m, nn.Linear)]
            if not linear:
                raise InputError("--contrastive needs a model with a linear last layer")
            linear[-1].register_forward_pre_hook(self._keep)

    def _keep(self, module, inputs):
        self.features = inputs[0]

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        loss = nn.functional.cross_entropy(
            logits.float(), labels, label_smoothing=self.train_config.label_smoothing
        )
        if self.train_config.contrastive:
            loss = loss + self.train_config.contrastive * supervised_contrastive(
                self.features.float(), labels
            )
        return loss


class EMA:
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
    def update(self, decay: float) -> None:
        ours, theirs = zip(*self.pairs)
        torch._foreach_lerp_(ours, theirs, 1 - decay)
        for a, b in self.others:
            a.copy_(b)
