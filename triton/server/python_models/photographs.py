"""Code that the Python models share: requests to pixels, and outputs to responses.

Deployment puts this file beside a model, with ``image_file.py``, ``preprocessing.py``
and ``preprocessing.json``: the code and the record that prepared the training data.
"""

import cv2
import numpy as np
import triton_python_backend_utils as pb_utils
from image_file import BrokenImage, TooManyPixels, check_request

cv2.setNumThreads(1)  # the other cores have instances of their own


def decode(requests, preprocessing):
    """Decode the images of several requests; a broken one fails its own request only.

    Returns:
        ``(n, S, S, 3)`` uint8, the images of all requests without a broken one; and for
        each request the slice of its rows, or its error response.
    """
    images, places = [], []
    for request in requests:
        files = pb_utils.get_input_tensor_by_name(request, "image").as_numpy()
        first = len(images)
        try:
            if len(files) > 1:
                check_request(files[:, 0])
            for data in files[:, 0]:
                images.append(preprocessing.apply(data))
            places.append(slice(first, len(images)))
        except Exception as error:
            places.append(failure(error, len(images) - first, len(files)))
            del images[first:]
    size = preprocessing.image_size
    pixels = np.stack(images) if images else np.empty((0, size, size, 3), np.uint8)
    return pixels, places


def failure(error, number, total):
    """Make an error response, naming the element where the request holds several."""
    code = pb_utils.TritonError.INVALID_ARG
    where = f" (image {number + 1} of the {total} in this request)" if total > 1 else ""
    if isinstance(error, TooManyPixels):
        message = str(error)
    elif isinstance(error, BrokenImage):
        message = f"broken image: {error}{where}"
    else:  # a defect, but of this image's request alone
        pb_utils.Logger.log_error(f"{type(error).__name__}: {error}")
        code = pb_utils.TritonError.INTERNAL
        message = f"image cannot be prepared{where}"
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))


def respond(outputs, places):
    """Give every request its rows of the outputs, or the error it has already.

    Args:
        outputs: Of each output its name and its rows, one an image, as `decode` counts
            them.
        places: From `decode`.
    """
    return [
        (
            pb_utils.InferenceResponse(
                [pb_utils.Tensor(name, rows[place]) for name, rows in outputs.items()]
            )
            if isinstance(place, slice)
            else place
        )
        for place in places
    ]
