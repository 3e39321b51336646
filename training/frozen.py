"""Frozen layers: they keep their loaded weights, so their output is computed only once.

With few photographs, training the first layers of a pretrained network gains little.
So the first layers process each training image a few times, varied each time, and only
the layers behind them are trained on these outputs. That costs a fraction of the time.
"""

import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from data_prep.errors import InputError
from data_prep.progress import Progress
from training.augment import noise_pool
from training.config import TrainConfig
from training.network import Classifier, precision

BATCH = 32


class Rest(nn.Module):
    """The layers of a classifier behind the frozen ones; trained like a classifier.

    Takes what the frozen ones answer, float ``(N, C, H, W)``. Layers keep their names.
    """

    def __init__(self, network: nn.Sequential, frozen: int):
        super().__init__()
        named = list(network.named_children())[frozen:]
        self.network = nn.Sequential(OrderedDict(named))

    def logits(self, answers: torch.Tensor) -> torch.Tensor:
        return self.network(answers.to(precision(answers.device)))

    def forward(self, answers: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.logits(answers).float(), dim=1)


def check(classifier: Classifier, loaded: set[str], frozen: int) -> None:
    """Check that so many layers can be frozen.

    Raises:
        InputError: The network is not a sequence of layers, has too few of them, or
        their weights have not been loaded.
    """
    network = classifier.network
    if not isinstance(network, nn.Sequential) or frozen >= len(network):
        most = len(network) - 1 if isinstance(network, nn.Sequential) else 0
        raise InputError(
            f"--frozen-layers is {frozen}, and this model has {most} that can be; "
            "give fewer, or --model efficientnet_lite0"
        )
    names = {name for name, _ in network[:frozen].named_parameters()}
    if fresh := names - loaded:
        raise InputError(
            f"--frozen-layers {frozen} would keep random weights ({min(fresh)}); add "
            "--pretrained or --weights FILE"
        )


def prepare(classifier: Classifier, views: Any, train_config: TrainConfig) -> tuple:
    """Freeze the first layers, and compute their outputs for all images.

    Args:
        views: As `training.data.Views`.

    Returns:
        The `Rest`, and views of these answers instead of images: float16
        ``(N, views, C, H, W)`` to train on, of which `pick` takes one, and
        ``(M, C, H, W)`` to validate.
    """
    first, network = train_config.frozen_layers, classifier.network
    assert isinstance(network, nn.Sequential)
    layers = network[:first].requires_grad_(False).eval()
    layers.to(memory_format=torch.channels_last)  # 19 instead of 21 ms an image
    images, labels = views.train
    check_memory(layers, classifier, images, train_config.frozen_views)
    count, total = train_config.frozen_views, len(images) * train_config.frozen_views
    title = "show the frozen layers the images"
    with Progress(title, total + len(views.val[1])) as progress:
        trained = [
            answers_of(classifier, layers, varied(views, view, train_config), progress)
            for view in range(count)
        ]
        validated = answers_of(classifier, layers, plain(views.val[0]), progress)
    views = replace(
        views,
        train=(np.stack(trained, 1), labels),
        val=(validated, views.val[1]),
        transform=pick,
    )
    return Rest(network, first), views


def check_memory(layers, classifier: Classifier, images, count: int) -> None:
    """Check that the outputs fit into half of this machine's memory.

    Raises:
        InputError: They do not.
    """
    one = answers_of(classifier, layers, [np.array(images[:1])])
    needed = one.nbytes * len(images) * count
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory / 2:
        raise InputError(
            f"what the frozen layers make of {len(images)} images, {count} times each, "
            f"takes {needed >> 20} MiB of memory, and this machine has {memory >> 20}; "
            "give fewer --frozen-views, or other --frozen-layers (0: none)"
        )


def varied(views: Any, view: int, train_config: TrainConfig) -> Iterator[np.ndarray]:
    """Yield batches of varied images; the first view is of them as they are."""
    images = views.train[0]
    rng = np.random.default_rng([train_config.seed, view, 3])
    noise = noise_pool(images.shape[1], train_config.seed)
    for batch in plain(images):
        if view:
            strength, flip = train_config.augment, train_config.flip
            batch = np.stack(
                [views.transform(x, rng, noise, strength, flip) for x in batch]
            )
        yield batch


def plain(images) -> Iterator[np.ndarray]:
    for start in range(0, len(images), BATCH):
        yield np.array(images[start : start + BATCH])


def answers_of(
    classifier: Classifier,
    layers: nn.Module,
    batches: Iterable[np.ndarray],
    progress: Progress | None = None,
) -> np.ndarray:
    """What layers answer to uint8 batches: float16 ``(N, C, H, W)``."""
    device = next(classifier.parameters()).device
    found = []
    with torch.inference_mode():
        for batch in batches:
            answers = layers(classifier.normalised(torch.from_numpy(batch).to(device)))
            found.append(answers.half().cpu().numpy())
            if progress:
                progress.update(len(batch))
    return np.concatenate(found)


def pick(answers: np.ndarray, rng: np.random.Generator, *_, **__) -> np.ndarray:
    """Take one of the views of an image: called as an augmentation is."""
    return answers[rng.integers(len(answers))]
