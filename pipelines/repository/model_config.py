"""config.pbtxt as protobuf messages: what is to be served, in Triton's own terms.

Pure functions. Of a model of the name asl clients know two of Triton's models, which
keep their names for ever:

    asl              encoded image BYTES [1]        -> probabilities [classes], ...
    asl_classifier   image uint8 [H, W, 3]          -> probabilities [classes], ...

The dots: whatever else the graph answers, such as landmarks of the hand.

Both are ensembles that do nothing but pass requests on to the *parts* of the version
that is served; the parts carry the version's number in their names and never change:

    asl_fused_7        python        encoded image -> probabilities, in one process
    asl_decode_7       python        encoded image -> image
    asl_classifier_7   onnxruntime   image -> probabilities

`asl` is asl_fused_7, or asl_decode_7 and asl_classifier_7 in a row (`Settings.shape`).
So the parts of two versions, of whatever shapes, are loaded side by side, and what is
swapped is only where requests are passed on to, which Triton does at once. To Triton
`asl` and `asl_classifier` have one version for ever: a number of its own for each of
ours would end with the swap, and Triton looks up the number of an answer once more when
a client wants labels. Which of our versions they serve says the parameter "version".
Models of other names lie beside them: flowers, flowers_classifier, flowers_fused_3.
"""

import math
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import (
    ModelConfig,
    ModelEnsembling,
    ModelInstanceGroup,
    ModelWarmup,
)

from data_prep.model_name import DEFAULT
from data_prep.parallel import cpu_count
from pipelines.repository.layout import (
    CLASSIFIER,
    DECODE,
    FUSED,
    part_name,
    served_names,
)

SERVED_NUMBER = 1  # Triton's version of these, and of all parts
VERSION = "version"  # parameter of these: our version, whose parts answer

ENCODED = "image"  # input of all models that take encoded images
PIXELS = "pixels"  # output of the decode model
LABELS_FILE = "classes.txt"
CONFIG_FILE = "config.pbtxt"
# What instances are warmed up with, a golden image, in Triton's form, in warmup/
WARM_UP_FILE = "photograph"
WARM_UP_PIXELS = "pixels"
MAX_BATCH_SIZE = 64
PREFERRED_BATCH_SIZE = 4  # images of several requests, handed to one process at once

# Where TensorRT keeps its engines inside the container, a folder a model; mount a
# volume to keep them. It must exist: ONNX Runtime makes the model's folder only.
ENGINE_CACHE = "/tmp/tensorrt-engines"
ACCELERATORS = {"none": "", "tensorrt": "gpu", "openvino": "cpu"}  # and its device
PRECISIONS = ("fp32", "fp16")
MAX_INSTANCES = 8  # unless told otherwise; each takes memory of its own
CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container: microseconds a period


@dataclass(frozen=True)
class Settings:
    """How a version is to be run.

    Attributes:
        device: "cpu" or "gpu", of the classifier.
        instances: Images worked on at once; 0: `default_instances` of this machine.
        shape: "fused" (decode and infer in one process; fastest on a CPU), "ensemble"
            (decode in Python, infer in the onnxruntime backend), or "auto": fused on
            the CPU without an accelerator.
        accelerator: A key of ACCELERATORS, inside the onnxruntime backend.
        precision: Of TensorRT; "fp32" or "fp16".
        cache: Whether answers to identical requests come from Triton's cache, which
            the server must have been given memory for (``--cache-config``).
        one_by_one: Whether photographs of different requests never go to a process
            together. That is slower, but what Triton refuses of one, an element that
            lies about its length, it refuses of all that are with it.

    Raises:
        ValueError: An accelerator on the wrong device, or a precision or a shape that
            goes without effect.
    """

    device: str = "cpu"
    instances: int = 0
    shape: str = "auto"
    accelerator: str = "none"
    precision: str = "fp32"
    cache: bool = False
    one_by_one: bool = False

    def __post_init__(self):
        wanted = ACCELERATORS[self.accelerator]
        if wanted and wanted != self.device:
            raise ValueError(f"{self.accelerator} needs --device {wanted}")
        if self.precision != "fp32" and self.accelerator != "tensorrt":
            raise ValueError(
                f"--precision {self.precision} needs --accelerator tensorrt"
            )
        plain = self.device == "cpu" and self.accelerator == "none"
        if self.shape == "fused" and not plain:
            raise ValueError(
                "the fused model infers on the CPU without accelerator; use --shape "
                "ensemble"
            )
        if self.shape == "auto":
            object.__setattr__(self, "shape", "fused" if plain else "ensemble")
        if not self.instances:
            object.__setattr__(self, "instances", default_instances())


def default_instances(quota: Path = CPU_QUOTA) -> int:
    """One a core that this machine gives to this process, at most MAX_INSTANCES."""
    cores = cpu_count()
    try:
        microseconds, period = map(int, quota.read_text().split())
        cores = min(cores, math.ceil(microseconds / period))
    except (OSError, ValueError):  # no such file, or "max 100000": no limit
        pass
    return min(cores, MAX_INSTANCES)


@dataclass(frozen=True)
class Output:
    """A further output of the graph, beside the probabilities.

    Attributes:
        name: In the graph, and to clients.
        dtype: Triton's name, such as ``TYPE_FP32``.
        dims: Without the batch dimension, such as ``(21, 3)``.
    """

    name: str
    dtype: str
    dims: tuple[int, ...]


@dataclass(frozen=True)
class GraphShapes:
    """What the ONNX graph says of its one input and its outputs.

    Attributes:
        input_name: Of the pixels.
        input_dtype: Triton's name, such as ``TYPE_UINT8``.
        input_dims: Without the batch dimension: ``(height, width, channels)``.
        output_name: Of the probabilities.
        output_dtype: Triton's name, such as ``TYPE_FP32``.
        output_dims: Without the batch dimension: ``(classes,)``.
        further: What else it answers, in the graph's order.
    """

    input_name: str
    input_dtype: str
    input_dims: tuple[int, ...]
    output_name: str
    output_dtype: str
    output_dims: tuple[int, ...]
    further: tuple[Output, ...] = ()


def parts(
    shapes: GraphShapes,
    version: int,
    metadata: dict[str, str],
    settings: Settings,
    name: str = DEFAULT,
) -> dict[str, ModelConfig]:
    """Describe the parts of one version, by kind (DECODE or FUSED, and CLASSIFIER).

    Args:
        metadata: Written into every config's ``parameters``; "model_sha256" of it
            names the model's engines.
    """
    described = {CLASSIFIER: classifier(shapes, settings, engine_folder(metadata))}
    if settings.shape == "fused":
        described[FUSED] = fused(shapes, settings)
    else:
        described[DECODE] = decode(shapes, settings)
    for kind, config in described.items():
        config.name = part_name(kind, version, name)
        for key, value in metadata.items():
            config.parameters[key].string_value = value
    return described


def served(
    described: dict[str, ModelConfig], version: int, name: str = DEFAULT
) -> dict[str, ModelConfig]:
    """Describe what clients call, by name, passing requests on to a version's parts."""
    of_pixels, of_files = served_names(name)
    if FUSED in described:
        row = [described[FUSED]]
    else:
        row = [described[DECODE], described[CLASSIFIER]]
    return {
        of_pixels: passing_on(of_pixels, version, described[CLASSIFIER]),
        of_files: passing_on(of_files, version, *row),
    }


def passing_on(name: str, version: int, *row: ModelConfig) -> ModelConfig:
    """Describe an ensemble of parts in a row, with the metadata of the last."""
    config = ModelConfig(
        name=name, platform="ensemble", max_batch_size=row[0].max_batch_size
    )
    config.version_policy.specific.versions.append(SERVED_NUMBER)
    config.input.extend(row[0].input)
    config.output.extend(row[-1].output)
    for output in config.output:
        output.ClearField("label_filename")  # the part has it
    tensor = config.input[0].name
    for part in row:
        # the last part's outputs are the ensemble's; no name may occur twice
        config.ensemble_scheduling.step.append(
            ModelEnsembling.Step(
                model_name=part.name,
                model_version=SERVED_NUMBER,
                input_map={part.input[0].name: tensor},
                output_map={output.name: output.name for output in part.output},
            )
        )
        tensor = part.output[0].name
    for key in row[-1].parameters:
        config.parameters[key].CopyFrom(row[-1].parameters[key])
    config.parameters[VERSION].string_value = str(version)
    return config


def engine_folder(metadata: dict[str, str]) -> str:
    """Name the folder of a model's TensorRT engines.

    ONNX Runtime knows an engine by the graph's file name and the names in it, not by
    its weights: in one folder a model trained anew would be given the old engine.
    """
    return f"{ENGINE_CACHE}/{metadata['model_sha256'][:16]}"


def classifier(
    shapes: GraphShapes, settings: Settings, engines: str = ENGINE_CACHE
) -> ModelConfig:
    """Describe the ONNX model: single-threaded instances, or one a GPU.

    Args:
        engines: Folder that TensorRT keeps its engines in.
    """
    config = ModelConfig(backend="onnxruntime", max_batch_size=MAX_BATCH_SIZE)
    config.input.add(
        name=shapes.input_name, data_type=shapes.input_dtype, dims=shapes.input_dims
    )
    add_outputs(config, shapes)
    config.response_cache.enable = settings.cache
    if settings.device == "gpu":
        config.instance_group.add(kind=ModelInstanceGroup.KIND_GPU, count=1)
        # A GPU is faster with many images; half a millisecond is no long wait.
        config.dynamic_batching.preferred_batch_size.extend([16, MAX_BATCH_SIZE])
        config.dynamic_batching.max_queue_delay_microseconds = 500
    else:
        add_processes(config, settings)
        gather_requests(config)
        config.parameters["intra_op_thread_count"].string_value = "1"
    add_accelerator(config, shapes, settings, engines)
    pixels = ModelWarmup.Input(
        data_type=shapes.input_dtype,
        dims=shapes.input_dims,
        input_data_file=WARM_UP_PIXELS,
    )
    # Enough to have the memory and the kernels ready, little enough to load quickly.
    config.model_warmup.add(
        name="warm-up", batch_size=8, inputs={shapes.input_name: pixels}
    )
    return config


def profiles(shapes: GraphShapes) -> dict[str, str]:
    """The inputs that a TensorRT engine takes: at least ("min"), at most ("max"), and
    those it is fastest for ("opt"); each such as ``image:16x96x96x3``."""
    image = "x".join(map(str, shapes.input_dims))
    batches = {"min": 1, "opt": MAX_BATCH_SIZE // 4, "max": MAX_BATCH_SIZE}
    return {
        which: f"{shapes.input_name}:{batch}x{image}"
        for which, batch in batches.items()
    }


def add_accelerator(
    config: ModelConfig, shapes: GraphShapes, settings: Settings, engines: str
) -> None:
    accelerators = config.optimization.execution_accelerators
    if settings.accelerator == "openvino":
        accelerators.cpu_execution_accelerator.add(name="openvino")
    if settings.accelerator == "tensorrt":
        accelerators.gpu_execution_accelerator.add(
            name="tensorrt",
            parameters={
                "precision_mode": settings.precision.upper(),
                "trt_engine_cache_enable": "1",
                "trt_engine_cache_path": engines,
                **{f"trt_profile_{k}_shapes": x for k, x in profiles(shapes).items()},
            },
        )


def decode(shapes: GraphShapes, settings: Settings) -> ModelConfig:
    """Describe the Python model that turns a file's bytes into the graph's pixels."""
    config = ModelConfig(backend="python", max_batch_size=MAX_BATCH_SIZE)
    config.input.add(name=ENCODED, data_type="TYPE_STRING", dims=[1])
    config.output.add(name=PIXELS, data_type=shapes.input_dtype, dims=shapes.input_dims)
    add_processes(config, settings)
    if not settings.one_by_one:
        gather_requests(config)
    warm_up(config)
    return config


def fused(shapes: GraphShapes, settings: Settings) -> ModelConfig:
    """Describe the Python model that turns a file's bytes into the graph's answers."""
    config = ModelConfig(backend="python", max_batch_size=MAX_BATCH_SIZE)
    config.input.add(name=ENCODED, data_type="TYPE_STRING", dims=[1])
    add_outputs(config, shapes)
    add_processes(config, settings)
    if not settings.one_by_one:
        gather_requests(config)
    config.response_cache.enable = settings.cache
    warm_up(config)
    return config


def warm_up(config: ModelConfig) -> None:
    """Have a golden photograph answered before anybody else's."""
    photograph = ModelWarmup.Input(
        data_type="TYPE_STRING", dims=[1], input_data_file=WARM_UP_FILE
    )
    config.model_warmup.add(
        name="warm-up", batch_size=1, inputs={ENCODED: photograph}, count=3
    )


def add_outputs(config: ModelConfig, shapes: GraphShapes) -> None:
    """Add the outputs: the probabilities, which clients expect first, then the rest."""
    config.output.add(
        name=shapes.output_name,
        data_type=shapes.output_dtype,
        dims=shapes.output_dims,
        label_filename=LABELS_FILE,
    )
    for output in shapes.further:
        config.output.add(name=output.name, data_type=output.dtype, dims=output.dims)


def add_processes(config: ModelConfig, settings: Settings) -> None:
    config.instance_group.add(
        kind=ModelInstanceGroup.KIND_CPU, count=settings.instances
    )


def gather_requests(config: ModelConfig) -> None:
    """Hand a process what is waiting, up to a few images at once.

    This saves switching between processes. No request waits for further ones to arrive.
    Larger batches would be little faster, and leave the other processes without work.
    """
    config.dynamic_batching.preferred_batch_size.append(PREFERRED_BATCH_SIZE)


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
