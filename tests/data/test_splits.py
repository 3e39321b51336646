"""Properties of every split: no group crosses, ratios hold, order is irrelevant."""

import random
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.errors import InputError
from data_prep.packed import SPLITS
from data_prep.preparation import Options, prepare
from data_prep.sources import RawImage, find_images
from data_prep.splitting.grouping import has_twin
from data_prep.splitting.methods import LEFT_OUT, METHODS, SplitOptions, assign
from data_prep.splitting.splits import deal

RATIOS = st.sampled_from(
    [(80, 10, 10), (90, 5, 5), (70, 20, 10), (80, 20, 0), (1, 1, 1)]
)
SEEDS = st.integers(0, 1000)


@st.composite
def raw_sets(draw):
    """Images of 1 to 4 classes and sources, with names of all kinds and near hashes."""
    rng = random.Random(draw(st.integers(0, 2**32)))
    images, hashes = [], []
    for source in "abcd"[: draw(st.integers(1, 4))]:
        for label in "ABCD"[: draw(st.integers(1, 4))]:
            style = draw(st.sampled_from(["{}{}", "{}{}_jpg.rf.{}", "photo-{}-{}"]))
            scenes = draw(st.integers(1, 12))
            originals = [rng.getrandbits(64) for _ in range(scenes)]
            for i in range(draw(st.integers(1, 60))):
                name = style.format(label, i // 3 if "rf" in style else i, i)
                path = f"{source}/{label}/{name}.jpg"
                images.append(RawImage(path, path, label, source))
                flips = rng.sample(range(64), rng.choice([0, 1, 2, 5, 20]))
                hashes.append(rng.choice(originals) ^ sum(1 << bit for bit in flips))
    tiny = np.random.default_rng(0).integers(0, 256, (len(images), 8, 8), np.uint8)
    return images, np.array(hashes, np.uint64), tiny


def by_method(method, ratios, seed, images):
    if method == "source" and len({i.source for i in images}) < 2:
        return SplitOptions("group", ratios, seed)
    return SplitOptions(method, ratios, seed)


@settings(max_examples=60, deadline=None)
@given(raw_sets(), st.sampled_from(METHODS), RATIOS, SEEDS)
def test_no_group_is_divided_by_any_method(raw_set, method, ratios, seed):
    images = raw_set[0]
    groups, split = assign(*raw_set, by_method(method, ratios, seed, images))
    sides = defaultdict(set)
    for group, side in zip(groups, split):
        if side != LEFT_OUT:
            sides[group].add(side)
    assert all(len(found) == 1 for found in sides.values())
    assert set(split) <= {LEFT_OUT, 0, 1, 2}


@settings(max_examples=40, deadline=None)
@given(raw_sets(), st.sampled_from(METHODS), RATIOS, SEEDS, st.randoms())
def test_the_order_of_the_images_changes_nothing(raw_set, method, ratios, seed, rng):
    images, hashes, tiny = raw_set
    options = by_method(method, ratios, seed, images)
    groups, split = assign(images, hashes, tiny, options)
    order = list(range(len(images)))
    rng.shuffle(order)
    shuffled = assign([images[i] for i in order], hashes[order], tiny[order], options)
    assert shuffled[0] == [groups[i] for i in order]
    np.testing.assert_array_equal(shuffled[1], split[order])


@settings(max_examples=40, deadline=None)
@given(raw_sets(), RATIOS, SEEDS)
def test_group_keeps_twins_on_one_side_unless_a_class_is_all_alike(
    raw_set, ratios, seed
):
    images, hashes, tiny = raw_set
    groups, split = assign(images, hashes, tiny, SplitOptions("group", ratios, seed))
    labels = np.array([image.label for image in images])
    for label in np.unique(labels):
        mine = labels == label
        train, rest = mine & (split == 0), mine & (split > 0)
        twins = has_twin(labels, hashes, rest, train)
        # what was cut up again and could not be cleaned keeps its twins: it is one
        # group of near-duplicates, so more than half of its side has some
        for side in (1, 2):
            here = rest & (split == side)
            share = twins[here].mean() if here.any() else 0
            assert share == 0 or share > 0.5


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=40),
    RATIOS,
    SEEDS,
)
def test_ratios_hold_within_two_groups(sizes, ratios, seed):
    groups = [f"g{i}" for i, size in enumerate(sizes) for _ in range(size)]
    split = deal(["A"] * len(groups), groups, ratios, seed)
    for number, count in enumerate(np.bincount(split, minlength=3)):
        want = len(groups) * ratios[number] / sum(ratios)
        assert abs(count - want) <= 2 * max(sizes)
        if ratios[number] == 0:
            assert count == 0


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 12), RATIOS, SEEDS)
def test_tiny_classes_serve_training_first_then_test(count, ratios, seed):
    split = deal(["A"] * count, [str(i) for i in range(count)], ratios, seed)
    filled = {SPLITS[number] for number in split}
    wanted = [s for s in ("train", "test", "val") if ratios[SPLITS.index(s)]]
    assert filled >= set(wanted[:count])


@given(SEEDS)
def test_equal_groups_give_the_exact_ratios_and_seeds_differ(seed):
    groups = [f"g{i % 100}" for i in range(1000)]
    split = deal(["A"] * 1000, groups, (80, 10, 10), seed)
    assert np.bincount(split).tolist() == [800, 100, 100]
    assert (split != deal(["A"] * 1000, groups, (80, 10, 10), seed + 1)).any()


def frames(source, label, count, first=0):
    paths = [f"{source}/{label}/{label}{first + i}.jpg" for i in range(count)]
    return [RawImage(path, path, label, source) for path in paths]


def far_hashes(count):
    return np.random.default_rng(1).integers(0, 2**63, count, np.uint64)


def test_blocks_are_contiguous_in_the_numbers_not_in_the_names():
    images = frames("a", "A", 200)
    tiny = np.zeros((200, 8, 8), np.uint8)
    groups, split = assign(images, far_hashes(200), tiny, SplitOptions("block"))
    for start in range(0, 200, 10):
        assert len(set(groups[start : start + 10])) == 1
    assert len(set(groups)) == 20
    assert Counter(split.tolist()) == {0: 160, 1: 20, 2: 20}


def test_sessions_end_where_the_light_changes():
    images = frames("a", "A", 90)
    tiny = np.full((90, 8, 8), 50, np.uint8)
    tiny[30:60], tiny[60:] = 120, 200
    tiny += (np.arange(90) % 3).astype(np.uint8)[:, None, None]
    groups, split = assign(images, far_hashes(90), tiny, SplitOptions("session"))
    assert [len(set(groups[i : i + 30])) for i in (0, 30, 60)] == [1, 1, 1]
    assert sorted(Counter(groups).values()) == [30, 30, 30]
    assert sorted(Counter(split.tolist()).values()) == [30, 30, 30]


def test_source_tests_on_one_signer_only_and_leaves_out_his_twins_elsewhere():
    images = frames("ann", "A", 100) + frames("bob", "A", 100) + frames("cy", "A", 30)
    hashes = far_hashes(230)
    hashes[5] = hashes[210]  # a photograph of cy among those of ann
    tiny = np.zeros((230, 8, 8), np.uint8)
    _, split = assign(images, hashes, tiny, SplitOptions("source"))
    assert set(split[200:]) == {2} and 2 not in split[:200]
    assert split[5] == LEFT_OUT and (split == LEFT_OUT).sum() == 1
    assert {0, 1} <= set(split[:200].tolist())
    chosen = SplitOptions("source", hold_out=("bob",))
    _, split = assign(images, hashes, tiny, chosen)
    assert set(split[100:200]) == {2} and 2 not in split[:100]


def test_a_class_that_is_all_alike_is_still_divided_and_cleaned_of_twins():
    # each frame is a twin of its neighbours: one group, from the first to the last
    images = frames("a", "A", 400)
    hashes = np.array([((1 << (i // 8)) - 1) for i in range(400)], np.uint64)
    tiny = np.zeros((400, 8, 8), np.uint8)
    groups, split = assign(images, hashes, tiny, SplitOptions("group"))
    counts = Counter(split.tolist())
    assert counts[0] == 320 and counts[1] >= 10 and counts[2] >= 10


def test_impossible_options_are_named():
    images, tiny = frames("a", "A", 3), np.zeros((3, 8, 8), np.uint8)
    with pytest.raises(InputError, match="method 'by_luck'"):
        SplitOptions(method="by_luck")
    with pytest.raises(InputError, match="ratios"):
        SplitOptions(ratios=(0, 50, 50))
    with pytest.raises(InputError, match="--hold-out needs"):
        SplitOptions(hold_out=("a",))
    with pytest.raises(InputError, match="only a: add a folder"):
        assign(images, far_hashes(3), tiny, SplitOptions("source"))
    with pytest.raises(InputError, match="no source 'b'"):
        assign(images, far_hashes(3), tiny, SplitOptions("source", hold_out=("b",)))


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["asl_alphabet", "asl_volunteers", "asl_five_hands"])
def test_under_one_percent_of_real_test_photographs_have_a_twin_in_training(
    real_data, tmp_path, name
):
    images = find_images([real_data / name]).images
    summary = prepare(images, tmp_path / name, Options(), workers=2)
    assert summary["twin_share"]["test"] < 0.01
    assert summary["twin_share"]["val"] < 0.01
    for counts in summary["classes"].values():
        assert 0.7 <= counts["train"] / sum(counts.values()) <= 0.9
        assert counts["test"] > 0 and counts["val"] > 0
