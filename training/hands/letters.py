"""Letters from the geometry and appearance of hands: a small network that learns in
seconds.

It sees no pixels but the hand's points, and what the landmark network, which has
learned from very many hands, sees at each of them. So what it learns from a few people
also works for others.
"""

import contextlib
import threading
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from data_prep.progress import Progress
from training.hands.geometry import FEATURES, describe
from training.hands.hand import CHANNELS, POINTS, Hand, unpack
from training.hands.hand_augmentation import augment_hands

WIDTH, DROPOUT = 384, 0.3
APPEARANCE_WIDTH, APPEARANCE_DROPOUT = 128, 0.5
HIDDEN = 0.2  # of the hands learn by geometry alone, so that it is learned, too
BATCH_SIZE, RATE, WEIGHT_DECAY, SMOOTHING = 256, 2e-3, 0.05, 0.1
_trainings, _threads = 0, 1  # under way, and PyTorch's threads before the first began
_counting = threading.Lock()
_seeding = threading.Lock()  # PyTorch's own generator decides how a network begins


class Dropout(nn.Module):
    """Dropout with a generator of its own: networks that learn side by side in threads
    learn each as if it were alone."""

    def __init__(self, rate: float):
        super().__init__()
        self.rate, self.generator = rate, None

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return values
        drawn = torch.rand(values.shape, generator=self.generator, device=values.device)
        return values * ((drawn >= self.rate) / (1 - self.rate))


class GeometryNetwork(nn.Module):
    """A `Hand` of N -> logits ``(N, classes)``.

    Args:
        classes: Width of the output.
        by_appearance: Whether it looks at the hands' appearance, or at their geometry
            only.
    """

    def __init__(self, classes: int, by_appearance: bool = True):
        super().__init__()
        width, seen = WIDTH, POINTS * CHANNELS
        self.register_buffer("by_appearance", torch.tensor(float(by_appearance)))
        self.geometry = nn.BatchNorm1d(FEATURES)
        self.appearance = nn.Sequential(
            nn.LayerNorm(seen),
            Dropout(APPEARANCE_DROPOUT),
            nn.Linear(seen, APPEARANCE_WIDTH),
            nn.LayerNorm(APPEARANCE_WIDTH),
            nn.ReLU(),
            Dropout(DROPOUT),
        )
        self.layers = nn.Sequential(
            nn.Linear(FEATURES + APPEARANCE_WIDTH, width),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            Dropout(DROPOUT),
            nn.Linear(width, width),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            Dropout(DROPOUT),
            nn.Linear(width, classes),
        )

    def forward(self, hand: Hand) -> torch.Tensor:
        seen = self.appearance(hand.appearance.flatten(1))
        known = self.by_appearance * hand.pixels
        return self.layers(torch.cat([self.geometry(describe(hand)), known * seen], 1))


@dataclass(frozen=True)
class Hands:
    """Packed hands to learn from.

    Attributes:
        rows: ``(N, NUMBERS)`` float32 (training/hands/hand.py).
        labels: ``(N,)`` int64.
        sources: ``(N,)`` texts: whose hands they are.
    """

    rows: np.ndarray
    labels: np.ndarray
    sources: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def where(self, chosen: np.ndarray) -> "Hands":
        return Hands(
            rows=self.rows[chosen],
            labels=self.labels[chosen],
            sources=self.sources[chosen],
        )

    def __add__(self, other: "Hands") -> "Hands":
        return Hands(
            rows=np.concatenate([self.rows, other.rows]),
            labels=np.concatenate([self.labels, other.labels]),
            sources=np.concatenate([self.sources, other.sources]),
        )


def train_geometry_network(
    hands: Hands,
    classes: int,
    seed: int,
    steps: int,
    device: str | torch.device = "cpu",
    progress: Progress | None = None,
) -> GeometryNetwork:
    """Train a network on hands, which are varied anew in each step.

    Args:
        hands: All sources, and all classes of each, are drawn about equally often:
            with the root of their size.
        classes: Width of the output.
        seed: Of weights, order and variation.
        steps: Of 256 hands each.
        device: To train on.
        progress: Counts the steps.
    """
    with one_thread():
        with _seeding:
            torch.manual_seed(seed)
            network = GeometryNetwork(classes, _by_appearance(hands)).to(device)
        generator = torch.Generator(device).manual_seed(seed)
        _learn(network, hands, steps, generator, progress)
    return network.eval()


def _by_appearance(hands: Hands) -> bool:
    """Whether the appearance of hands is learned from: that of one source alone, drawn
    or in one room, misleads about others (training/EXPERIMENTS.md)."""
    read = unpack(torch.from_numpy(hands.rows)).pixels[:, 0].numpy() > 0
    return len(set(hands.sources[read])) > 1


def _learn(network, hands, steps, generator, progress) -> None:
    device = generator.device
    rows = torch.from_numpy(hands.rows).to(device)
    labels = torch.from_numpy(hands.labels).to(device)
    chances = torch.from_numpy(sampling_weights(hands)).to(device)
    for layer in network.modules():
        if isinstance(layer, Dropout):
            layer.generator = generator
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=RATE, weight_decay=WEIGHT_DECAY, fused=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for _ in range(steps):
        drawn = torch.multinomial(
            chances, BATCH_SIZE, replacement=True, generator=generator
        )
        hand = augment_hands(unpack(rows[drawn]), generator=generator)
        kept = torch.rand(hand.pixels.shape, generator=generator, device=device)
        hand = hand._replace(pixels=hand.pixels * (kept >= HIDDEN))
        loss = nn.functional.cross_entropy(
            network(hand), labels[drawn], label_smoothing=SMOOTHING
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        if progress:
            progress.update()


@contextlib.contextmanager
def one_thread():
    """Compute with one thread: matrices as small as these gain nothing from more, and
    lose much where other programs run. Several trainings may do so at the same time."""
    global _trainings, _threads
    with _counting:
        if not _trainings:
            _threads = torch.get_num_threads()
        _trainings += 1
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _counting:
            _trainings -= 1
            if not _trainings:
                torch.set_num_threads(_threads)


def sampling_weights(hands: Hands) -> np.ndarray:
    """How often to draw each hand, ``(N,)`` float64."""
    _, source = np.unique(hands.sources, return_inverse=True)
    group = source * (hands.labels.max() + 1) + hands.labels
    sizes, members = np.bincount(source)[source], np.bincount(group)[group]
    return 1 / np.sqrt(members * sizes)


def predict_probabilities(network: GeometryNetwork, rows: np.ndarray) -> np.ndarray:
    """Probabilities ``(N, classes)`` float32 of packed hands."""
    device = next(network.parameters()).device
    with torch.inference_mode():
        logits = network(unpack(torch.from_numpy(rows).to(device)))
        return logits.softmax(1).cpu().numpy()
