"""Triton model: the bytes of photographs -> probabilities, in one process.

On a CPU this is faster than a decode model and a classifier in a row, since the pixels
need not travel from one process to another.
"""

import sys
from pathlib import Path

import onnxruntime
import triton_python_backend_utils as pb_utils

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import photographs  # noqa: E402
from preprocessing import FILE_NAME, Preprocessing  # noqa: E402


class TritonPythonModel:
    """One instance: a process with one thread for decoding and for inference."""

    def initialize(self, args):
        self.preprocessing = Preprocessing.load(HERE / FILE_NAME)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            str(HERE / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self.input = self.session.get_inputs()[0].name
        self.output = self.session.get_outputs()[0].name

    def execute(self, requests):
        """Answer every request by itself: a broken image fails its own one only."""
        return [self.respond(request) for request in requests]

    def respond(self, request):
        pixels, error = photographs.decode(request, self.preprocessing)
        if error is not None:
            return error
        (answers,) = self.session.run([self.output], {self.input: pixels})
        return pb_utils.InferenceResponse([pb_utils.Tensor(self.output, answers)])
