"""config.pbtxt as protobuf messages: what is to be served, in Triton's own terms.

Pure functions. The three models of one deployment share its version number, and each
serves that version only, so that old ones may lie beside it whatever their shapes:

    asl_classifier   onnxruntime   image uint8 [H, W, 3] -> probabilities [classes]
    asl_decode       python        encoded image BYTES [1] -> image uint8 [H, W, 3]
    asl              ensemble      encoded image BYTES [1] -> probabilities [classes]

The names and shapes of the first come from its ONNX graph (`GraphShapes`).
"""

from dataclasses import dataclass

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import (
    ModelConfig,
    ModelEnsembling,
    ModelInstanceGroup,
    ModelWarmup,
)

CLASSIFIER = "asl_classifier"
DECODE = "asl_decode"
ENSEMBLE = "asl"

ENCODED = "image"  # input of the decode model and of the ensemble
PIXELS = "pixels"  # output of the decode model
LABELS_FILE = "classes.txt"
MAX_BATCH_SIZE = 64


@dataclass(frozen=True)
class GraphShapes:
    """What the ONNX graph says of its one input and its one output.

    Attributes:
        input_name: Of the pixels.
        input_dtype: Triton's name, such as ``TYPE_UINT8``.
        input_dims: Without the batch dimension: ``(height, width, channels)``.
        output_name: Of the probabilities.
        output_dtype: Triton's name, such as ``TYPE_FP32``.
        output_dims: Without the batch dimension: ``(classes,)``.
    """

    input_name: str
    input_dtype: str
    input_dims: tuple[int, ...]
    output_name: str
    output_dtype: str
    output_dims: tuple[int, ...]


def build(
    shapes: GraphShapes,
    version: int,
    metadata: dict[str, str],
    device: str,
    instances: int,
) -> dict[str, ModelConfig]:
    """Describe the three models of one deployment.

    Args:
        metadata: Written into every config's ``parameters``.
        device: "cpu" or "gpu", of the classifier.
        instances: How many images are decoded, and on the CPU classified, at once.

    Returns:
        The configs by model name, in the order in which they can be loaded.
    """
    return {
        DECODE: decode_config(shapes, version, metadata, instances),
        CLASSIFIER: classifier_config(shapes, version, metadata, device, instances),
        ENSEMBLE: ensemble_config(shapes, version, metadata),
    }


def classifier_config(
    shapes: GraphShapes,
    version: int,
    metadata: dict[str, str],
    device: str,
    instances: int,
) -> ModelConfig:
    """Describe the ONNX model: ``instances`` single-threaded ones, or one a GPU."""
    config = _config(CLASSIFIER, version, metadata, backend="onnxruntime")
    config.input.add(
        name=shapes.input_name, data_type=shapes.input_dtype, dims=shapes.input_dims
    )
    config.output.add(
        name=shapes.output_name,
        data_type=shapes.output_dtype,
        dims=shapes.output_dims,
        # of this very version: a label file is only as good as its model
        label_filename=f"{version}/{LABELS_FILE}",
    )
    config.dynamic_batching.SetInParent()
    if device == "gpu":
        config.instance_group.add(kind=ModelInstanceGroup.KIND_GPU, count=1)
    else:
        config.instance_group.add(kind=ModelInstanceGroup.KIND_CPU, count=instances)
        config.parameters["intra_op_thread_count"].string_value = "1"
    pixels = ModelWarmup.Input(
        data_type=shapes.input_dtype, dims=shapes.input_dims, random_data=True
    )
    # Enough to have the memory and the kernels ready, little enough to load quickly.
    config.model_warmup.add(
        name="warm-up", batch_size=8, inputs={shapes.input_name: pixels}
    )
    return config


def decode_config(
    shapes: GraphShapes, version: int, metadata: dict[str, str], instances: int
) -> ModelConfig:
    """Describe the Python model that turns a file's bytes into the graph's pixels."""
    config = _config(DECODE, version, metadata, backend="python")
    config.input.add(name=ENCODED, data_type="TYPE_STRING", dims=[1])
    config.output.add(name=PIXELS, data_type=shapes.input_dtype, dims=shapes.input_dims)
    config.instance_group.add(kind=ModelInstanceGroup.KIND_CPU, count=instances)
    return config


def ensemble_config(
    shapes: GraphShapes, version: int, metadata: dict[str, str]
) -> ModelConfig:
    """Describe the pair of both, tied to one version of each."""
    config = _config(ENSEMBLE, version, metadata, platform="ensemble")
    config.input.add(name=ENCODED, data_type="TYPE_STRING", dims=[1])
    config.output.add(
        name=shapes.output_name,
        data_type=shapes.output_dtype,
        dims=shapes.output_dims,
    )
    config.ensemble_scheduling.step.extend(
        [
            ModelEnsembling.Step(
                model_name=DECODE,
                model_version=version,
                input_map={ENCODED: ENCODED},
                output_map={PIXELS: PIXELS},
            ),
            ModelEnsembling.Step(
                model_name=CLASSIFIER,
                model_version=version,
                input_map={shapes.input_name: PIXELS},
                output_map={shapes.output_name: shapes.output_name},
            ),
        ]
    )
    return config


def _config(name: str, version: int, metadata: dict[str, str], **what) -> ModelConfig:
    """Start a config: the one version served, the batch limit, the metadata."""
    config = ModelConfig(name=name, max_batch_size=MAX_BATCH_SIZE, **what)
    config.version_policy.specific.versions.append(version)
    for key, value in metadata.items():
        config.parameters[key].string_value = value
    return config


def to_text(config: ModelConfig) -> str:
    """Print a config as the text of config.pbtxt."""
    text = text_format.MessageToString(config)
    # The printer leaves out zeros, but to Triton a missing value means "find out".
    return text if config.max_batch_size else "max_batch_size: 0\n" + text


def from_text(text: str) -> ModelConfig:
    """Parse the text of a config.pbtxt.

    Raises:
        google.protobuf.text_format.ParseError: It is not a model config.
    """
    return text_format.Parse(text, ModelConfig())
