import os
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from sklearn.metrics import pairwise_distances

from data_prep.draw import draw_dataset, draw_image, image_rng
from data_prep.drawing.further_poses import FURTHER_POSES
from data_prep.drawing.hand_model import pose_hand, render
from data_prep.drawing.hand_poses import CLASSES, NOTHING, POSES
from data_prep.drawing.signers_poses import signers_poses
from data_prep.errors import InputError
from data_prep.paths import ROOT


def files(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*.jpg")}


def relief(letter, index, size=96):
    """Render one hand, filling the picture; its forearm leaves at an edge."""
    poses = POSES[letter], *FURTHER_POSES.get(letter, ())
    hand = pose_hand(poses[index % len(poses)], image_rng(7, letter, index))
    left, bottom, right, top = hand.bounds()
    scale = 0.8 * size / max(right - left, top - bottom)
    centre = (
        size / 2 - scale * (left + right) / 2,
        size / 2 + scale * (bottom + top) / 2,
    )
    return hand, render(hand, size, scale, centre)


def command(*args):
    return [sys.executable, "-m", "data_prep.draw", *map(str, args)]


def test_a_seed_gives_the_same_bytes_whatever_the_workers_and_classes(tmp_path):
    many = draw_dataset(tmp_path / "many", 30, 5, ["B", "A", "del"], 64, workers=2)
    few = draw_dataset(tmp_path / "few", 4, 5, ["del", "B"], 64, workers=1)
    many, few = files(many), files(few)
    assert len(many) == 90 and len(few) == 8
    assert all(many[name] == data for name, data in few.items())


def test_another_seed_gives_other_pictures(tmp_path):
    one = draw_dataset(tmp_path / "1", 3, 1, ["A"], 64, workers=1)
    two = draw_dataset(tmp_path / "2", 3, 2, ["A"], 64, workers=1)
    assert not set(files(one).values()) & set(files(two).values())


def test_every_class_is_there_in_full_and_named_as_kaggle_does(tmp_path):
    out = draw_dataset(tmp_path / "new" / "raw", 2, size=72, workers=1)
    found = sorted(str(name) for name in files(out))
    assert found == sorted(f"{c}/{c}{i}.jpg" for c in CLASSES for i in (1, 2))
    assert len(CLASSES) == 29
    for path in out.rglob("*.jpg"):
        assert cv2.imread(str(path)).shape == (72, 72, 3)
    assert os.listdir(tmp_path / "new") == ["raw"]


@pytest.mark.parametrize("letter", ["A", "nothing"])
def test_pictures_of_one_class_are_no_near_twins(letter):
    small = np.array(
        [
            cv2.resize(
                draw_image(letter, image_rng(0, letter, i), 96),
                (12, 12),
                interpolation=cv2.INTER_AREA,
            )
            for i in range(1, 25)
        ],
        float,
    )
    apart = np.abs(small[:, None] - small[None]).mean(axis=(2, 3, 4))
    assert apart[np.triu_indices(24, 1)].min() > 5


def test_hands_look_like_others_of_their_letter_rather_than_of_another():
    draws, learnt = 24, 16
    features = []
    for letter in POSES:
        for index in range(draws):
            _, shown = relief(letter, index)
            nearest = shown.depth.max() - shown.depth
            depth = np.where(shown.mask > 0, 1 - nearest / 96, -1)
            features.append(cv2.resize(depth, (16, 16), interpolation=cv2.INTER_AREA))
    features = np.reshape(features, (len(POSES), draws, -1))
    known, asked = features[:, :learnt], features[:, learnt:].reshape(-1, 256)
    away = pairwise_distances(asked, known.reshape(-1, 256))
    # the nearest one and not the mean: a letter has several poses
    right = away.argmin(axis=1) // learnt == np.repeat(
        range(len(POSES)), draws - learnt
    )
    assert right.mean() > 0.6  # by chance: 0.04


def test_it_is_a_right_hand_with_the_palm_to_the_viewer():
    for index in range(20):
        hand, _ = relief("L", index)
        thumb_tip, index_tip = hand.ends[-1, 1], hand.ends[11, 1]
        knuckles = hand.ends[[9, 12, 15, 18], 0]  # index to little finger
        along = index_tip - knuckles[0]
        across = thumb_tip - knuckles[0]
        # seen from the palm's side, from the index to the thumb is clockwise
        assert along[0] * across[1] - along[1] * across[0] < 0
        closed = hand.ends[[14, 17, 20], 1]  # the other fingertips, over the palm
        assert closed[:, 2].min() > hand.ends[2:6, :, 2].mean()


@pytest.mark.parametrize("letter", POSES)
def test_the_forearm_leaves_the_picture_and_the_hand_does_not(letter):
    for index in range(max(4, 1 + len(FURTHER_POSES.get(letter, ())))):
        _, shown = relief(letter, index)
        edges = shown.mask[0], shown.mask[-1], shown.mask[:, 0], shown.mask[:, -1]
        assert sum(edge.any() for edge in edges) in (1, 2)
        assert 0.1 < shown.mask.mean() < 0.8


def test_signers_hold_every_letter_in_several_ways_that_joints_allow():
    poses = signers_poses()
    assert set(poses) == set(CLASSES) - {NOTHING}
    for ways in poses.values():
        assert len(set(ways)) == len(ways) >= 5
        bends = np.array([way.fingers for way in ways])[..., :3]
        assert -30 <= bends.min() and bends.sum(-1).max() <= 312  # as rounded


def test_a_hand_stands_out_against_the_same_background_without_it():
    for letter in ("A", "W", "space"):
        empty = draw_image("nothing", image_rng(3, letter, 1), 96).astype(int)
        shown = draw_image(letter, image_rng(3, letter, 1), 96).astype(int)
        changed = (np.abs(empty - shown).max(axis=2) > 40).mean()
        assert 0.05 < changed < 0.95


def test_a_folder_with_something_in_it_is_refused_and_left_alone(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "mine.txt").write_text("precious")
    done = subprocess.run(
        command("--out", tmp_path / "raw", "--per-class", 1),
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and str(tmp_path / "raw") in done.stderr
    assert os.listdir(tmp_path) == ["raw"]
    assert os.listdir(tmp_path / "raw") == ["mine.txt"]


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "raw").mkdir()
    draw_dataset(tmp_path / "raw", 1, classes=["A"], size=64, workers=1)
    assert os.listdir(tmp_path / "raw") == ["A"]


@pytest.mark.parametrize(
    "bad, named",
    [
        ({"per_class": 0}, "per-class is 0"),
        ({"size": 8}, "size is 8"),
        ({"workers": 0}, "workers is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"classes": ["A", "Ä"]}, "classes has Ä"),
        ({"classes": []}, "classes has no entry"),
    ],
)
def test_unusable_arguments_are_named_and_nothing_is_written(tmp_path, bad, named):
    with pytest.raises(InputError, match=named) as caught:
        draw_dataset(tmp_path / "raw", **bad)
    assert "\n" not in str(caught.value)
    assert not os.listdir(tmp_path)


def test_a_parent_that_is_a_file_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file cannot be written to"):
        draw_dataset(tmp_path / "file" / "raw", 1)


def test_nothing_half_written_stays_after_ctrl_c(tmp_path):
    process = subprocess.Popen(
        command("--out", tmp_path / "raw", "--per-class", 5000, "--workers", 2),
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C goes to a whole group: workers too
    )
    try:
        until = time.monotonic() + 60
        while not next(tmp_path.rglob("*.jpg"), None):
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.poll() is None and os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130
    assert not os.listdir(tmp_path)
    assert "Traceback" not in errors
