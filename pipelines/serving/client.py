"""Ask a model on a Triton server for probabilities, by gRPC or HTTP."""

from http.client import HTTPException

import numpy as np
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

from data_prep.errors import InputError
from data_prep.model_name import DEFAULT

LIBRARIES = {"grpc": tritonclient.grpc, "http": tritonclient.http}
TIMEOUT_S = 60
# HTTPException: what answers does not speak HTTP
FAILURES = (InferenceServerException, OSError, HTTPException)


class TritonClient:
    """Asks one model on one server; a context manager.

    Args:
        url: ``host:port`` of ``protocol``.
        protocol: "grpc" or "http".
        model: Has one input and one output.

    Raises:
        InputError: No such server, or no such model on it.
    """

    def __init__(self, url: str, protocol: str = "grpc", model: str = DEFAULT):
        self.library = LIBRARIES[protocol]
        self.url, self.model = url, model
        limits = {} if protocol == "grpc" else {"network_timeout": TIMEOUT_S}
        self.options = {"client_timeout": TIMEOUT_S} if protocol == "grpc" else {}
        try:
            self.client = self.library.InferenceServerClient(url, **limits)
            json = {"as_json": True} if protocol == "grpc" else {}
            metadata = self.client.get_model_metadata(model, **json)
        except (*FAILURES, ValueError) as error:
            raise InputError(
                f"the server at {url} does not serve '{model}' ({one_line(error)}); "
                "start one with scripts/serve"
            ) from None
        self.input = metadata["inputs"][0]
        self.output = metadata["outputs"][0]["name"]

    def __enter__(self) -> "TritonClient":
        return self

    def __exit__(self, *_):
        self.close()

    def __call__(self, images: list[bytes] | np.ndarray) -> np.ndarray:
        """Send images in one request.

        Args:
            images: Encoded ones, or ``(n, H, W, 3)`` uint8, as the model takes them.

        Returns:
            The answers, ``(n, ...)``.

        Raises:
            InputError: The server refuses or fails.
        """
        return self._ask(images)

    def labels(self, photograph: bytes) -> list[str]:
        """The server's own names of the outputs, in their order."""
        entries = self._ask([photograph], class_count=1000).ravel()
        parts = [entry.decode().split(":", 2) for entry in entries]
        return [name[0] for _, _, *name in sorted(parts, key=lambda p: int(p[1]))]

    def metadata(self) -> dict[str, str]:
        """The origin of the model, from its config (task_id, ...)."""
        if self.library is tritonclient.grpc:
            config = self.client.get_model_config(self.model, as_json=True)["config"]
        else:
            config = self.client.get_model_config(self.model)
        found = config.get("parameters", {})
        return {key: value.get("string_value", "") for key, value in found.items()}

    def _ask(self, images, **wanted) -> np.ndarray:
        if isinstance(images, list):
            images = np.array(images, object).reshape(-1, 1)
        name, datatype = self.input["name"], self.input["datatype"]
        tensor = self.library.InferInput(name, list(images.shape), datatype)
        tensor.set_data_from_numpy(images)
        output = self.library.InferRequestedOutput(self.output, **wanted)
        try:
            answer = self.client.infer(
                self.model, [tensor], outputs=[output], **self.options
            )
        except FAILURES as error:
            raise InputError(f"the server at {self.url}: {one_line(error)}") from None
        return answer.as_numpy(self.output)

    def close(self) -> None:
        self.client.close()


def one_line(error: Exception) -> str:
    text = error.message() if isinstance(error, InferenceServerException) else error
    return " ".join(str(text).split())
