"""Numbers of a hand's shape: what changes them, and what must not."""

import numpy as np
import pytest
import torch

from training.hands.bent_hands import bend_hands
from training.hands.geometry import FEATURES, describe
from training.hands.hand import NUMBERS, POINTS, pack, unpack
from training.hands.hand_augmentation import augment_hands


@pytest.fixture(scope="module")
def hand():
    rows = torch.from_numpy(bend_hands(["A", "L", "W"], each=8, seed=2).rows)
    return unpack(rows)


def test_what_is_packed_is_unpacked_again(hand):
    rows = torch.randn(5, NUMBERS, generator=torch.Generator().manual_seed(0))
    parts = unpack(rows)
    assert parts.points.shape == (5, POINTS, 2)
    assert parts.metres.shape == (5, POINTS, 3)
    assert torch.equal(pack(parts), rows)
    for before, after in zip(hand, unpack(pack(hand))):
        assert torch.equal(before, after)


def test_a_description_has_the_width_that_networks_are_built_for(hand):
    described = describe(hand)
    assert described.shape == (24, FEATURES) and described.dtype == torch.float32
    assert described.isfinite().all()


def test_a_description_knows_neither_the_place_nor_the_size_of_a_hand(hand):
    elsewhere = hand._replace(
        points=0.4 * hand.points + torch.tensor([0.3, -0.2]),
        metres=1.3 * hand.metres + 0.05,
    )
    torch.testing.assert_close(describe(elsewhere), describe(hand), atol=1e-4, rtol=0)


def test_a_description_tells_how_a_hand_is_held_and_how_surely_it_is_one(hand):
    turned = describe(hand._replace(turn=hand.turn + 0.5))
    doubtful = describe(hand._replace(sure=hand.sure * 0.5))
    for other in (turned, doubtful):
        assert (other - describe(hand)).norm(dim=1).min() > 0.1


def test_a_hand_of_no_size_is_described_by_numbers(hand):
    nothing = hand._replace(
        points=torch.zeros_like(hand.points), metres=torch.zeros_like(hand.metres)
    )
    assert describe(nothing).isfinite().all()


def test_variation_grows_with_its_strength_and_keeps_shapes(hand):
    changes = []
    for strength in (0.0, 0.5, 1.0, 2.0):
        torch.manual_seed(0)
        varied = augment_hands(hand, strength)
        assert [part.shape for part in varied] == [part.shape for part in hand]
        changes.append((describe(varied) - describe(hand)).norm(dim=1).mean().item())
    assert changes[0] == pytest.approx(0, abs=1e-4)
    assert all(low + 0.2 < high for low, high in zip(changes, changes[1:]))
    assert torch.equal(varied.sure, hand.sure)


def test_bent_hands_vary_more_than_those_that_were_read(hand):
    changes = []
    for pixels in (1.0, 0.0):
        torch.manual_seed(0)
        known = hand._replace(pixels=torch.full_like(hand.pixels, pixels))
        varied = describe(augment_hands(known))
        changes.append((varied - describe(hand)).norm(dim=1))
    assert changes[1].mean() > 1.2 * changes[0].mean()


def test_varied_hands_differ_from_one_another_and_stay_their_letter(hand):
    torch.manual_seed(1)
    first, second = describe(augment_hands(hand)), describe(augment_hands(hand))
    assert (first - second).norm(dim=1).min() > 0.1
    plain = describe(hand)
    labels = np.repeat(range(3), 8)
    centres = torch.stack([plain[labels == label].mean(0) for label in range(3)])
    nearest = torch.cdist(first, centres).argmin(1).numpy()
    assert (nearest == labels).mean() > 0.8
