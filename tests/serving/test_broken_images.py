"""Images that cannot be answered fail alone, with a sentence, whatever they are."""

import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from matrix_model import expect
from tritonclient.utils import InferenceServerException

from benchmarks import hostile_images
from benchmarks.hostile_images import nasties
from data_prep.errors import InputError
from data_prep.image_file import BrokenImage
from pipelines.repository.model_config import Settings
from pipelines.serving import deployment
from pipelines.serving.client import LIBRARIES, TritonClient
from pipelines.serving.verification import requests, verify

pytestmark = pytest.mark.slow


def chunk(kind: bytes, body: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + body))
    return struct.pack(">I", len(body)) + kind + body + check


def png(width: int, height: int, rows: int, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG that claims a size and holds so many black rows of it."""
    pixel = {2: 3, 6: 4}[colour] * depth // 8
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = zlib.compress(bytes((1 + width * pixel) * rows), 1)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", body)
        + chunk(b"IEND", b"")
    )


def encoded(kind: str, *options: int) -> bytearray:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    return bytearray(cv2.imencode(kind, image, options)[1].tobytes())


def jpeg(width: int, height: int, *garbage: int) -> bytes:
    """A JPEG whose header claims another size, perhaps behind meaningless bytes."""
    data = encoded(".jpg")
    at = data.find(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data[:2]) + bytes(garbage) + bytes(data[2:])


def webp(width: int, height: int) -> bytes:
    data = encoded(".webp", cv2.IMWRITE_WEBP_QUALITY, 50)
    assert data[12:16] == b"VP8 "
    data[26:30] = struct.pack("<HH", width, height)
    return bytes(data)


def lossless_webp(width: int, height: int) -> bytes:
    data = encoded(".webp", cv2.IMWRITE_WEBP_QUALITY, 101)
    assert data[12:16] == b"VP8L"
    size = (width - 1) | (height - 1) << 14
    data[21:25] = struct.pack("<I", size)
    return bytes(data)


def bmp(width: int, height: int) -> bytes:
    data = encoded(".bmp")
    data[18:26] = struct.pack("<ii", width, height)
    return bytes(data)


BROKEN = {
    "empty": (b"", "the file is empty"),
    "a letter": (b"\xff", "no JPEG, PNG, WebP or BMP"),
    "text": (b"this is not a photograph", "no JPEG, PNG, WebP or BMP"),
    "a script": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no JPEG"),
    "half a JPEG": (bytes(encoded(".jpg")[:2000]), "truncated"),
    "half a PNG": (bytes(encoded(".png")[:2000]), "truncated"),
    "half a WebP": (bytes(encoded(".webp")[:2000]), "truncated"),
    "a huge PNG": (png(100_000, 100_000, 1), "claims 100000 x 100000 pixels"),
    "a deep PNG": (png(7000, 7000, 1, 16, 6), "373 MiB decoded"),
    "an empty PNG": (png(6000, 4000, 2), "no photograph is that small"),
    "a huge JPEG": (jpeg(65_000, 65_000), "claims 65000 x 65000 pixels"),
    "an empty JPEG": (jpeg(9000, 9000), "no photograph is that small"),
    "a hidden JPEG": (jpeg(9000, 9000, 0xFF, 0, 7, 0xFF, 0xFF, 0xD0), "that small"),
    "a huge WebP": (webp(16_383, 16_383), "claims 16383 x 16383 pixels"),
    "a lossless WebP": (lossless_webp(16_000, 16_000), "claims 16000 x 16000"),
    "a huge BMP": (bmp(60_000, -60_000), "claims 60000 x 60000 pixels"),
}


SHAPES = ["fused", pytest.param("ensemble", marks=pytest.mark.campaign)]


@pytest.fixture(scope="module", params=SHAPES)
def asking(request, server, artifacts):
    """Asks for the answer to a list of files, of a model of either shape."""
    urls = {"grpc": server.grpc_url}
    settings = Settings(instances=2, shape=request.param)
    deployment.deploy(artifacts, server.repository, {}, settings, urls)
    with TritonClient(server.grpc_url) as ask:
        yield ask
    deployment.deploy(artifacts, server.repository, {}, urls=urls)


def test_each_fails_alone_among_requests_that_come_at_the_same_time(
    asking, artifacts, photographs
):
    good = [path.read_bytes() for path in photographs.values()]
    expected = expect(artifacts, good)
    asked = [[data] for data, _ in BROKEN.values()]
    asked += [[data] for data in good] * 8
    order = np.random.default_rng(1).permutation(len(asked))

    def answer(which):
        try:
            return asking(asked[which])[0]
        except InputError as error:
            return str(error)

    with ThreadPoolExecutor(8) as pool:
        answers = dict(zip(order, pool.map(answer, order)))

    for number, (name, (_, reason)) in enumerate(BROKEN.items()):
        sentence = answers[number]
        assert "broken image: " in sentence and reason in sentence, (name, sentence)
    for number in range(len(BROKEN), len(asked)):
        right = expected[(number - len(BROKEN)) % len(good)]
        np.testing.assert_allclose(answers[number], right, rtol=0, atol=1e-5)


def test_in_a_request_of_several_the_sentence_says_which(asking, photographs):
    good = photographs["wide.jpg"].read_bytes()

    with pytest.raises(InputError, match="file is empty .*image 2 of the 3 in this"):
        asking([good, b"", good])


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_it_is_the_clients_mistake_by_the_status_too(asking, protocol, server):
    """Monitors count 5xx and INTERNAL as outages of the server."""
    library = LIBRARIES[protocol]
    url = {"grpc": server.grpc_url, "http": server.http_url}[protocol]
    tensor = library.InferInput("image", [1, 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[b"this is not a photograph"]], object))
    with library.InferenceServerClient(url) as client:
        with pytest.raises(InferenceServerException) as caught:
            client.infer("asl", [tensor])
    expected = {"grpc": "StatusCode.INVALID_ARGUMENT", "http": "400"}
    assert caught.value.status() == expected[protocol]


@pytest.fixture(scope="module")
def large() -> list[bytes]:
    """What the limits are not meant for: 12 megapixels, and flat grey."""
    random = np.random.default_rng(3)
    small = random.integers(0, 256, (30, 40, 3), dtype=np.uint8)
    large = cv2.resize(small, (4000, 3000), interpolation=cv2.INTER_LINEAR)
    grey = np.full((1000, 1500, 3), 128, np.uint8)
    return [
        cv2.imencode(kind, image, options)[1].tobytes()
        for kind, image, options in (
            (".jpg", large, [cv2.IMWRITE_JPEG_QUALITY, 30]),
            (".jpg", large, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]),
            (".png", grey, []),
            (".jpg", grey, []),
            (".webp", grey, []),
        )
    ]


def test_large_photographs_of_every_kind_are_answered(asking, artifacts, large):
    answers = np.concatenate([asking([data]) for data in large])

    np.testing.assert_allclose(answers, expect(artifacts, large), rtol=0, atol=1e-5)


def test_hostile_images_are_answered_or_refused_as_training_would(asking, artifacts):
    wrong = {}
    for name, make in nasties(megabytes=1).items():
        data = make()
        try:
            expected = expect(artifacts, [data])
        except BrokenImage as error:
            expected = f"broken image: {error}"
        try:
            right = np.allclose(asking([data]), expected, rtol=0, atol=1e-5)
        except InputError as error:
            right = isinstance(expected, str) and expected in str(error)
        if not right:
            wrong[name] = expected
    assert not wrong


def test_the_images_of_a_request_are_bounded_together(asking, artifacts):
    black = nasties()["PNG, 33 megapixels of nothing"]()
    good = hostile_images.jpeg(np.full((40, 40, 3), 99, np.uint8))

    with pytest.raises(InputError, match="2123 megapixels together; at most 268"):
        asking([black] * 64)
    # what is refused as a whole names no image
    with pytest.raises(InputError, match="send fewer at a time$"):
        asking([good] + [black] * 9)
    np.testing.assert_allclose(asking([good]), expect(artifacts, [good]), atol=1e-5)


def test_verifying_leaves_out_what_has_come_to_be_over_a_limit(
    asking, artifacts, capsys
):
    good = [hostile_images.jpeg(np.full((40, 40, 3), x, np.uint8)) for x in range(9)]
    wall = hostile_images.claiming(good[0], 20_000, 20_000) + bytes(1 << 20)
    photographs = [*good[:3], wall, *good[3:]]
    expected = expect(artifacts, good)
    expected = np.insert(expected, 3, 0, axis=0)

    result = verify(photographs, expected.argmax(1), expected, {"grpc": asking})

    assert (result["left_out"], result["images"]) == (1, len(photographs) - 1)
    assert result["agreeing"] == result["correct"] == result["images"]
    assert "1 of the photographs are left out, such as number 4: it claims 20000" in (
        capsys.readouterr().err
    )


def test_verifying_keeps_to_the_limit_of_a_request():
    black = nasties()["PNG, 33 megapixels of nothing"]()
    assert [len(part) for part in requests([black] * 9 + [b""], 32)] == [8, 2]
    assert [len(part) for part in requests([b""] * 9, 4)] == [4, 4, 1]
