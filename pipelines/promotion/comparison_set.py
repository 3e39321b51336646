"""The one test set on which all candidates are measured.

A training on the same dataset has left its answers to that test split; any other is
asked again with its ONNX file, about the pixels that its own preprocessing makes of
the same photographs.
"""

import functools
from dataclasses import replace
from pathlib import Path

import numpy as np

from data_prep import packed, preprocessing, registry
from data_prep.errors import InputError
from data_prep.preprocessing import BrokenImage, Preprocessing
from pipelines.tracking.trainings import artifact, raw_dataset
from training.graph import answer, read_external

ANSWERS = "test_probabilities.npy"  # of a training, to its own test split


class Yardstick:
    """A prepared dataset's test split, and other people's photographs.

    Attributes:
        dataset_id: Of the prepared ClearML Dataset.
        external: Raw folders of other people's photographs; () for none.
        classes: Names, in the order of the labels.
        labels: ``(N,)`` int64, the truth of the test split.
    """

    def __init__(self, dataset_id: str, external: tuple[str, ...] = ()):
        """Fetch the dataset.

        Raises:
            InputError: There is no such dataset, or an external folder is no use.
        """
        self.dataset_id = dataset_id
        self.external = external
        self._folder = registry.local_copy(dataset_id, registry.PREPARED)
        self.classes = packed.read_classes(self._folder)
        self._images, self.labels = packed.load_split(self._folder, "test")
        rows = packed.read_manifest(self._folder)
        self._rows = [row for row in rows if row.split == "test"]
        self._rule = pixel_rule(self._folder / preprocessing.FILE_NAME)
        for folder in external:
            self._outside(folder, self._rule)

    def ask(self, training) -> np.ndarray:
        """Give the class that a training's model names for each test photograph.

        Returns:
            ``(N,)`` int64.

        Raises:
            InputError: Its files or the photographs cannot be had.
        """
        if self._is_of(training) and ANSWERS in training.artifacts:
            known = np.load(artifact(training, ANSWERS))
            if len(known) == len(self.labels):  # a trial run answered a part only
                return known.argmax(1)
        pixels = self._pixels(_pixel_rule(training))
        return answer(artifact(training, "model.onnx"), pixels).argmax(1)

    def seen_by(self, training) -> np.ndarray:
        """Which test photographs were used to train the model: bool ``(N,)``.

        Raises:
            InputError: Its dataset is gone.
        """
        if self._is_of(training):
            return np.zeros(len(self.labels), bool)
        dataset_id = training.get_parameter("Outputs/dataset_id")
        folder = registry.local_copy(dataset_id, registry.PREPARED)
        rows = packed.read_manifest(folder)
        used = {row.sha256 for row in rows if row.split != "test"}
        return np.array([row.sha256 in used for row in self._rows])

    def external_accuracy(self, training) -> float | None:
        """Share of the external photographs that a model gets right; None without.

        Raises:
            InputError: Its files cannot be had, or a folder is no use.
        """
        if not self.external:
            return None
        right, images = 0, 0
        graph = artifact(training, "model.onnx")
        for folder in self.external:
            pixels, labels = self._outside(folder, _pixel_rule(training))
            right += int((answer(graph, pixels).argmax(1) == labels).sum())
            images += len(labels)
        return right / images

    def _is_of(self, training) -> bool:
        return training.get_parameter("Outputs/dataset_id") == self.dataset_id

    @functools.cache
    def _outside(self, folder: str, rule: Preprocessing):
        return read_external(folder, rule, self.classes)

    @functools.cache
    def _pixels(self, rule: Preprocessing) -> np.ndarray:
        """The test photographs as ``(N, S, S, 3)`` uint8, by any preprocessing."""
        if rule == self._rule:
            return self._images
        raw = raw_dataset(self.dataset_id)
        if not raw:
            raise InputError(
                f"it takes images of {_looks(rule)}, and dataset {self.dataset_id}, of "
                f"{_looks(self._rule)}, was not prepared from a registered raw Dataset"
            )
        found = {i.path: i for i in registry.find_raw(None, raw).images}
        size = rule.image_size
        pixels = np.empty((len(self._rows), size, size, 3), np.uint8)
        try:
            for i, row in enumerate(self._rows):
                pixels[i] = rule.apply(found[row.path].read())
        except (KeyError, BrokenImage) as error:
            raise InputError(f"raw Dataset {raw} lacks photographs: {error}") from None
        return pixels


def pixel_rule(file: Path) -> Preprocessing:
    """Read a record, leaving out what is done to the pixels inside the graph."""
    plain = Preprocessing()
    return replace(Preprocessing.load(file), mean=plain.mean, std=plain.std)


def _pixel_rule(training) -> Preprocessing:
    return pixel_rule(artifact(training, preprocessing.FILE_NAME))


def _looks(rule: Preprocessing) -> str:
    return f"{rule.image_size} px ({rule.resize_mode})"
