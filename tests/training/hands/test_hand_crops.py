"""Turned squares: where points and pixels go, and how hands turn them."""

import math

import numpy as np
import pytest
import torch

from training.hands.crops import cut, square, to_photograph, turn_between
from training.hands.landmarks import square_around

SIZE = 64


def one_square(x, y, side, turn):
    return square(
        torch.tensor([[x, y]]), torch.tensor([side]), torch.tensor([float(turn)])
    )


def brightest(picture):
    """Column and row of the brightest pixel of ``(1, 1, S, S)``."""
    row, column = np.unravel_index(int(picture[0, 0].argmax()), picture.shape[2:])
    return int(column), int(row)


@pytest.mark.parametrize("turn", [0.0, 0.7, math.pi / 2, -2.5, math.pi])
@pytest.mark.parametrize("column, row", [(30, 20), (41, 44), (25, 33)])
def test_a_marked_pixel_of_a_cut_square_comes_back_to_its_place(turn, column, row):
    photograph = torch.zeros(1, 1, SIZE, SIZE)
    photograph[0, 0, row, column] = 1
    place = one_square(0.53, 0.49, 0.7, turn)
    found = brightest(cut(photograph, place, 4 * SIZE))
    inside = (torch.tensor(found, dtype=torch.float32) + 0.5) / (4 * SIZE) - 0.5
    back = to_photograph(place, inside[None, None])[0, 0] * SIZE - 0.5
    assert back.tolist() == pytest.approx([column, row], abs=0.3)


def test_a_turn_of_a_quarter_brings_what_points_to_the_right_upright():
    base, right = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.8, 0.5]])
    above = torch.tensor([[0.5, 0.2]])
    assert turn_between(base, above).item() == pytest.approx(0)
    turn = turn_between(base, right).item()
    assert turn == pytest.approx(math.pi / 2)
    photograph = torch.zeros(1, 1, SIZE, SIZE)
    photograph[0, 0, SIZE // 2, SIZE - 10] = 1
    column, row = brightest(cut(photograph, one_square(0.5, 0.5, 1.0, turn), SIZE))
    assert abs(column - SIZE / 2) <= 1 and row < 12


def test_squares_are_cut_as_grid_sample_does():
    generator = torch.Generator().manual_seed(1)
    photographs = torch.rand(2, 3, SIZE, SIZE, generator=generator)
    places = torch.tensor([[0.4, 0.6, 0.5, 0.8], [0.7, 0.1, 1.3, -2.0]])
    steps = (torch.arange(50) + 0.5) / 50 - 0.5
    corners = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), 2)
    where = to_photograph(places, corners.reshape(1, -1, 2).expand(2, -1, -1))
    expected = torch.nn.functional.grid_sample(
        photographs,
        2 * where.reshape(2, 50, 50, 2) - 1,
        padding_mode="border",
        align_corners=False,
    )
    torch.testing.assert_close(cut(photographs, places, 50), expected)


def test_the_mirror_image_is_cut_of_those_squares_of_which_it_is_wanted():
    generator = torch.Generator().manual_seed(0)
    photograph = torch.rand(1, 3, SIZE, SIZE, generator=generator).expand(2, -1, -1, -1)
    places = one_square(0.45, 0.6, 0.5, 0.4).expand(2, -1)
    plain, mirrored = cut(photograph, places, 40, torch.tensor([[1.0], [-1.0]]))
    torch.testing.assert_close(mirrored.flip(2), plain, atol=1e-5, rtol=0)
    assert (mirrored - plain).abs().mean() > 0.05


def test_beyond_the_edges_the_last_pixels_are_repeated():
    photograph = torch.arange(SIZE, dtype=torch.float32).expand(1, 1, SIZE, SIZE)
    twice = cut(photograph, one_square(0.5, 0.5, 2.0, 0), SIZE)[0, 0]
    assert (twice[:, : SIZE // 4] == 0).all()
    assert (twice[:, -SIZE // 4 :] == SIZE - 1).all()


def hand_points(seed):
    """21 points of an upright hand: wrist below, knuckles above it."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(0.35, 0.65, (1, 21, 2)).astype(np.float32)
    points[:, 0] = 0.5, 0.8
    return torch.from_numpy(points)


@pytest.mark.parametrize("angle", [0.4, 1.5, -2.0])
def test_the_square_around_a_hand_turns_with_it(angle):
    points = hand_points(1)
    middle = torch.tensor([0.5, 0.5])
    turned = to_photograph(one_square(0.5, 0.5, 1.0, angle), points - middle)
    before, after = square_around(points)[0], square_around(turned)[0]
    centre = to_photograph(
        one_square(0.5, 0.5, 1.0, angle), (before[:2] - middle)[None, None]
    )
    torch.testing.assert_close(after[:2], centre[0, 0])
    torch.testing.assert_close(after[2], before[2])
    assert math.remainder(float(after[3] - before[3]) - angle, 2 * math.pi) == (
        pytest.approx(0, abs=1e-5)
    )


def test_the_square_around_a_mirrored_hand_is_the_mirrored_square():
    points = hand_points(2)
    mirrored = points * torch.tensor([-1.0, 1.0]) + torch.tensor([1.0, 0.0])
    before, after = square_around(points)[0], square_around(mirrored)[0]
    expected = [1 - before[0].item(), before[1].item(), before[2].item()]
    assert after[:3].tolist() == pytest.approx(expected, abs=1e-5)
    assert math.remainder(float(after[3] + before[3]), 2 * math.pi) == (
        pytest.approx(0, abs=1e-5)
    )
