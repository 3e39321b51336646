"""How good the letters are for people who are not in the data.

A source is a folder of photographs that one person or team made. Each source is left
out once: a network is trained on the others and tested on all of it. So no further
photographs are needed.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from data_prep.parallel import cpu_count
from data_prep.progress import Progress
from training.hands.letters import (
    Hands,
    predict_probabilities,
    train_geometry_network,
)

FOLDS = 6  # at most; with more sources, several are left out together
TEMPERATURES = np.geomspace(0.4, 4, 47)


def leave_sources_out(
    hands: Hands,
    bent: Hands,
    classes: int,
    seed: int,
    steps: int,
    device: str | torch.device = "cpu",
    progress: Progress | None = None,
) -> tuple[dict, float] | None:
    """Train without each source once, and ask about it.

    Args:
        hands: Of all photographs there are, with their sources.
        bent: Hands to learn from only (training/hands/bent_hands.py).
        classes: Number of letters.
        seed: Of the networks.
        steps: Of each training.
        device: To train on.
        progress: Counts the steps of all these trainings.

    Returns:
        ``{"mean", "worst", "images", "sources": {name: {"accuracy", "images"}}}`` of
        accuracies, mean and worst over sources; and the temperature that calibrates the
        answers about held-out signers. None where there is one source only.
    """
    names, sizes = np.unique(hands.sources, return_counts=True)
    if not (count := fold_count(hands.sources)):
        return None
    # large sources first, each to the fold with the fewest hands so far
    folds = [[] for _ in range(count)]
    loads = np.zeros(len(folds))
    for place in np.argsort(-sizes, kind="stable"):
        fold = int(loads.argmin())
        folds[fold].append(names[place])
        loads[fold] += sizes[place]
    probabilities = np.zeros((len(hands.labels), classes), np.float32)

    def leave_out(fold: list[str]) -> None:
        out = np.isin(hands.sources, fold)
        network = train_geometry_network(
            hands.where(~out) + bent,
            classes,
            seed,
            steps,
            device=device,
            progress=progress,
        )
        probabilities[out] = predict_probabilities(network, hands.rows[out])

    with ThreadPoolExecutor(cpu_count()) as pool:
        list(pool.map(leave_out, folds))
    right = probabilities.argmax(1) == hands.labels
    each = {
        str(name): {
            "accuracy": float(right[hands.sources == name].mean()),
            "images": int(size),
        }
        for name, size in zip(names, sizes)
    }
    accuracies = [scores["accuracy"] for scores in each.values()]
    figures = {
        "mean": float(np.mean(accuracies)),
        "worst": float(min(accuracies)),
        "images": int(len(right)),
        "sources": each,
    }
    return figures, calibrate(probabilities, hands.labels)


def fold_count(sources: np.ndarray) -> int:
    """How many trainings `leave_sources_out` makes; 0 with one source only."""
    count = len(np.unique(sources))
    return min(FOLDS, count) if count > 1 else 0


def calibrate(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Find the temperature of the least cross-entropy (Guo et al. 2017).

    Args:
        probabilities: ``(N, classes)``, of people who were not learned from.
        labels: ``(N,)`` int64.
    """
    logits = np.log(np.clip(probabilities, 1e-9, None))
    losses = []
    for temperature in TEMPERATURES:
        scaled = logits / temperature
        scaled = scaled - np.logaddexp.reduce(scaled, axis=1, keepdims=True)
        losses.append(-scaled[np.arange(len(labels)), labels].mean())
    return float(TEMPERATURES[int(np.argmin(losses))])
