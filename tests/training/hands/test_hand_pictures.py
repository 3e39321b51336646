"""Pictures of hands, as the network that sees pixels gets them."""

import numpy as np
import pytest
import torch
from hand_photographs import photograph

from training.augment import noise_pool
from training.hands.pictures import EvenLight, augment_picture, inner, to_batch
from training.hands.reader import MARGIN, PICTURE_SIZE

SIDE = PICTURE_SIZE + 2 * MARGIN


@pytest.fixture(scope="module")
def picture():
    return np.ascontiguousarray(photograph("L", 1)[60 : 60 + SIDE, 60 : 60 + SIDE])


def test_varied_pictures_have_the_size_without_margin_and_differ(picture):
    rng, noise = np.random.default_rng(0), noise_pool(SIDE, 0)
    before = picture.copy()
    varied = [augment_picture(picture, rng, noise) for _ in range(8)]
    assert np.array_equal(picture, before)
    for one in varied:
        assert one.shape == (PICTURE_SIZE, PICTURE_SIZE, 3) and one.dtype == np.uint8
    assert len({one.tobytes() for one in varied}) == 8


def test_variation_grows_with_its_strength(picture):
    noise, plain = noise_pool(SIDE, 0), inner(picture).astype(float)
    changes = []
    for strength in (0.0, 0.3, 1.0):
        rng = np.random.default_rng(1)
        varied = [augment_picture(picture, rng, noise, strength) for _ in range(12)]
        changes.append(np.mean([np.abs(one - plain).mean() for one in varied]))
    assert changes[0] == 0
    assert 3 < changes[1] < changes[2]


def test_pictures_are_mirrored_only_where_flip_says_so(picture):
    noise = noise_pool(SIDE, 0)
    # a picture of which the left half is dark
    halves = np.zeros_like(picture)
    halves[:, SIDE // 2 :] = 200

    def mirrored(flip):
        rng = np.random.default_rng(2)
        varied = [augment_picture(halves, rng, noise, 0.2, flip) for _ in range(40)]
        return np.mean([v[:, :30].mean() > v[:, -30:].mean() for v in varied])

    assert mirrored(False) == 0
    assert 0.2 < mirrored(True) < 0.8


def test_the_reader_and_the_files_lose_the_same_margin(picture):
    from_reader = torch.from_numpy(picture).permute(2, 0, 1)[None]
    assert np.array_equal(to_batch(from_reader)[0], inner(picture))
    assert np.array_equal(inner(picture), picture[MARGIN:-MARGIN, MARGIN:-MARGIN])


def test_even_light_makes_dark_and_bright_pictures_alike(picture):
    x = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 64
    even = EvenLight()
    torch.testing.assert_close(even(x + 0.7), even(x), atol=1e-4, rtol=0)
    assert (even(0.5 * x) - even(x)).abs().mean() < 0.25 * even(x).abs().mean()
    flat = torch.full_like(x, 1.5)
    assert even(flat).abs().max() < 1e-3  # nothing to see, and no division by nothing
