"""A small prepared dataset that a network learns in seconds."""

import numpy as np

from data_prep import packed
from data_prep.preprocessing import FILE_NAME, Preprocessing

CLASSES = ["blue", "green", "red", "white"]
COLOURS = np.array([[40, 60, 200], [40, 170, 60], [200, 50, 40], [230, 230, 230]])


def coloured_images(rng, labels, size):
    """Noisy discs of a colour per class, ``(N, size, size, 3)`` uint8."""
    y, x = np.mgrid[:size, :size]
    images = rng.integers(60, 140, (len(labels), size, size, 3))
    for image, label in zip(images, labels):
        centre, radius = rng.uniform(0.35, 0.65, 2) * size, rng.uniform(0.2, 0.3) * size
        disc = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2
        image[disc] = COLOURS[label] + rng.integers(-20, 20, (disc.sum(), 3))
    return np.clip(images, 0, 255).astype(np.uint8)


def write_dataset(folder, size=32, classes=4, train=96):
    rng = np.random.default_rng(5)
    folder.mkdir()
    rows = []
    for split, count in (("train", train), ("val", 16), ("test", 24)):
        labels = np.arange(count) % classes
        images = coloured_images(rng, labels, size)
        packed.write_split(folder / split, (i.tobytes() for i in images), labels, size)
        rows += [
            packed.ManifestRow(
                f"raw/{CLASSES[label]}/{split}{i}.png",
                CLASSES[label],
                "left" if i % 2 else "right",
                "0" * 64,
                "0" * 16,
                f"{split}{i}",
                split,
            )
            for i, label in enumerate(labels)
        ]
    packed.write_classes(folder, CLASSES[:classes])
    packed.write_manifest(folder, rows)
    Preprocessing(image_size=size).save(folder / FILE_NAME)
    return folder
