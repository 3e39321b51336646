"""Finding the hand: masks, views, scenes, and a training with them."""

import functools
import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from data_prep.draw import draw_dataset
from data_prep.drawing.scene import draw_image, draw_with_masks
from data_prep.errors import InputError
from data_prep.preparation import Options, prepare
from data_prep.preprocessing import Preprocessing
from data_prep.sources import find_images
from training.augment import noise_pool
from training.hand_finder import VIEW_SIZE, HandFinder, HandView
from training.hand_scenes import (
    ARM,
    Scenes,
    add_forearm,
    collect_backgrounds,
    collect_hands,
    cut_out,
    empty_room,
    find_wrist,
    is_on_black,
)
from training.hand_views import (
    VaryView,
    cut_views,
    draw_examples,
    fit_finder,
    is_sure,
)
from training.infer import infer
from training.loop import train_mode
from training.optimisation import Recipe
from training.run import Choices, decide_to_find, draw_weights, train_dataset


class RedFinder(nn.Module):
    """Takes what is red for the hand."""

    def forward(self, pixels):
        return (pixels[:, :1] - pixels[:, 1:2] - 128) / 4


def photograph(x: int, y: int, half: int, size: int = 128) -> np.ndarray:
    """A red square on grey."""
    image = np.full((size, size, 3), 90, np.uint8)
    cv2.rectangle(image, (x - half, y - half), (x + half, y + half), (250, 20, 20), -1)
    return image


def view_of(*images: np.ndarray) -> np.ndarray:
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()
    return HandView(RedFinder())(pixels).permute(0, 2, 3, 1).numpy()


def test_a_view_shows_hands_of_any_place_and_size_alike():
    views = view_of(photograph(40, 90, 20), photograph(80, 40, 34))
    assert views.shape == (2, VIEW_SIZE, VIEW_SIZE, 4)
    for view in views:
        rows, columns = np.nonzero(view[..., 3] > 127)
        middle = (VIEW_SIZE - 1) / 2
        assert abs(rows.mean() - middle) < 2 and abs(columns.mean() - middle) < 2
        red = np.nonzero(view[..., 0] > 170)
        assert abs(rows.mean() - red[0].mean()) < 0.5
        assert abs(columns.mean() - red[1].mean()) < 0.5
    sides = [np.sqrt((view[..., 3] > 127).mean()) for view in views]
    assert abs(sides[0] - sides[1]) < 0.05
    assert 0.6 < sides[0] < 0.9


def test_without_a_hand_the_view_is_the_whole_photograph():
    photo = draw_image("nothing", np.random.default_rng(1), 96)
    photo[..., 1] = np.maximum(photo[..., 1], photo[..., 0])  # nothing is red
    (view,) = view_of(photo)
    assert np.abs(view[..., :3] - photo).max() < 2
    assert view[..., 3].max() < 1


def test_a_view_does_not_depend_on_the_other_images_of_its_batch():
    images = [photograph(40, 90, 20), photograph(80, 40, 34)]
    together, alone = view_of(*images), view_of(images[1])
    assert np.allclose(together[1], alone[0], atol=1e-3)


def test_views_of_photographs_and_of_drawn_hands_lie_in_one_file(tmp_path):
    walls = np.stack([photograph(40, 90, 20)] * 2)
    draw = functools.partial(draw_examples, size=128, seed=3, backgrounds=walls)
    classes = ["rose", "B", "nothing"]
    drawn, labels, kinds = draw(classes, photographs=100)
    assert np.bincount(labels).tolist() == [0, 66, 66 + 10]  # twice as many, a tenth
    assert kinds == ["drawn hands"] * 132 + ["empty rooms"] * 10
    assert drawn.shape == (142, 128, 128, 3)
    assert np.array_equal(drawn, draw(classes, photographs=100)[0])
    assert len({image.tobytes() for image in drawn}) == 142
    view, photos = HandView(RedFinder()), np.stack([photograph(40, 90, 20)] * 3)
    together = cut_views(view, tmp_path / "together", photos, drawn)
    apart = [
        cut_views(view, tmp_path / str(i), p) for i, p in enumerate([photos, drawn])
    ]
    assert np.array_equal(together, np.concatenate(apart))
    assert draw(["rose", "B"], 100)[2] == ["drawn hands"] * 100
    assert [len(part) for part in draw(["rose", "tulip"], 100)] == [0, 0, 0]


def test_an_empty_room_is_made_of_backgrounds_alone():
    walls = np.stack([np.full((96, 96, 3), level, np.uint8) for level in (40, 200)])
    rng = np.random.default_rng(0)
    rooms = [empty_room(walls, rng) for _ in range(50)]
    assert {room.shape for room in rooms} == {(96, 96, 3)}
    pieces = [len(np.unique(room.reshape(-1, 3), axis=0)) for room in rooms]
    assert min(pieces) == 1 and max(pieces) > 2  # a bare wall; with things before it


def test_a_hand_on_black_is_cut_out_and_the_gap_of_an_o_stays_open():
    image = np.zeros((96, 96, 3), np.uint8)
    cv2.circle(image, (48, 48), 30, (200, 150, 120), 14)  # an O
    cv2.circle(image, (48, 18), 1, (10, 8, 5), -1)  # a dark wrinkle
    assert is_on_black(image)
    mask = cut_out(image)
    assert mask[48, 48] == 0 and mask[5, 5] == 0
    assert mask[18, 48] == mask[78, 48] == 255
    assert not is_on_black(draw_image("A", np.random.default_rng(0), 96))


def test_a_drawing_tells_the_hand_from_its_forearm():
    picture, mask, hand = draw_with_masks("B", np.random.default_rng(0), 96)
    again = draw_image("B", np.random.default_rng(0), 96, strangers=True)
    assert np.array_equal(picture, again)
    assert 0.05 < hand.mean() < mask.mean() < 0.6
    assert not (hand > mask).any()
    assert mask[-1].any() and not hand[-1].any()  # the arm comes from below
    top = np.flatnonzero(mask.any(1))[0]
    assert np.array_equal(hand[top : top + 20], mask[top : top + 20])


def test_strangers_who_sign_nothing_show_an_open_hand_an_arm_or_an_empty_room():
    rng = np.random.default_rng(0)
    drawn = [draw_with_masks("nothing", rng, 96) for _ in range(60)]
    arms, hands = ([part[i].mean() for part in drawn] for i in (1, 2))
    assert 15 < np.count_nonzero(np.greater(hands, 0.05)) < 45
    assert any(arm > 0.05 and hand < 0.01 for arm, hand in zip(arms, hands))
    assert min(arms) == 0


@pytest.mark.parametrize("turns", [0, 1, 3])
def test_a_hand_cut_off_at_any_edge_gets_a_forearm_there(turns):
    picture = np.zeros((96, 96, 3), np.uint8)
    cv2.circle(picture, (48, 40), 28, (180, 140, 120), -1)
    picture[40:94, 34:64] = 180, 140, 120  # the wrist ends two pixels above the edge
    picture = np.ascontiguousarray(np.rot90(picture, -turns))
    mask = cut_out(picture)
    wrist = find_wrist(mask)
    assert wrist[0] == turns and abs(wrist[1] - 92) <= 2
    whole, cover = add_forearm(picture, mask, wrist, np.random.default_rng(1))
    inner = np.s_[ARM:-ARM, ARM:-ARM]
    added = np.rot90((cover > 127) & ~np.pad(mask > 127, ARM), turns)
    assert not added[: ARM + 90].any()  # nothing but below the wrist
    assert 20 < added[ARM + 110].sum() < 50 and added[-5].any()
    assert np.array_equal(whole[inner][mask > 250], picture[mask > 250])
    arm = np.rot90(whole, turns)[ARM + 96 : ARM + 99][added[ARM + 96 : ARM + 99]]
    assert np.abs(arm.mean(0) - (180, 140, 120)).max() < 60


def test_a_hand_in_the_middle_has_no_wrist_to_prolong():
    picture = np.zeros((96, 96, 3), np.uint8)
    cv2.circle(picture, (48, 48), 28, (180, 140, 120), -1)
    assert find_wrist(cut_out(picture)) is None


@pytest.fixture(scope="module")
def drawn():
    """``(N, 96, 96, 3)`` drawn images, labels and classes."""
    classes = ["B", "nothing", "Y"]
    rng = np.random.default_rng(0)
    images = [draw_image(name, rng, 96) for name in classes for _ in range(12)]
    return np.stack(images), np.repeat(np.arange(3), 12), classes


@pytest.mark.slow
def test_a_finder_trained_briefly_finds_hands_in_scenes_it_has_not_seen(drawn):
    behind = collect_backgrounds(*drawn, VIEW_SIZE, 0)
    finder = fit_finder(drawn[0], behind, 0, torch.device("cpu"), steps=250)
    scenes = Scenes(
        collect_hands(drawn[0], VIEW_SIZE, 9),
        collect_backgrounds(*drawn, VIEW_SIZE, 9),
        noise_pool(VIEW_SIZE, 9),
        9,
    )
    pictures, masks = scenes.batch(0, 64)
    with torch.inference_mode():
        found = finder(pictures.permute(0, 3, 1, 2).float())
    found, truth = found[:, 0] > 0, masks > 127
    overlap = (found & truth).sum() / (found | truth).sum()
    assert overlap > 0.4
    # the whole picture would score this much
    assert overlap > 3 * truth.float().mean()


def test_varied_views_keep_the_hand_and_replace_what_is_behind_it():
    rng = np.random.default_rng(3)
    view = np.dstack([photograph(48, 48, 24, 96), np.zeros((96, 96), np.uint8)])
    view[24:73, 24:73, 3] = 255
    before = view.copy()
    assert is_sure(view[..., 3]) and not is_sure(view[..., 3] // 2)
    backgrounds = np.full((1, 96, 96, 3), (0, 0, 255), np.uint8)
    vary, noise = VaryView(backgrounds), noise_pool(96, 0)
    varied = np.stack([vary(view, rng, noise) for _ in range(60)]).astype(int)
    assert np.array_equal(view, before)
    corner = varied[:, 2, 2]
    replaced = (corner[:, 2] > corner[:, 0] + 60).mean()
    assert 0.3 < replaced < 0.9
    middle = varied[:, 40:56, 40:56].mean((1, 2))
    assert (middle[:, 0] > middle[:, 2]).mean() > 0.8


def test_images_of_large_sources_and_classes_are_drawn_less_often():
    sources = ["small"] * 10 + ["large"] * 90
    labels = np.array([0, 1] * 50)
    assert draw_weights(sources, labels, 0.0) is None
    evenly = draw_weights(sources, labels, 1.0)
    assert evenly[:10].sum() == pytest.approx(evenly[10:].sum())
    half = draw_weights(sources, labels, 0.5)
    assert half[0] / half[-1] == pytest.approx(3.0)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hands")
    draw_dataset(folder / "raw", per_class=12, classes=["A", "B", "nothing"], workers=1)
    images = find_images([folder / "raw"]).images
    prepare(images, folder / "prepared", Options(Preprocessing(128)), 1)
    return folder


@pytest.mark.slow
def test_finder_and_classifier_become_one_graph_that_answers_as_torch(
    dataset, tmp_path
):
    choices = Choices(find_hand="auto", fast_dev_run=True, floors=False)
    out = tmp_path / "out"
    recipe = Recipe(batch_size=8, balance=0.5, max_minutes=5)
    train_dataset(dataset / "prepared", out, choices, recipe, {})
    assert json.loads((out / "evaluation.json").read_text())["find_hand"] == "yes"
    photo = str(dataset / "raw" / "A" / "A1.jpg")
    onnx, torch_ = (infer(out, [photo], runtime) for runtime in ("onnx", "torch"))
    assert np.abs(onnx - torch_).max() < 1e-4
    assert not list(out.glob(".views-*"))
    again = Choices(find_hand="yes", floors=False, resume=str(out), fast_dev_run=True)
    train_dataset(dataset / "prepared", tmp_path / "resumed", again, recipe, {})
    assert np.array_equal(infer(tmp_path / "resumed", [photo], "onnx"), onnx)
    with pytest.raises(InputError, match="lr"):
        train_dataset(
            dataset / "prepared", tmp_path / "b", again, replace(recipe, lr=1), {}
        )


def test_hands_are_sought_where_the_classes_are_hand_signs_and_images_large():
    auto, large, small = (
        Choices(find_hand="auto"),
        Preprocessing(128),
        Preprocessing(64),
    )
    assert decide_to_find(auto, ["A", "del"], large) == "yes"
    assert decide_to_find(auto, ["A", "del"], small) == "no"
    assert decide_to_find(auto, ["daisy", "rose"], large) == "no"
    assert decide_to_find(Choices(find_hand="yes"), ["rose"], large) == "yes"
    with pytest.raises(InputError, match="perhaps"):
        decide_to_find(Choices(find_hand="perhaps"), ["A"], large)


def test_a_new_view_starts_from_a_finder_that_is_frozen():
    view = HandView(HandFinder())
    train_mode(view)
    assert not view.finder.training
    assert not any(p.requires_grad for p in view.parameters())
