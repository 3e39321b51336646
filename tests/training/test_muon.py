"""Muon: what a step is, and which weights it is for."""

import pytest
import torch
from torch import nn

from training.config import TrainConfig
from training.models import build_model
from training.muon import Muon, matrices_of, orthogonalise
from training.optimisation import OptimizerGroup, make_optimizer


@pytest.mark.parametrize("shape", [(64, 288), (288, 64), (40, 40)])
def test_a_step_has_the_gradients_directions_all_equally_long(shape):
    torch.manual_seed(0)
    left, _, right = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    sizes = torch.logspace(0, -2, min(shape))
    (step,) = orthogonalise([1e-4 * left @ torch.diag(sizes) @ right])
    along = left.T @ step @ right.T
    assert along.diagonal().min() > 0.7 and along.diagonal().max() < 1.3
    assert (along - torch.diag(along.diagonal())).abs().max() < 1e-2


def test_a_gradient_of_zero_moves_nothing():
    weight = nn.Parameter(torch.ones(4, 6))
    weight.grad = torch.zeros_like(weight)
    Muon([weight], lr=0.1).step()
    assert torch.equal(weight, torch.ones(4, 6))


def test_a_convolution_moves_alike_in_both_memory_formats():
    torch.manual_seed(0)
    start, gradient = torch.randn(8, 4, 3, 3), torch.randn(8, 4, 3, 3)
    moved = []
    for form in (torch.contiguous_format, torch.channels_last):
        weight = nn.Parameter(start.clone(memory_format=form))
        weight.grad = gradient.clone(memory_format=form)
        Muon([weight], lr=0.1, weight_decay=0.1).step()
        assert weight.is_contiguous(memory_format=form)
        moved.append(weight.detach())
    assert torch.allclose(*moved, atol=1e-5)
    assert not torch.allclose(moved[0], start, atol=1e-3)


def test_muon_is_for_layers_between_the_first_and_the_last_but_for_no_depthwise_ones():
    network = build_model("mobilenet_v3_small", 5, 64)
    ours = {id(weight) for weight in matrices_of(network)}
    layers = [m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    for layer in layers:
        wanted = layer not in (layers[0], layers[-1]) and (
            isinstance(layer, nn.Linear) or layer.groups == 1
        )
        assert (id(layer.weight) in ours) == wanted, layer
    assert any(layer.weight.shape[1] == 1 for layer in layers)  # there are such


def test_matrices_that_are_too_large_are_left_to_adamw():
    layers = [nn.Linear(inputs, 4096) for inputs in (8, 64, 4096)]
    network = nn.Sequential(*layers, nn.Linear(1, 1))
    assert [tuple(w.shape) for w in matrices_of(network)] == [(4096, 64)]


def test_muon_and_adamw_share_the_parameters_and_every_group_has_its_scale():
    network = build_model("small_resnet", 5, 32)
    loaded = {name for name, _ in network.named_parameters() if "weight" in name}
    train_config = TrainConfig(optimizer="muon", backbone_lr=0.1, weight_decay=0.05)
    optimizer = make_optimizer(network, train_config, loaded)
    assert isinstance(optimizer, OptimizerGroup)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    assert len(parameters) == len(set(parameters)) == len(list(network.parameters()))
    assert {group["scale"] for group in optimizer.param_groups} == {0.1, 1.0}
    kinds = {type(each).__name__ for each in optimizer.optimizers}
    assert kinds == {"Muon", "AdamW"}
