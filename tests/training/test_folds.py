"""Cross-validation: each photograph is tested once, on a network that never saw it."""

import numpy as np
import pytest
from coloured_data import CLASSES, coloured_images

from benchmarks import folds
from data_prep import packed
from data_prep.preprocessing import FILE_NAME, Preprocessing
from training.config import RunConfig, TrainConfig

COUNT, SIZE = 72, 32


@pytest.fixture
def whole(tmp_path):
    """A prepared folder whose training split is all there is; two images a group."""
    folder = tmp_path / "whole"
    folder.mkdir()
    labels = np.arange(COUNT) // 2 % len(CLASSES)
    images = coloured_images(np.random.default_rng(2), labels, SIZE)
    packed.write_split(folder / "train", (i.tobytes() for i in images), labels, SIZE)
    rows = [
        packed.ManifestRow(
            path=f"raw/{CLASSES[y]}/{i}.png",
            label=CLASSES[y],
            source="raw",
            sha256="0" * 64,
            phash="0" * 16,
            group=f"group{i // 2}",
            split="train",
        )
        for i, y in enumerate(labels)
    ]
    packed.write_manifest(folder, rows)
    packed.write_classes(folder, CLASSES)
    Preprocessing(image_size=SIZE).save(folder / FILE_NAME)
    return folder


def test_every_photograph_is_tested_once_and_groups_stay_together(
    whole, tmp_path, monkeypatch, capsys
):
    parts = []
    train = folds.train_fold

    def noting(learner, labels, rows, *rest):
        parts.append(rows)
        return train(learner, labels, rows, *rest)

    monkeypatch.setattr(folds, "train_fold", noting)
    configs = RunConfig("baseline_cnn"), TrainConfig(epochs=8, batch_size=8, lr=0.01)

    results = folds.measure(whole, 3, [1, 2, 3], (80, 20), configs, tmp_path)

    tested = np.concatenate([test for _, _, test in parts])
    assert sorted(tested.tolist()) == list(range(COUNT))
    for taught, chosen_by, test in parts:
        groups = [set(rows // 2) for rows in (taught, chosen_by, test)]
        assert not groups[0] & groups[2] and not groups[1] & (groups[0] | groups[2])
        assert len(taught) + len(chosen_by) + len(test) == COUNT
    assert sum(fold.images for fold in results) == COUNT
    mean = sum(fold.accuracy for fold in results) / 3
    assert mean > 0.5 > 1 / len(CLASSES)  # they have learned
    assert f"3 folds: mean {100 * mean:.2f} %" in folds.summary(results)
    assert capsys.readouterr().out.count("of one core's time") == 3
