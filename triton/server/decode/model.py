"""Triton model asl_decode: the bytes of one photograph -> the pixels of the network.

Deployment puts two files beside this one, ``preprocessing.py`` and
``preprocessing.json``: the code and the record that prepared the training data.
"""

import sys
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from preprocessing import FILE_NAME, BrokenImage, Preprocessing  # noqa: E402


class TritonPythonModel:
    """One instance, a process of its own."""

    def initialize(self, args):
        self.preprocessing = Preprocessing.load(HERE / FILE_NAME)

    def execute(self, requests):
        """Answer every request by itself: a broken image fails its own one only."""
        return [self.respond(request) for request in requests]

    def respond(self, request):
        files = pb_utils.get_input_tensor_by_name(request, "image").as_numpy()
        size = self.preprocessing.image_size
        pixels = np.empty((len(files), size, size, 3), np.uint8)
        for number, data in enumerate(files[:, 0]):
            try:
                pixels[number] = self.preprocessing.apply(data)
            except BrokenImage as error:
                return failure(f"broken image: {error}", number, len(files))
            except Exception as error:  # a defect, but of this image's request alone
                pb_utils.Logger.log_error(f"{type(error).__name__}: {error}")
                return failure("image cannot be prepared", number, len(files))
        return pb_utils.InferenceResponse([pb_utils.Tensor("pixels", pixels)])


def failure(message, number, total):
    """Make the error answer, naming the element where the request holds several."""
    if total > 1:
        message += f" (image {number + 1} of the {total} in this request)"
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message))
