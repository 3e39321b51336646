"""Trainings for tests, without torch: a linear model, as ONNX, on tiny pixels."""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from data_prep import packed, preparation, preprocessing
from data_prep.model_name import DEFAULT
from data_prep.preprocessing import Preprocessing
from data_prep.splitting.methods import SplitOptions
from pipelines import tracking
from training.graph import onnx_predict

CELLS = 8  # pixels are averaged over a grid of CELLS x CELLS


def prepare(raw_id: str, folder: Path, size: int, name: str = DEFAULT) -> str:
    """Prepare a registered raw Dataset, as the step does; return the new id."""
    images = tracking.find_raw(None, raw_id).images
    # many to test on: promotion asks whether a difference can be chance
    split = SplitOptions("random", ratios=(50, 10, 40))
    options = preparation.Options(Preprocessing(size), split)
    preparation.prepare(images, folder, options, 1)
    return tracking.upload_prepared(folder, raw_id=raw_id, name=name)


def train(
    folder: Path, dataset_id: str, out: Path, noise: float = 0.0, name: str = ""
) -> str:
    """Leave what a training leaves; return the task's id.

    Args:
        noise: Spoils the weights, in standard deviations of theirs.
        name: Of the model; "": as from before models had names.
    """
    from clearml import OutputModel, Task

    out.mkdir()
    record = Preprocessing.load(folder / preprocessing.FILE_NAME)
    record.save(out / preprocessing.FILE_NAME)
    classes = packed.read_classes(folder)
    packed.write_classes(out, classes)
    onnx.save(fit(folder, len(classes), noise), out / "model.onnx")
    images, labels = packed.load_split(folder, "test")
    probabilities = onnx_predict(out / "model.onnx", images)
    np.save(out / "test_probabilities.npy", probabilities)
    method = json.loads((folder / "split.json").read_text())["method"]
    evaluation = {"split_method": method}
    (out / "evaluation.json").write_text(json.dumps(evaluation))
    accuracy = float((probabilities.argmax(1) == labels).mean())
    task = Task.create("ASL", "train", task_type="training")
    task.mark_started()
    task.output_uri = True
    for file in sorted(out.iterdir()):
        task.upload_artifact(file.name, file, wait_on_upload=True)
    task.get_logger().report_scalar("accuracy", "val", accuracy, 0)
    called = f"{name or DEFAULT}_classifier"
    model = OutputModel(task=task, name=called, framework="ONNX")
    model.update_weights(str(out / "model.onnx"), auto_delete_file=False)
    task.set_parameters(
        {
            "Args/model": json.dumps(noise),
            **({"Args/name": name} if name else {}),
            "Outputs/dataset_id": dataset_id,
            "Outputs/model_id": model.id,
        }
    )
    task.flush(wait_for_uploads=True)
    task.mark_completed()
    return task.id


def fit(folder: Path, classes: int, noise: float) -> onnx.ModelProto:
    """Ridge regression on all splits, so that it is right where nothing spoils it."""
    splits = [packed.load_split(folder, name) for name in packed.SPLITS]
    images = np.concatenate([images for images, _ in splits]).astype(np.float32)
    labels = np.concatenate([labels for _, labels in splits])
    size = images.shape[1]
    cell = size // CELLS
    grid = images.reshape(-1, CELLS, cell, CELLS, cell, 3).mean((2, 4)) / 255
    inputs = np.c_[
        grid.transpose(0, 3, 1, 2).reshape(len(grid), -1), np.ones(len(grid))
    ]
    targets = np.eye(classes)[labels]
    weights = np.linalg.solve(
        inputs.T @ inputs + 1e-2 * np.eye(inputs.shape[1]), inputs.T @ targets
    )
    rng = np.random.default_rng(0)
    weights += noise * weights.std() * rng.normal(size=weights.shape)
    nodes = [
        helper.make_node("Transpose", ["image"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["float", "white"], ["scaled"]),
        helper.make_node(
            "AveragePool",
            inputs=["scaled"],
            outputs=["grid"],
            kernel_shape=[cell, cell],
            strides=[cell, cell],
        ),
        helper.make_node("Flatten", ["grid"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=-1),
    ]
    constants = {"white": 255, "weights": weights[:-1], "bias": weights[-1]}
    graph = helper.make_graph(
        nodes,
        "linear",
        [_value("image", TensorProto.UINT8, [size, size, 3])],
        [_value("probabilities", TensorProto.FLOAT, [classes])],
        [numpy_helper.from_array(np.float32(v), k) for k, v in constants.items()],
    )
    opset = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opset, ir_version=10)


def _value(name: str, kind: int, shape: list[int]):
    return helper.make_tensor_value_info(name, kind, ["batch", *shape])
