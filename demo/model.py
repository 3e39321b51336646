"""The model that a Triton server serves, asked by gRPC: photographs in, answers out."""

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # errors reach us as exceptions

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import tritonclient.grpc.aio as triton  # noqa: E402
from tritonclient.utils import InferenceServerException  # noqa: E402

from data_prep.image_file import BrokenImage  # noqa: E402
from data_prep.model_name import DEFAULT  # noqa: E402
from data_prep.preprocessing import Preprocessing, decode  # noqa: E402
from pipelines.repository.model_config import VERSION  # noqa: E402
from pipelines.serving.client import one_line  # noqa: E402

TIMEOUT_S = 10.0
LOOK_S = 2.0  # between two looks at which version is served
MAX_CLASSES = 1000
AWAY = (
    "StatusCode.UNAVAILABLE",
    "StatusCode.DEADLINE_EXCEEDED",
    "StatusCode.NOT_FOUND",
)
PROBABILITIES, LANDMARKS = "probabilities", "landmarks"
HAND, HANDEDNESS = "hand", "handedness"
FOUND = 0.5  # of `hand`, from which on there is one
RECONNECT = [  # a server that is back is asked at once, not after two minutes
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1000),
]


class Away(Exception):
    """No server answers, or it does not serve the model; the text is for the user."""


class Refused(Exception):
    """The server has refused this photograph; the text is its reason."""


@dataclass(frozen=True)
class Served:
    """What is known of the version that is served.

    Attributes:
        name, version: Of the model.
        labels: In the order of the probabilities.
        outputs: Names of what it answers.
        record: Of its preprocessing; None if it does not say.
        parameters: What its config says of where it comes from.
    """

    name: str
    version: str
    labels: tuple[str, ...]
    outputs: tuple[str, ...]
    record: Preprocessing | None
    parameters: dict[str, str]


@dataclass(frozen=True)
class Answer:
    """What the model says of one photograph.

    Attributes:
        served: Who says so.
        probabilities: ``(classes,)`` float32.
        landmarks: ``(21, 3)`` float64: x and y in shares of the photograph's width and
            height, z in shares of its width; None without a hand.
        hand, handedness: How surely there is one, and a right one; None if unknown.
    """

    served: Served
    probabilities: np.ndarray
    landmarks: np.ndarray | None
    hand: float | None
    handedness: float | None

    def as_json(self) -> dict:
        """The form in which client, gateway and page say what was answered."""
        by_label = dict(zip(self.served.labels, map(float, self.probabilities)))
        best = max(by_label, key=lambda label: by_label[label])
        found = {
            "predicted_class": best,
            "confidence": by_label[best],
            "all_predictions": by_label,
            "model": {"name": self.served.name, "version": self.served.version},
        }
        if self.hand is not None:
            found["hand"], found["handedness"] = self.hand, self.handedness
            points = self.landmarks
            found["landmarks"] = None if points is None else points.round(4).tolist()
        return found


class Model:
    """One model on a Triton server that may come and go.

    Args:
        find: Returns the server's ``host:port`` of gRPC, or None if none runs.
        name: Of the model.
    """

    def __init__(self, find: Callable[[], str | None], name: str = DEFAULT):
        self._find, self.name = find, name
        self._url: str | None = None
        self._client: triton.InferenceServerClient | None = None
        self._served: Served | None = None
        self._looked = 0.0  # when the version was asked for last
        self._describing = asyncio.Lock()

    async def ask(self, photograph: bytes, size: tuple[int, int] | None) -> Answer:
        """Ask about one encoded photograph.

        Args:
            size: Its width and height, pixels; None: found out when it is needed.

        Raises:
            Away: Nobody answers.
            Refused: It is no photograph, or a broken one.
        """
        served = await self.served()
        answer = await self._infer(photograph, served.outputs)
        values = {
            output.name: answer.as_numpy(output.name)[0]
            for output in answer.get_response().outputs
        }
        # with the labels of the version that answered, whatever is swapped meanwhile
        labels, probabilities = _labelled(values[PROBABILITIES])
        served = replace(served, labels=labels)
        hand = float(values[HAND][0]) if HAND in values else None
        landmarks = None
        if hand is not None and hand > FOUND and served.record and LANDMARKS in values:
            if size is None:
                size = await asyncio.to_thread(_size, photograph)
            width, height = size
            landmarks = served.record.in_photograph(values[LANDMARKS], height, width)
        right = float(values[HANDEDNESS][0]) if HANDEDNESS in values else None
        return Answer(served, probabilities, landmarks, hand, right)

    async def served(self) -> Served:
        """Describe the version that is served.

        Raises:
            Away: Nobody answers.
        """
        async with self._describing:
            if self._served and time.monotonic() - self._looked > LOOK_S:
                if _version(await self._config()) != self._served.version:
                    self._served = None
                self._looked = time.monotonic()
            if self._served is None:
                self._served = await self._describe()
                self._looked = time.monotonic()
            return self._served

    def look_again(self) -> None:
        """Another version may be served now."""
        self._looked = float("-inf")

    async def statistics(self) -> dict:
        """Triton's statistics of the models that do the work.

        Raises:
            Away: Nobody answers.
        """
        return await self._call(
            lambda client: client.get_inference_statistics(
                as_json=True, client_timeout=TIMEOUT_S
            )
        )

    async def close(self) -> None:
        if self._client:
            await self._client.close()

    async def _describe(self) -> Served:
        options = {"client_timeout": TIMEOUT_S}
        metadata = await self._call(
            lambda client: client.get_model_metadata(self.name, **options)
        )
        config = await self._config()
        found = config.get("parameters", {})
        parameters = {
            key: value.get("string_value", "") for key, value in found.items()
        }
        record = parameters.get("preprocessing")
        wanted = triton.InferRequestedOutput(PROBABILITIES, class_count=MAX_CLASSES)
        answer = await self._call(
            lambda client: client.infer(
                self.name, [_tensor(_grey())], outputs=[wanted], **options
            )
        )
        return Served(
            self.name,
            _version(config),
            _labelled(answer.as_numpy(PROBABILITIES)[0])[0],
            tuple(output.name for output in metadata.outputs),
            Preprocessing.from_json(record) if record else None,
            parameters,
        )

    async def _config(self) -> dict:
        found = await self._call(
            lambda client: client.get_model_config(
                self.name, as_json=True, client_timeout=TIMEOUT_S
            )
        )
        return found["config"]

    async def _infer(self, photograph, outputs):
        wanted = [
            triton.InferRequestedOutput(
                name, class_count=MAX_CLASSES if name == PROBABILITIES else 0
            )
            for name in outputs
        ]
        return await self._call(
            lambda client: client.infer(
                self.name,
                [_tensor(photograph)],
                outputs=wanted,
                client_timeout=TIMEOUT_S,
            )
        )

    def _connected(self):
        if self._client is None:
            self._url = self._find()
            if self._url is None:
                raise Away("no model server runs; start one with scripts/serve")
            self._client = triton.InferenceServerClient(
                self._url, channel_args=RECONNECT
            )
        return self._client

    async def _call(self, ask: Callable[[triton.InferenceServerClient], Awaitable]):
        client = self._connected()
        try:
            return await ask(client)
        except InferenceServerException as error:
            if error.status() == "StatusCode.INVALID_ARGUMENT" or (
                "broken image" in one_line(error)
            ):
                raise Refused(one_line(error)) from None
            if client is self._client:
                # The next one looks for the server anew: it may be another. To close
                # this client would cancel what others ask it; it goes with the last.
                self._client = self._served = None
            raise Away(
                f"the model server at {self._url} does not answer now "
                f"({one_line(error)})"
            ) from None


def _version(config: dict) -> str:
    """The deployed version; Triton's own number is the same for all of them."""
    return config.get("parameters", {}).get(VERSION, {}).get("string_value", "")


def _labelled(entries) -> tuple[tuple[str, ...], np.ndarray]:
    """Labels and probabilities in the order of the classes, of ``b"0.98:0:A"``."""
    parts = [entry.decode().split(":", 2) for entry in entries]
    parts.sort(key=lambda part: int(part[1]))
    labels = tuple(part[2] if len(part) > 2 else part[1] for part in parts)
    return labels, np.array([float(part[0]) for part in parts], np.float32)


def _tensor(photograph: bytes):
    tensor = triton.InferInput("image", [1, 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[photograph]], object))
    return tensor


def _grey() -> bytes:
    """A photograph of nothing, never the same: a cache would answer it."""
    shade = np.full((16, 16, 3), time.monotonic_ns() % 256, np.uint8)
    return cv2.imencode(".png", shade)[1].tobytes()


def _size(photograph: bytes) -> tuple[int, int]:
    try:
        height, width = decode(photograph).shape[:2]
    except BrokenImage as error:
        raise Refused(str(error)) from None
    return width, height


def parse_record(text: str) -> dict:
    """A JSON object of a config's parameter; empty if it is none."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
