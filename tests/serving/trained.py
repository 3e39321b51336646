"""Trainings as ClearML holds them after training.train, without torch. A program:

    python trained.py RAW_FOLDER WORK_FOLDER

Prepares the photographs, answers the test split with networks of one layer, and prints
the ids of the training tasks as JSON: "good"; "tampered", whose recorded answers are
not those of its graph; "newer", whose graph wants a newer runtime than servers have.
"""

import json
import sys
from pathlib import Path

import numpy as np
from matrix_model import infer
from tiny_model import make_artifacts, make_newer_artifacts

from data_prep import packed, preparation, preprocessing
from data_prep.sources import find_images
from pipelines import tracking
from pipelines.tracking.connection import ensure_clearml
from pipelines.tracking.datasets import PROJECT

IMAGE_SIZE = 32


def main(raw: Path, work: Path) -> dict[str, str]:
    ensure_clearml()
    raw_id = tracking.register_raw({raw.name: raw})
    pixels = preprocessing.Preprocessing(IMAGE_SIZE)
    options = preparation.Options(pixels)
    folder = work / "prepared"
    preparation.prepare(find_images([raw]).images, folder, options, workers=1)
    prepared_id = tracking.upload_prepared(folder)
    complete(
        "prepare", "data_processing", {"dataset_id": prepared_id}, dataset_id=raw_id
    )

    good = make_artifacts(work / "good", IMAGE_SIZE, tuple(packed.read_classes(folder)))
    images, _ = packed.load_split(folder, "test")
    answers = infer(good, np.array(images))
    outputs = {"dataset_id": prepared_id, "accuracy": "0.5"}
    ids = {"good": complete("train", "training", outputs, good, answers)}
    tampered = np.roll(answers, 1, axis=1)
    ids["tampered"] = complete("train", "training", outputs, good, tampered)
    newer = make_newer_artifacts(work / "newer")
    ids["newer"] = complete("train", "training", outputs, newer, answers)
    return ids


def complete(
    name: str,
    kind: str,
    outputs: dict[str, str],
    artifacts: Path | None = None,
    answers: np.ndarray | None = None,
    **arguments: str,
) -> str:
    """Leave a completed task with these outputs, options and artifacts."""
    from clearml import Task

    task = Task.create(PROJECT, name, task_type=kind)
    task.mark_started()
    task.output_uri = True
    for key, value in outputs.items():
        task.set_parameter(f"Outputs/{key}", value)
    for key, value in arguments.items():
        task.set_parameter(f"Args/{key}", value)
    if artifacts is not None:
        np.save(artifacts / "test_probabilities.npy", answers)
        for path in artifacts.glob("*.*"):
            task.upload_artifact(path.name, path, wait_on_upload=True)
    task.mark_completed()
    return task.id


if __name__ == "__main__":
    print(json.dumps(main(*map(Path, sys.argv[1:]))))
