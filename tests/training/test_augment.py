import numpy as np

from training.augment import augment, noise_pool
from training.loader import TrainBatches


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


def test_a_batch_depends_only_on_seed_epoch_and_number():
    rng = np.random.default_rng(2)
    images = rng.integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    labels = np.arange(40)
    whole = list(TrainBatches(images, labels, 8, seed=3).epoch(5))
    again = list(TrainBatches(images, labels, 8, seed=3, threads=2).epoch(5))
    other = list(TrainBatches(images, labels, 8, seed=4).epoch(5))
    assert len(whole) == 5
    for (x, y), (x2, y2) in zip(whole, again):
        assert (x == x2).all() and (y == y2).all()
    assert any((x != x2).any() for (x, _), (x2, _) in zip(whole, other))
    assert sorted(np.concatenate([y for _, y in whole])) == list(range(40))


def test_a_split_smaller_than_a_batch_is_one_batch():
    images = np.zeros((3, 16, 16, 3), np.uint8)
    batches = list(TrainBatches(images, np.arange(3), 64, seed=0).epoch(0))
    assert [len(y) for _, y in batches] == [3]
