"""The contrastive loss, against its formula written as loops."""

import math

import numpy as np
import pytest
import torch

from training.contrastive import supervised_contrastive


def by_loops(features, labels, temperature):
    """Equation 2 of the paper, an image and a pair at a time; mean over the images."""
    unit = [row / math.sqrt(sum(x * x for x in row)) for row in features]
    losses = []
    for i in range(len(unit)):
        others = [a for a in range(len(unit)) if a != i]
        alike = [p for p in others if labels[p] == labels[i]]
        if not alike:
            continue
        total = sum(math.exp(unit[i] @ unit[a] / temperature) for a in others)
        terms = [
            math.log(math.exp(unit[i] @ unit[p] / temperature) / total) for p in alike
        ]
        losses.append(-sum(terms) / len(alike))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_it_is_the_papers_formula_and_leaves_out_who_is_alone(temperature):
    features = np.random.default_rng(3).normal(0, 2, (12, 7))
    labels = np.array([0, 1, 2, 0, 1, 2, 0, 1, 0, 0, 1, 3])  # one of class 3
    got = supervised_contrastive(
        torch.from_numpy(features), torch.from_numpy(labels), temperature
    )
    assert float(got) == pytest.approx(by_loops(features, labels, temperature))


def test_a_batch_without_a_pair_teaches_nothing():
    features = torch.randn(3, 4, requires_grad=True)
    loss = supervised_contrastive(features, torch.arange(3))
    loss.backward()
    assert loss.item() == 0 and not features.grad.any()


def test_it_falls_as_classes_come_apart():
    labels = torch.tensor([0, 0, 1, 1])
    apart = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]])
    mixed = apart[[0, 2, 1, 3]]
    assert supervised_contrastive(apart, labels) < supervised_contrastive(mixed, labels)
