"""What the Python models share: the photographs of a request -> pixels.

Deployment puts this file beside a model, with ``preprocessing.py`` and
``preprocessing.json``: the code and the record that prepared the training data.

No custom metrics: with Triton 24.10, models that had some corrupted the server's memory
when they were unloaded under load.
"""

import image_headers
import numpy as np
import triton_python_backend_utils as pb_utils
from preprocessing import BrokenImage


def decode(request, preprocessing):
    """Decode all images of a request.

    Returns:
        ``(n, S, S, 3)`` uint8, and None; or None, and the error response.
    """
    files = pb_utils.get_input_tensor_by_name(request, "image").as_numpy()
    size = preprocessing.image_size
    pixels = np.empty((len(files), size, size, 3), np.uint8)
    for number, data in enumerate(files[:, 0]):
        try:
            image_headers.check(data)
            pixels[number] = preprocessing.apply(data)
        except BrokenImage as error:
            return None, failure(f"broken image: {error}", number, len(files))
        except Exception as error:  # a defect, but of this image's request alone
            pb_utils.Logger.log_error(f"{type(error).__name__}: {error}")
            return None, failure("image cannot be prepared", number, len(files))
    return pixels, None


def failure(message, number, total):
    """Make the error answer, naming the element where the request holds several."""
    if total > 1:
        message += f" (image {number + 1} of the {total} in this request)"
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message))
