"""A Triton backend of the name "onnxruntime", in Python.

The embedded tritonserver comes without the C++ backend of that name; this one loads
the same model repositories unchanged. From config.pbtxt it honours names, dims, data
types, max_batch_size, instance groups (one process an instance, on the CPU),
default_model_filename, the graph optimisation level and the parameters
``intra_op_thread_count``, ``inter_op_thread_count`` and ``execution_mode``; it fills in
what a config leaves out. It refuses what it cannot do, instead of ignoring it: GPU
instances and execution accelerators (TensorRT, OpenVINO).
"""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils

# As the C++ backend numbers them; 0 is its default.
GRAPH_LEVELS = {
    -1: onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    0: onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
    1: onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    2: onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
}
TRITON_TYPES = {
    "tensor(bool)": "TYPE_BOOL",
    "tensor(uint8)": "TYPE_UINT8",
    "tensor(uint16)": "TYPE_UINT16",
    "tensor(uint32)": "TYPE_UINT32",
    "tensor(uint64)": "TYPE_UINT64",
    "tensor(int8)": "TYPE_INT8",
    "tensor(int16)": "TYPE_INT16",
    "tensor(int32)": "TYPE_INT32",
    "tensor(int64)": "TYPE_INT64",
    "tensor(float16)": "TYPE_FP16",
    "tensor(float)": "TYPE_FP32",
    "tensor(double)": "TYPE_FP64",
    "tensor(string)": "TYPE_STRING",
}
DEFAULT_MAX_BATCH_SIZE = 4  # of the C++ backend, where the config says nothing


class TritonPythonModel:
    """One instance: an ONNX Runtime session in a process of its own."""

    @staticmethod
    def auto_complete_config(auto_complete_model_config):
        """Compare the config with the graph and fill in what it leaves out."""
        config = auto_complete_model_config.as_dict()
        session = open_session(config, Path(pb_utils.get_model_dir()), check_only=True)
        inputs, outputs = session.get_inputs(), session.get_outputs()
        refuse_unknown_names(config["input"], inputs)
        refuse_unknown_names(config["output"], outputs)

        batches = all(x.shape and not isinstance(x.shape[0], int) for x in inputs)
        if config["max_batch_size"] and not batches:
            raise pb_utils.TritonModelException(
                f"max_batch_size is {config['max_batch_size']}, but the graph's first "
                "dimension is not variable; export it with a dynamic batch"
            )
        silent = not (config["max_batch_size"] or config["input"] or config["output"])
        if batches and silent:
            auto_complete_model_config.set_max_batch_size(DEFAULT_MAX_BATCH_SIZE)
            auto_complete_model_config.set_dynamic_batching()
        first = 1 if auto_complete_model_config.as_dict()["max_batch_size"] else 0
        for tensor in inputs:
            complete(
                tensor, first, config["input"], auto_complete_model_config.add_input
            )
        for tensor in outputs:
            complete(
                tensor, first, config["output"], auto_complete_model_config.add_output
            )
        return auto_complete_model_config

    def initialize(self, args):
        config = json.loads(args["model_config"])
        if args["model_instance_kind"] == "GPU":
            raise pb_utils.TritonModelException(
                "the embedded server infers on the CPU; "
                "deploy for the CPU or serve with the Docker image"
            )
        folder = Path(args["model_repository"]) / args["model_version"]
        self.session = open_session(config, folder)
        self.inputs = [x.name for x in self.session.get_inputs()]
        self.outputs = [x.name for x in self.session.get_outputs()]
        self.batches = config["max_batch_size"] > 0

    def execute(self, requests):
        """Infer all requests in one run; if that fails, each by itself."""
        feeds = [self.feed(request) for request in requests]
        if self.batches and len(feeds) > 1 and stackable(feeds):
            try:
                return self.run_together(feeds)
            except Exception:  # one of them is at fault: find out which
                pass
        return [self.run_alone(feed) for feed in feeds]

    def feed(self, request):
        tensors = {
            name: pb_utils.get_input_tensor_by_name(request, name).as_numpy()
            for name in self.inputs
        }
        return {name: as_text(tensor) for name, tensor in tensors.items()}

    def run_alone(self, feed):
        try:
            return self.response(self.session.run(self.outputs, feed))
        except Exception as error:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error)))

    def run_together(self, feeds):
        joined = {
            name: np.concatenate([feed[name] for feed in feeds]) for name in self.inputs
        }
        sizes = [len(feed[self.inputs[0]]) for feed in feeds]
        ends = np.cumsum(sizes)[:-1]
        arrays = [np.split(x, ends) for x in self.session.run(self.outputs, joined)]
        return [self.response(parts) for parts in zip(*arrays)]

    def response(self, arrays):
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor(n, x) for n, x in zip(self.outputs, arrays)]
        )


def as_text(tensor):
    """Decode strings, which come as bytes: ONNX Runtime would take b'A' for "b'A'"."""
    if tensor.dtype != object:
        return tensor
    texts = [element.decode("utf-8", "replace") for element in tensor.ravel()]
    return np.array(texts, object).reshape(tensor.shape)


def open_session(config, folder, check_only=False):
    """Open the graph in ``folder`` with the config's settings.

    Args:
        check_only: Skip the optimisation, which takes most of the time.
    """
    accelerators = config.get("optimization", {}).get("execution_accelerators", {})
    for group in accelerators.values():
        for accelerator in group:
            raise pb_utils.TritonModelException(
                f"the embedded server has no accelerator '{accelerator['name']}'; "
                "deploy without it or serve with the Docker image"
            )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = number(config, "intra_op_thread_count")
    options.inter_op_num_threads = number(config, "inter_op_thread_count")
    if number(config, "execution_mode") == 1:
        options.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
    level = config.get("optimization", {}).get("graph", {}).get("level", 0)
    options.graph_optimization_level = GRAPH_LEVELS[2 if check_only else level]
    file = folder / (config.get("default_model_filename") or "model.onnx")
    return onnxruntime.InferenceSession(
        str(file), options, providers=["CPUExecutionProvider"]
    )


def number(config, parameter):
    """Read a whole number out of the config's parameters; 0 where it is missing."""
    value = config.get("parameters", {}).get(parameter, {}).get("string_value", "0")
    try:
        return int(value)
    except ValueError:
        raise pb_utils.TritonModelException(
            f"parameter {parameter} is '{value}'; it must be a whole number"
        ) from None


def refuse_unknown_names(said, tensors):
    names = [tensor.name for tensor in tensors]
    for entry in said:
        if entry["name"] not in names:
            raise pb_utils.TritonModelException(
                f"the graph has no tensor '{entry['name']}'; it has {', '.join(names)}"
            )


def complete(tensor, first, said, add):
    """Add a tensor of the graph to the config, or compare it with what that says.

    Args:
        first: 1 where the first dimension is the batch, which configs leave out.
    """
    dims = [x if isinstance(x, int) else -1 for x in tensor.shape[first:]]
    dtype = TRITON_TYPES[tensor.type]
    entry = next((entry for entry in said if entry["name"] == tensor.name), None)
    if entry is None:
        add({"name": tensor.name, "data_type": dtype, "dims": dims})
        return
    same = len(dims) == len(entry["dims"]) and all(
        graph in (-1, config) for graph, config in zip(dims, entry["dims"])
    )
    if entry["data_type"] != dtype or not same:
        raise pb_utils.TritonModelException(
            f"tensor '{tensor.name}' is {dtype} {dims} in the graph, but "
            f"{entry['data_type']} {entry['dims']} in the config"
        )


def stackable(feeds):
    """Say whether the requests agree in all dimensions but the batch."""
    return all(
        feed[name].shape[1:] == array.shape[1:]
        for name, array in feeds[0].items()
        for feed in feeds[1:]
    )
