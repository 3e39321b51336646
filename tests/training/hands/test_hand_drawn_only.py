"""What who has no photograph gets: a model of drawn hands that reads real ones.

Some of its bent hands are held as the signer of asl_alphabet held theirs
(data_prep/drawing/signers_poses.py); the users of asl_webcams are strangers.
"""

import os
from pathlib import Path

import numpy as np
import pytest

from data_prep import packed, preparation
from data_prep.draw import draw_dataset
from data_prep.preprocessing import Preprocessing
from data_prep.sources import find_images
from data_prep.splitting.methods import SplitOptions
from pipelines.orchestration import presets
from pipelines.quickstart import SAMPLE_TRAINING, SAMPLES_PER_CLASS
from training.config import RunConfig, TrainConfig
from training.graph import onnx_predict
from training.run import train_dataset

LEAST = {"asl_alphabet": 0.80, "asl_webcams": 0.70}
EACH = 4  # photographs a class and person


@pytest.mark.slow
@pytest.mark.campaign
@pytest.mark.real_data
@pytest.mark.timeout(900)
def test_a_model_of_drawn_hands_alone_reads_hands_on_real_photographs(tmp_path):
    data = Path(os.environ.get("ASL_TEST_DATA", "missing"))
    for name in LEAST:
        if not (data / name).is_dir():
            pytest.skip(f"no {name} in ASL_TEST_DATA")
    raw = draw_dataset(tmp_path / "raw", SAMPLES_PER_CLASS)
    record = Preprocessing(image_size=256, resize_mode="letterbox")
    dataset = tmp_path / "prepared"
    preparation.prepare(
        find_images([raw]).images,
        dataset,
        preparation.Options(record, SplitOptions()),
        workers=2,
    )
    options = presets.load("asl").settings["train"] | SAMPLE_TRAINING
    train_config = TrainConfig(
        epochs=2,
        lr=float(options["lr"]),
        ema=float(options["ema"]),
        balance=float(options["balance"]),
    )
    run_config = RunConfig(find_hand=options["find_hand"], skip_baselines=True)
    train_dataset(dataset, tmp_path / "run", run_config, train_config, {})

    record = Preprocessing.load(tmp_path / "run" / "preprocessing.json")
    classes = packed.read_classes(tmp_path / "run")
    for name, least in LEAST.items():
        photographs = sample(find_images([data / name]).images)
        pixels = np.stack([record.apply(image.read()) for image in photographs])
        answers = onnx_predict(tmp_path / "run" / "model.onnx", pixels).argmax(1)
        right = [classes[a] == i.label for a, i in zip(answers, photographs)]
        sources = np.array([image.source for image in photographs])
        each = [np.mean(np.array(right)[sources == one]) for one in np.unique(sources)]
        assert np.mean(each) >= least, f"{name}: {np.mean(each):.3f}"


def sample(images):
    """EACH photographs a class and person, spread over what there are."""
    groups = {}
    for image in images:
        groups.setdefault((image.source, image.label), []).append(image)
    return [
        group[i]
        for group in groups.values()
        for i in np.linspace(0, len(group) - 1, min(EACH, len(group))).astype(int)
    ]
