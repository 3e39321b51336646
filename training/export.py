"""From the trained network to the one file that is served, checked before use."""

import warnings
from pathlib import Path

import numpy as np
import onnx
import torch

from data_prep.figures import beside
from training.graph import PARITY, onnx_predict
from training.hands.model import HandModel
from training.hands.reader_graph import OPSET
from training.loop import predict
from training.network import Classifier

# ONNX Runtime 1.19, in Triton 24.10, reads intermediate representations up to 10.
IR_VERSION = 10


def golden_inputs(images: np.ndarray, labels: np.ndarray, count: int = 32):
    """Pick up to ``count`` test images spread over the classes.

    Returns:
        ``(n, S, S, 3)`` uint8 images.
    """
    order = np.argsort(labels, kind="stable")
    rows = order[np.linspace(0, len(order) - 1, min(count, len(order))).astype(int)]
    return np.array(images[np.unique(rows)])


def export_onnx(
    model: Classifier | HandModel,
    path: Path,
    golden: np.ndarray,
    metadata: dict[str, str],
) -> np.ndarray:
    """Write ``path`` and prove that it answers as torch does.

    Args:
        model: In float32; its ``forward`` is the graph: ``image`` uint8
            ``[batch, S, S, 3]`` in, ``probabilities`` float32 ``[batch, classes]`` out;
            a hand model's further outputs after it.
        path: The ONNX file; written only if every check passes.
        golden: ``(n, S, S, 3)`` uint8 images to compare on.
        metadata: Strings kept in the graph, such as task_id and dataset_id.

    Returns:
        torch's probabilities of ``golden``, ``(n, classes)`` float32.

    Raises:
        RuntimeError: The graph differs from torch by more than `PARITY`, or names
            another best class.
    """
    model = model.cpu().to(memory_format=torch.contiguous_format).eval()
    if isinstance(model, HandModel):
        proto = model.to_onnx(golden.shape[1])
    else:
        proto = _trace(model, golden)
    proto.ir_version = min(proto.ir_version, IR_VERSION)
    proto.producer_name = "asl-recognition"
    _strip_debug_information(proto)
    onnx.helper.set_model_props(proto, metadata)
    onnx.checker.check_model(proto, full_check=True)
    partial = path.with_suffix(".partial")
    onnx.save(proto, partial)
    expected = predict(model, golden)
    check_parity(partial, golden, expected)
    partial.replace(path)
    return expected


def _trace(classifier: Classifier, golden: np.ndarray) -> onnx.ModelProto:
    # Two images, since export takes a dimension of 1 for a constant.
    example = torch.from_numpy(np.repeat(golden[:1], 2, axis=0))
    with warnings.catch_warnings():
        # torch's exporter warns of its own use of a deprecated class
        warnings.filterwarnings("ignore", "`isinstance.treespec", FutureWarning)
        program = torch.onnx.export(
            classifier,
            (example,),
            input_names=["image"],
            output_names=["probabilities"],
            opset_version=OPSET,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            verbose=False,
        )
    return program.model_proto


def _strip_debug_information(model: onnx.ModelProto) -> None:
    """Drop the exporter's notes: source lines, and paths of this machine."""
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.value_info, *model.graph.initializer):
        del value.metadata_props[:]
    del model.graph.metadata_props[:]


def check_parity(path: Path, golden: np.ndarray, expected: np.ndarray) -> float:
    """Compare the graph with torch at batch size 1 and at all of ``golden``.

    Returns:
        The largest difference of a probability.

    Raises:
        RuntimeError: As `export_onnx` says.
    """
    together = onnx_predict(path, golden)
    singly = onnx_predict(path, golden, batch_size=1)
    difference = 0.0
    for got in (together, singly):
        difference = float(np.maximum(difference, np.abs(got - expected).max()))
        if (got.argmax(1) != expected.argmax(1)).any():
            raise RuntimeError(f"{path.name} names other classes than torch does")
    if not difference <= PARITY:  # NaN is no parity either
        raise RuntimeError(
            f"{path.name} differs from torch by {beside(difference, PARITY, kind='g')} "
            f"(limit {PARITY})"
        )
    return difference
