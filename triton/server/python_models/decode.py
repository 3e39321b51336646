"""Triton model: the bytes of photographs -> the pixels of the network."""

import sys
from pathlib import Path

import triton_python_backend_utils as pb_utils

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import photographs  # noqa: E402
from preprocessing import FILE_NAME, Preprocessing  # noqa: E402


class TritonPythonModel:
    """One instance, a process of its own."""

    def initialize(self, args):
        self.preprocessing = Preprocessing.load(HERE / FILE_NAME)

    def execute(self, requests):
        """Answer every request by itself: a broken image fails its own one only."""
        return [self.respond(request) for request in requests]

    def respond(self, request):
        pixels, error = photographs.decode(request, self.preprocessing)
        if error is not None:
            return error
        return pb_utils.InferenceResponse([pb_utils.Tensor("pixels", pixels)])
