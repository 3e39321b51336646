"""Letters from geometry, and how good they are for held-out signers."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from data_prep.progress import Progress
from training.hands.bent_hands import bend_hands
from training.hands.hand import pack, unpack
from training.hands.held_out_signers import (
    TEMPERATURES,
    calibrate,
    fold_count,
    leave_sources_out,
)
from training.hands.letters import (
    Hands,
    predict_probabilities,
    sampling_weights,
    train_geometry_network,
)

LETTERS = ["B", "L", "Y"]
STEPS = 60


def hands_of(source: str, seed: int, each: int = 12, classes=LETTERS) -> Hands:
    hands = bend_hands(classes, each, seed)
    return replace(hands, sources=np.array([source] * len(hands)))


NOBODY = hands_of("nobody", 0, each=1).where(np.zeros(3, bool))


def test_letters_of_other_hands_are_learned_and_the_same_seed_gives_the_same():
    hands = hands_of("one", 1, each=40)
    network = train_geometry_network(hands, 3, seed=0, steps=STEPS)
    others = hands_of("two", 2)
    told = predict_probabilities(network, others.rows)
    assert told.sum(1) == pytest.approx(1, abs=1e-5)
    assert (told.argmax(1) == others.labels).mean() > 0.9
    again = train_geometry_network(hands, 3, seed=0, steps=STEPS)
    for name, value in network.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])


def test_a_small_source_and_class_is_not_drowned_by_a_large_one():
    """20 hands that call B by another name count beside 600 of another source."""
    large = hands_of("large", 3, each=200)
    small = hands_of("small", 4, each=20, classes=["B"])
    relabelled = replace(small, labels=small.labels + 3)  # class 3
    network = train_geometry_network(large + relabelled, 4, seed=0, steps=STEPS)
    told = predict_probabilities(network, hands_of("new", 5).rows)
    as_small = told[:12, 3].mean() / (told[:12, 0].mean() + told[:12, 3].mean())
    assert as_small > 2 * 20 / 220  # its share of the hands


def seen_hands(source: str, seed: int, each: int = 40) -> Hands:
    """Hands of one geometry, which only their appearance tells apart: classes 0, 1."""
    hands = hands_of(source, seed, each=2 * each, classes=["B"])
    hand = unpack(torch.from_numpy(hands.rows))
    labels = np.arange(len(hands)) % 2
    generator = torch.Generator().manual_seed(seed)
    seen = torch.randn(hand.appearance.shape, generator=generator)
    seen[:, :, :20] += 3.0 * torch.from_numpy(labels)[:, None, None]
    hand = hand._replace(appearance=seen, pixels=torch.ones_like(hand.pixels))
    return replace(hands, rows=pack(hand).numpy(), labels=labels)


def test_appearance_tells_apart_hands_of_the_same_geometry():
    hands = seen_hands("one", 1) + seen_hands("two", 2)
    network = train_geometry_network(hands, 2, seed=0, steps=STEPS)
    others = seen_hands("three", 3)
    told = predict_probabilities(network, others.rows).argmax(1)
    assert (told == others.labels).mean() > 0.9
    hidden = unpack(torch.from_numpy(others.rows))
    hidden = hidden._replace(pixels=torch.zeros_like(hidden.pixels))
    told = predict_probabilities(network, pack(hidden).numpy()).argmax(1)
    assert (told == others.labels).mean() < 0.8


def test_the_appearance_of_one_source_alone_is_not_learned():
    bent = hands_of("bent hands", 4, classes=["B"])
    network = train_geometry_network(seen_hands("one", 1) + bent, 2, 0, steps=STEPS)
    rows = seen_hands("three", 3).rows
    other = unpack(torch.from_numpy(rows))
    other = other._replace(appearance=torch.zeros_like(other.appearance))
    assert np.array_equal(
        predict_probabilities(network, rows),
        predict_probabilities(network, pack(other).numpy()),
    )


def test_each_source_is_asked_about_by_a_network_that_has_not_seen_it():
    """Only "c" has the Y: without it nobody can know the letter."""
    hands = hands_of("a", 1, classes=["B", "L"]) + hands_of("b", 2, classes=["B", "L"])
    only = hands_of("c", 3)
    hands = hands + only.where(only.labels == 2)
    figures, _ = leave_sources_out(hands, NOBODY, 3, seed=0, steps=STEPS)
    assert list(figures["sources"]) == ["a", "b", "c"]
    assert figures["sources"]["c"] == {"accuracy": 0.0, "images": 12}
    assert figures["sources"]["a"]["accuracy"] > 0.8
    assert figures["worst"] == 0
    assert figures["images"] == 60
    mean = np.mean([s["accuracy"] for s in figures["sources"].values()])
    assert figures["mean"] == pytest.approx(mean)


def test_classes_are_drawn_with_the_root_of_their_share_of_a_source():
    """So a source of a quarter of the size counts as much."""
    hands = hands_of("a", 1, each=12) + hands_of("b", 2, each=3)
    hands = hands + hands_of("b", 3, each=9, classes=["B"])  # 12, 3 and 3 of 18
    chances = sampling_weights(hands)
    of_a, of_b = (
        [chances[(hands.sources == s) & (hands.labels == c)].sum() for c in range(3)]
        for s in "ab"
    )
    assert of_a == pytest.approx([(1 / 3) ** 0.5] * 3)
    assert of_b == pytest.approx([(12 / 18) ** 0.5, (3 / 18) ** 0.5, (3 / 18) ** 0.5])


def test_a_source_with_wrong_labels_is_the_worst():
    good = hands_of("good", 1) + hands_of("fine", 2)
    wrong = hands_of("wrong", 3)
    labels = np.random.default_rng(0).permutation(wrong.labels)
    hands = good + replace(wrong, labels=labels)
    bent = hands_of("bent hands", 9, each=40)
    figures, _ = leave_sources_out(hands, bent, 3, seed=0, steps=STEPS)
    each = {name: s["accuracy"] for name, s in figures["sources"].items()}
    assert min(each, key=each.get) == "wrong"
    assert figures["worst"] == each["wrong"] < 0.7
    assert min(each["good"], each["fine"]) > 0.8


def test_more_sources_than_folds_are_all_left_out_once():
    parts = [hands_of(f"s{i}", i, each=3 + i) for i in range(8)]
    hands = parts[0]
    for part in parts[1:]:
        hands = hands + part
    progress = Progress("letters", fold_count(hands.sources) * 20, is_shown=False)
    figures, _ = leave_sources_out(hands, NOBODY, 3, 0, steps=20, progress=progress)
    assert progress.done == progress.total == 120  # of 6 networks
    images = {name: s["images"] for name, s in figures["sources"].items()}
    assert images == {f"s{i}": 3 * (3 + i) for i in range(8)}
    assert figures["images"] == sum(images.values())


def test_one_source_says_nothing_of_held_out_signers():
    assert leave_sources_out(hands_of("one", 1), NOBODY, 3, seed=0, steps=1) is None


def nll(probabilities, labels, temperature):
    scaled = probabilities ** (1 / temperature)
    scaled = scaled / scaled.sum(1, keepdims=True)
    return -np.log(scaled[np.arange(len(labels)), labels]).mean()


@pytest.mark.parametrize("sharpened", [3.0, 0.6])
def test_the_temperature_makes_confidence_honest(sharpened):
    rng = np.random.default_rng(0)
    honest = rng.dirichlet([0.5] * 4, 3000)
    labels = np.array([rng.choice(4, p=row) for row in honest])
    boasting = honest**sharpened
    boasting /= boasting.sum(1, keepdims=True)
    temperature = calibrate(boasting.astype(np.float32), labels)
    assert temperature == pytest.approx(sharpened, rel=0.15)
    assert nll(boasting, labels, temperature) < nll(boasting, labels, 1)
    assert TEMPERATURES[0] <= temperature <= TEMPERATURES[-1]
