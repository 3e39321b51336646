import itertools
import multiprocessing
import os
import pickle

import numpy as np
import pytest
import torch

from training.augment import augment, noise_pool
from training.loader import TrainBatches, in_advance, processes_in_advance

CPU = torch.device("cpu")


def a_scene(size=64):
    """A dark room with a bright right angle: the corner tells left from right."""
    image = np.full((size, size, 3), 30, np.uint8)
    image[16:48, 20:26] = 220
    image[42:48, 20:44] = 220
    return image


def test_augmentation_leaves_its_input_unchanged_and_keeps_shape_and_dtype():
    image = a_scene()
    before = image.copy()
    result = augment(image, np.random.default_rng(0), noise_pool(64, 0))
    assert (image == before).all()
    assert result.shape == image.shape and result.dtype == np.uint8
    assert (result != image).any()


def test_augmentation_never_mirrors_a_hand():
    """Averaged over many draws, the result resembles the scene, not its mirror."""
    image, noise = a_scene(), noise_pool(64, 0)
    rng = np.random.default_rng(1)
    mean = np.mean([augment(image, rng, noise) for _ in range(200)], axis=0)
    flat = (mean - mean.mean()).ravel()
    straight = np.dot(flat, (image - image.mean()).ravel())
    mirrored = np.dot(flat, (image[:, ::-1] - image.mean()).ravel())
    assert straight > 1.2 * mirrored


def an_epoch(batches, number):
    return list(itertools.islice(batches.from_epoch(number, CPU), len(batches)))


def test_a_batch_depends_only_on_seed_epoch_and_number():
    rng = np.random.default_rng(2)
    images = rng.integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    labels = np.arange(40)
    endless = TrainBatches(images, labels, 8, seed=3).from_epoch(4, CPU)
    whole = list(itertools.islice(endless, 10))[5:]
    again = an_epoch(TrainBatches(images, labels, 8, seed=3), 5)
    other = an_epoch(TrainBatches(images, labels, 8, seed=4), 5)
    for (x, y), (x2, y2) in zip(whole, again, strict=True):
        assert (x == x2).all() and (y == y2).all()
    assert any((x != x2).any() for (x, _), (x2, _) in zip(whole, other))
    assert sorted(np.concatenate([y for _, y in whole])) == list(range(40))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["array", "file"])
def test_processes_make_the_same_batches_in_order_and_end_quietly(
    tmp_path, capfd, kind
):
    rng = np.random.default_rng(2)
    images = rng.integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    if kind == "file":
        np.save(tmp_path / "images.npy", images)
        images = np.load(tmp_path / "images.npy", mmap_mode="r")
    batches = TrainBatches(images, np.arange(40), 8, seed=3, strength=0.5)
    assert (len(pickle.dumps(batches)) < images.nbytes) == (kind == "file")
    made = in_advance(batches.make, batches.plan(0), 2)
    alone = batches.from_epoch(0, CPU)
    for _ in range(12):  # more than two epochs
        (x, y), (x2, y2) = next(made), next(alone)
        assert (x == x2).all() and (y == y2).all()
    assert len(multiprocessing.active_children()) == 2
    made.close()
    assert not multiprocessing.active_children()
    assert not capfd.readouterr().err


def test_small_shared_memory_means_fewer_processes():
    gpu = torch.device("cuda")
    few = processes_in_advance(gpu, 1000)
    assert 1 <= few <= len(os.sched_getaffinity(0))
    assert processes_in_advance(gpu, 10**15) == 0


def test_a_split_smaller_than_a_batch_is_one_batch():
    images = np.zeros((3, 16, 16, 3), np.uint8)
    batches = an_epoch(TrainBatches(images, np.arange(3), 64, seed=0), 0)
    assert [len(y) for _, y in batches] == [3]
