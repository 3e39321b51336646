"""An int8 version of an ONNX model, kept only where it answers nearly as well."""

from pathlib import Path

import numpy as np
import onnx
from onnxruntime import quantization

from training.export import IR_VERSION
from training.graph import onnx_predict

LARGEST_LOSS = 0.003  # of accuracy on the validation split
CALIBRATION_IMAGES = 256
BATCH_SIZE = 32


class Images(quantization.CalibrationDataReader):
    """Feeds batches of training images to the calibration."""

    def __init__(self, name: str, images: np.ndarray):
        batches = [
            images[i : i + BATCH_SIZE] for i in range(0, len(images), BATCH_SIZE)
        ]
        self.batches = iter([{name: np.array(batch)} for batch in batches])

    def get_next(self):
        return next(self.batches, None)


def quantize(
    path: Path,
    train: np.ndarray,
    val: tuple[np.ndarray, np.ndarray],
    seed: int,
) -> dict:
    """Replace the model by a statically quantised one, if that costs little accuracy.

    Convolutions and matrix products become int8, each output channel with a scale of
    its own; activations are calibrated on training images.

    Args:
        path: The ONNX file; stays as it is where int8 is not good enough.
        train: ``(N, S, S, 3)`` uint8 images.
        val: Images of that form, and int64 labels.
        seed: Of the images that are picked.

    Returns:
        "kept", and the accuracies "float32" and "int8" on the validation split.
    """
    rows = np.random.default_rng([seed, 3]).permutation(len(train))[:CALIBRATION_IMAGES]
    name = onnx.load(path).graph.input[0].name
    candidate = path.with_suffix(".int8.partial")
    quantization.quantize_static(
        str(path),
        str(candidate),
        Images(name, train[np.sort(rows)]),
        quant_format=quantization.QuantFormat.QDQ,
        op_types_to_quantize=["Conv", "Gemm", "MatMul"],
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
    )
    model = onnx.load(candidate)
    model.ir_version = min(model.ir_version, IR_VERSION)
    original = onnx.load(path)
    del model.metadata_props[:]
    model.metadata_props.extend(original.metadata_props)
    model.producer_name = original.producer_name
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, candidate)
    images, labels = val
    scores = {
        kind: float((onnx_predict(file, images).argmax(1) == labels).mean())
        for kind, file in (("float32", path), ("int8", candidate))
    }
    kept = scores["int8"] >= scores["float32"] - LARGEST_LOSS
    if kept:
        candidate.replace(path)
    else:
        candidate.unlink()
    return {"kept": bool(kept), **scores}
