"""The one test set on which all candidates are measured.

A training on the same dataset has left its answers to that test split; any other is
asked again with its ONNX file, about the pixels that its own preprocessing makes of
the same photographs.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from data_prep import packed, preprocessing
from data_prep.errors import InputError
from data_prep.image_file import BrokenImage
from data_prep.preprocessing import Preprocessing
from data_prep.splitting.grouping import count_near
from pipelines.tracking import dataset_copies
from pipelines.tracking.trainings import artifact, raw_dataset
from training.graph import onnx_predict, read_external, split_method
from training.reports import EVALUATION, GRAPH_FILE, TEST_PROBABILITIES


class ComparisonSet:
    """A prepared dataset's test split, and other people's photographs.

    Attributes:
        dataset_id: Of the prepared ClearML Dataset.
        external: Raw folders of other people's photographs; () for none.
        classes: Names, in the order of the labels.
        split_method: How its images were divided, such as "group".
        labels: ``(N,)`` int64, the truth of the test split.
    """

    def __init__(self, dataset_id: str, external: tuple[str, ...] = ()):
        """Fetch the dataset.

        Raises:
            InputError: There is no such dataset, or an external folder is no use.
        """
        self.dataset_id = dataset_id
        self.external = external
        self._folder = dataset_copies.local_copy(dataset_id)
        self.classes = packed.read_classes(self._folder)
        self._images, self.labels = packed.load_split(self._folder, "test")
        rows = packed.read_manifest(self._folder)
        self._rows = [row for row in rows if row.split == "test"]
        self._rule = pixel_rule(self._folder / preprocessing.FILE_NAME)
        self.split_method = split_method(self._folder)
        self._known_outside: dict[tuple[str, Preprocessing], tuple] = {}
        self._known_pixels = {self._rule: self._images}
        for folder in external:
            self._outside(folder, self._rule)

    def ask(self, training) -> np.ndarray:
        """Give the class that a training's model names for each test photograph.

        Returns:
            ``(N,)`` int64.

        Raises:
            InputError: Its files or the photographs cannot be had.
        """
        if self._is_of(training) and TEST_PROBABILITIES in training.artifacts:
            known = np.load(artifact(training, TEST_PROBABILITIES))
            if len(known) == len(self.labels):  # a trial run answered a part only
                return known.argmax(1)
        pixels = self._pixels(_pixel_rule(training))
        return onnx_predict(artifact(training, GRAPH_FILE), pixels).argmax(1)

    def seen_by(self, training) -> np.ndarray:
        """Which test photographs a model was trained on, or on twins of: bool ``(N,)``.

        A twin shows the same class in nearly the same way (data_prep.splitting).

        Raises:
            InputError: Its dataset is gone.
        """
        if self._is_of(training):
            return np.zeros(len(self.labels), bool)
        dataset_id = training.get_parameter("Outputs/dataset_id")
        folder = dataset_copies.local_copy(dataset_id)
        rows = packed.read_manifest(folder)
        return seen(self._rows, [row for row in rows if row.split != "test"])

    def external_right(self, training) -> np.ndarray | None:
        """Which external photographs a model names rightly: bool ``(M,)``; or None.

        Raises:
            InputError: Its files cannot be had, or a folder is no use.
        """
        if not self.external:
            return None
        right = []
        graph = artifact(training, GRAPH_FILE)
        for folder in self.external:
            pixels, labels = self._outside(folder, _pixel_rule(training))
            right.append(onnx_predict(graph, pixels).argmax(1) == labels)
        return np.concatenate(right)

    def _is_of(self, training) -> bool:
        return training.get_parameter("Outputs/dataset_id") == self.dataset_id

    def _outside(self, folder: str, rule: Preprocessing) -> tuple:
        """As `read_external`; each folder is read once."""
        known = self._known_outside
        if (folder, rule) not in known:
            known[folder, rule] = read_external(folder, rule, self.classes)
        return known[folder, rule]

    def _pixels(self, rule: Preprocessing) -> np.ndarray:
        """The test photographs as ``(N, S, S, 3)`` uint8, by any preprocessing."""
        if rule not in self._known_pixels:
            self._known_pixels[rule] = self._read_pixels(rule)
        return self._known_pixels[rule]

    def _read_pixels(self, rule: Preprocessing) -> np.ndarray:
        raw = raw_dataset(self.dataset_id)
        if not raw:
            raise InputError(
                f"it takes images of {_looks(rule)}, and dataset {self.dataset_id}, of "
                f"{_looks(self._rule)}, was not prepared from a registered raw Dataset"
            )
        found = {i.path: i for i in dataset_copies.find_raw(None, raw).images}
        size = rule.image_size
        pixels = np.empty((len(self._rows), size, size, 3), np.uint8)
        try:
            for i, row in enumerate(self._rows):
                pixels[i] = rule.apply(found[row.path].read())
        except (KeyError, BrokenImage) as error:
            raise InputError(f"raw Dataset {raw} lacks photographs: {error}") from None
        return pixels


def seen(rows: list[packed.ManifestRow], used: list[packed.ManifestRow]) -> np.ndarray:
    """Which images are among others, or have a twin among them: bool ``(N,)``."""
    bytes_used = {row.sha256 for row in used}
    result = np.array([row.sha256 in bytes_used for row in rows], bool)
    for label in {row.label for row in rows}:
        here = np.flatnonzero([row.label == label for row in rows])
        others = _hashes([row for row in used if row.label == label])
        result[here] |= count_near(_hashes([rows[i] for i in here]), others) > 0
    return result


def _hashes(rows: list[packed.ManifestRow]) -> np.ndarray:
    return np.array([int(row.phash, 16) for row in rows], np.uint64)


def evaluation_of(training) -> dict:
    """What a training left in evaluation.json.

    Raises:
        InputError: It cannot be had.
    """
    return json.loads(artifact(training, EVALUATION).read_text(encoding="utf-8"))


def held_out_accuracies(evaluation: dict) -> dict[str, float]:
    """Accuracy by source that was left out of the training; {} where not measured."""
    found = evaluation.get("held_out_signers") or {}
    return {name: each["accuracy"] for name, each in found.get("sources", {}).items()}


def pixel_rule(file: Path) -> Preprocessing:
    """Read a record, leaving out what is done to the pixels inside the graph."""
    plain = Preprocessing()
    return replace(Preprocessing.load(file), mean=plain.mean, std=plain.std)


def _pixel_rule(training) -> Preprocessing:
    return pixel_rule(artifact(training, preprocessing.FILE_NAME))


def _looks(rule: Preprocessing) -> str:
    return f"{rule.image_size} px ({rule.resize_mode})"
