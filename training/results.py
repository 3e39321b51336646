"""What a training leaves: the graph that is served, scores and pictures."""

import functools
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from data_prep import packed, preprocessing
from training import reports
from training.config import RunConfig, TrainConfig
from training.data import Data, Views
from training.evaluate import evaluate, score_slice, slice_rows
from training.export import export_onnx, golden_inputs
from training.golden import RAW_GOLDEN_FILE, write_raw_golden
from training.graph import describe_split, onnx_predict
from training.hands.model import HandModel, Letters
from training.hands.reader_graph import reader_graph
from training.hands.readings import read_photographs
from training.loop import predict
from training.network import Classifier
from training.pictures import plot_confusion, plot_curves, plot_predictions
from training.quantize import quantize

PICTURES = ("curves.png", *reports.PICTURES)


@dataclass(frozen=True)
class Exported:
    """A graph that was written, and how to ask what it holds.

    Attributes:
        predict: Probabilities ``(N, classes)`` of uint8 photographs.
        test_probabilities: Those of the test split.
        int8: Outcome of the quantisation; None where it was not asked for.
    """

    predict: Callable[[np.ndarray], np.ndarray]
    test_probabilities: np.ndarray
    int8: dict | None

    @property
    def precision(self) -> str:
        return "int8" if self.int8 and self.int8["kept"] else "float32"


def export(
    classifier: Classifier,
    data: Data,
    views: Views,
    out: Path,
    run_config: RunConfig,
    train_config: TrainConfig,
    metadata: dict[str, str],
) -> Exported:
    """Write the graph that is served, and what is needed to use and check it."""
    images, labels = data.splits["test"]
    shutil.copyfile(data.folder / packed.CLASSES_FILE, out / packed.CLASSES_FILE)
    data.record.save(out / preprocessing.FILE_NAME)
    golden, graph = golden_inputs(images, labels), out / reports.GRAPH_FILE
    letters = views.hands.save(classifier, out) if views.hands else None
    model = HandModel.load(letters, run_config.hand_networks) if letters else classifier
    expected = export_onnx(model, graph, golden, metadata)
    int8 = None
    if run_config.int8:
        photographs = data.splits["train"][0]
        int8 = quantize(graph, photographs, data.splits["val"], train_config.seed)
    quantised = int8 and int8["kept"]
    if quantised:
        ask = functools.partial(onnx_predict, graph)
        expected = ask(golden)
    else:
        ask = functools.partial(ask_torch, letters or classifier, run_config)
    np.savez(out / "golden.npz", images=golden, probabilities=expected)
    if samples := packed.read_samples(data.folder):
        answers = ask(np.stack([data.record.apply(sample) for sample in samples]))
        write_raw_golden(out / RAW_GOLDEN_FILE, samples, answers)
    if (
        letters and views.hands and not quantised
    ):  # these photographs have been read already
        probabilities = letters.predict_probabilities(views.hands.readings["test"])
    else:
        probabilities = ask(images)
    return Exported(ask, probabilities, int8)


def ask_torch(
    model: Classifier | Letters, run_config: RunConfig, images: np.ndarray
) -> np.ndarray:
    """Probabilities ``(N, classes)`` of uint8 photographs that were not read yet."""
    if isinstance(model, Classifier):
        return predict(model, images)
    graph = reader_graph(run_config.hand_networks, images.shape[1])
    return model.predict_probabilities(read_photographs(images, graph, "read hands"))


def graph_parameters(graph: Path) -> int:
    """Count the numbers that a graph has learned."""
    weights = onnx.load(graph).graph.initializer
    return sum(
        int(np.prod(weight.dims))
        for weight in weights
        if weight.data_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.INT8)
    )


def evaluate_model(
    exported: Exported,
    data: Data,
    external: dict[str, tuple[np.ndarray, np.ndarray]],
) -> dict:
    """Score the test split, its slices, and other people's photographs."""
    images, labels = data.splits["test"]
    manifest = packed.read_manifest(data.folder)
    slices = slice_rows(images, *describe_split(manifest, "test", len(labels)))
    result = evaluate(exported.test_probabilities, labels, data.classes, slices)
    for name, (pixels, truth) in external.items():
        predicted = exported.predict(pixels).argmax(1)
        result["slices"][name] = score_slice(predicted, truth)
    return result


def write_results(
    out: Path, result: dict, history: list[dict], probabilities: np.ndarray, data: Data
) -> None:
    """Write scores and pictures; ``evaluation.json`` last, as the sign of the end."""
    np.save(out / reports.TEST_PROBABILITIES, probabilities)
    images, labels = data.splits["test"]
    figures = (
        plot_curves(history),
        plot_confusion(result["confusion"]),
        plot_predictions(images, labels, probabilities, data.classes),
    )
    for name, figure in zip(PICTURES, figures):
        figure.savefig(out / name)
    (out / "history.json").write_text(json.dumps(history, indent=1) + "\n")
    (out / reports.EVALUATION).write_text(json.dumps(result, indent=1) + "\n")
