"""How requests are broken: each kind makes the bytes of one, out of a right one.

A kind is a function of chance and a small photograph; the same chance makes the same
bytes. `KINDS` does no harm; `HARMFUL` is what Triton 24.10 does not stand.
"""

import json
import random
import zlib

from tritonclient.grpc import service_pb2

from benchmarks.serve_load import GRPC_PREFIX, http_request, triton_grpc, triton_http
from pipelines.repository.model_config import MODEL

UNPACKED = 4 << 20  # bytes of compressed requests; more would be a test of the memory
HTTP, GRPC, WIRE = "HTTP", "gRPC", "HTTP/2"  # the last: bytes at the gRPC port
HEAD_LENGTH = "Inference-Header-Content-Length"
ODD_NUMBERS = (0, -1, 2**31, 2**32, 2**63 - 1, -(2**63), 10**30, 0.5, 1e308)
ODD_VALUES = (*ODD_NUMBERS, None, True, "", "1", [], {}, [[1]], "\0", "x" * 70000)
ODD_TYPES = ("", "bytes", "UINT8", "FP16", "BF16", "BOOL", "INT64", "X" * 5000)
# What a stranger must not be answered.
CLOSED = ("repository/index", "repository/models/asl/load", "logging", "trace/setting")
CLOSED_METHODS = ("RepositoryIndex", "RepositoryModelUnload", "LogSettings")
DEEP, CHUNKS = 200_000, 600_000  # of which Triton has too small a stack


def mutated_bytes(chance: random.Random, data: bytes, most: int = 12) -> bytes:
    """Change, drop, double or insert a few bytes, or cut the end off."""
    data = bytearray(data)
    for _ in range(chance.randint(1, most)):
        at = chance.randrange(len(data) or 1)
        length = chance.choice((1, 1, 2, 8, 64))
        how = chance.choice("change change drop double insert cut".split())
        if how == "cut":
            del data[max(at, 1) :]
        elif how == "drop":
            del data[at : at + length]
        elif how == "double":
            data[at:at] = data[at : at + length]
        else:
            end = at + length if how == "change" else at
            data[at:end] = chance.randbytes(length)
    return bytes(data)


def parts(photograph: bytes) -> tuple[dict, bytes]:
    """A right HTTP request's header and binary data."""
    head, _, body = triton_http("", MODEL, photograph).partition(b"\r\n\r\n")
    length = int(head.decode().partition(f"{HEAD_LENGTH}: ")[2].split()[0])
    return json.loads(body[:length]), body[length:]


def infer(head: dict | bytes, data: bytes, path=f"/v2/models/{MODEL}/infer", **headers):
    head = head if isinstance(head, bytes) else json.dumps(head).encode()
    headers = {HEAD_LENGTH: str(len(head)), **headers}
    return http_request("localhost", path, head + data, headers)


def odd_place(chance: random.Random, value):
    """Replace something, anywhere in a JSON value, by something odd; or drop it."""
    if isinstance(value, dict) and value and chance.random() < 0.85:
        key = chance.choice(sorted(value))
        changed = dict(value)
        if chance.random() < 0.15:
            del changed[key]
        else:
            changed[key] = odd_place(chance, value[key])
        return changed
    if isinstance(value, list) and value and chance.random() < 0.7:
        changed = list(value)
        at = chance.randrange(len(value))
        changed[at] = odd_place(chance, value[at])
        return changed
    return chance.choice(ODD_VALUES)


def broken_photograph(chance, photograph):
    return triton_http("localhost", MODEL, mutated_bytes(chance, photograph))


def odd_json_values(chance, photograph):
    head, data = parts(photograph)
    return infer(odd_place(chance, head), data)


def broken_json(chance, photograph):
    head, data = parts(photograph)
    return infer(mutated_bytes(chance, json.dumps(head).encode(), 4), data)


def deep_json(chance, photograph):
    depth = chance.choice((100, 10_000, 50_000))
    opening, closing = chance.choice((("[", "]"), ('{"a":', "}"), ('{"inputs":[', "")))
    return infer((opening * depth + closing * depth).encode(), b"")


def long_json_tensor(chance, photograph):
    pixels = [chance.choice((0, 255, 256, -1, 1e9, "1", None))] * 32 * 32 * 3
    shape = chance.choice(([1, 32, 32, 3], [3072], [-1, 32, 32, 3], [1 << 20, 3]))
    tensor = {"name": "image", "datatype": "UINT8", "shape": shape, "data": pixels}
    path = "/v2/models/asl_classifier/infer"
    body = json.dumps({"inputs": [tensor]}).encode()
    return http_request("localhost", path, body, {})


def deepest_json(chance, photograph):
    return infer(b"[" * DEEP, b"")


def many_chunks(chance, photograph):
    """A body in chunks of one byte, of which each takes 16 bytes of Triton's stack."""
    head = f"POST /v2/models/{MODEL}/infer HTTP/1.1\r\nHost: localhost\r\n"
    head += "Transfer-Encoding: chunked\r\n\r\n"
    return head.encode() + b"1\r\n \r\n" * CHUNKS + b"0\r\n\r\n"


def largest_shape(chance, photograph):
    tensor = {"name": "image", "datatype": "UINT8", "shape": [1 << 40, 3], "data": [0]}
    path = "/v2/models/asl_classifier/infer"
    return infer(json.dumps({"inputs": [tensor]}).encode(), b"", path=path)


def odd_lengths(chance, photograph):
    """Tensors and heads that claim to be as long as they are not."""
    head, data = parts(photograph)
    if chance.random() < 0.5:
        size = chance.choice(ODD_NUMBERS)
        head["inputs"][0]["parameters"]["binary_data_size"] = size
        return infer(head, data)
    return infer(head, data, **{HEAD_LENGTH: str(chance.choice(ODD_VALUES))[:100]})


def short_element(chance, photograph):
    """A photograph that claims to be longer than what is there."""
    head, data = parts(photograph)
    word = chance.choice((2**31, 2**32 - 1, len(data) - 3)).to_bytes(4, "little")
    return infer(head, word + data[4:])


def odd_body_length(chance, photograph):
    request = triton_http("localhost", MODEL, photograph)
    head, _, body = request.partition(b"\r\n\r\n")
    length = chance.choice(("0", "-1", "9" * 20, "0x10", "", str(len(body) + 100), "1"))
    head = head.replace(b"Content-Length: %d" % len(body), b"")
    return head.rstrip() + f"\r\nContent-Length: {length}\r\n\r\n".encode() + body


def broken_chunks(chance, photograph):
    head, data = parts(photograph)
    text = json.dumps(head).encode()
    size = chance.choice((b"%x" % len(text), b"ffffffffffffffff", b"-1", b"zz", b"0"))
    start = f"POST /v2/models/{MODEL}/infer HTTP/1.1\r\nHost: localhost\r\n"
    start += (
        f"Transfer-Encoding: {chance.choice(('chunked', 'chunked, chunked', 'x'))}\r\n"
    )
    start += chance.choice(("", "Content-Length: 5\r\n")) + "\r\n"
    return start.encode() + size + b"\r\n" + text + b"\r\n0\r\n\r\n"


def odd_path(chance, photograph):
    path = chance.choice(
        (
            "/v2/models//infer",
            "/v2/models/%00/infer",
            "/v2/models/asl/versions/-1/infer",
        )
        + ("/v2/models/asl/versions/99999999999999999999/infer", "/" + "a" * 70000)
        + ("/v2/models/../../etc/passwd", "/v2/models/asl/infer/infer", "*", "")
        + ("/v2/models/" + "b" * 5000 + "/infer", "/v2/models/asl_fused_1/generate")
    )
    return infer(*parts(photograph), path=path)


def broken_start(chance, photograph):
    request = triton_http("localhost", MODEL, photograph)
    head, _, body = request.partition(b"\r\n\r\n")
    return mutated_bytes(chance, head, 6) + b"\r\n\r\n" + body


def odd_headers(chance, photograph):
    name = chance.choice(
        ("X", "Cookie", "Content-Type", "Expect", "Connection", "Host")
    )
    value = chance.choice(("x" * 100_000, "100-continue", "", "a\x01b", "close, close"))
    return infer(*parts(photograph), **{name: value})


def garbage(chance, photograph):
    return chance.randbytes(chance.choice((1, 10, 1000, 100_000)))


def compressed(chance, photograph):
    kind = chance.choice(("gzip", "deflate", "br", "gzip, gzip", "identity"))
    packer = zlib.compressobj(9, zlib.DEFLATED, 31 if "gzip" in kind else 15)
    data = packer.compress(bytes(UNPACKED)) + packer.flush()
    data = mutated_bytes(chance, data) if chance.random() < 0.5 else data
    return infer(b"", data, **{"Content-Encoding": kind})


def shared_memory(chance, photograph):
    head, _ = parts(photograph)
    region = {"shared_memory_region": chance.choice(("x", "", "../x", "asl_triton"))}
    region["shared_memory_byte_size"] = chance.choice((0, 64, 2**63 - 1))
    region["shared_memory_offset"] = chance.choice((0, 2**63 - 1))
    head["inputs"][0]["parameters"] = region
    return infer(head, b"")


def closed_calls(chance, photograph):
    body = json.dumps({"parameters": {"config": "{}", "file:1/model.py": "AAAA"}})
    key = {"asl-key": chance.choice(("", "0" * 64, "\xe9" * 64))}
    return http_request("localhost", f"/v2/{chance.choice(CLOSED)}", body.encode(), key)


def message(photograph: bytes) -> bytes:
    return triton_grpc(MODEL, photograph)[GRPC_PREFIX:]


def broken_message(chance, photograph):
    data = message(photograph)
    at = chance.choice((len(data), 120))  # the fields come before the photograph
    return mutated_bytes(chance, data[:at], 6) + data[at:]


def odd_message(chance, photograph):
    request = service_pb2.ModelInferRequest.FromString(message(photograph))
    tensor, output = request.inputs[0], request.outputs[0]
    numbers = [x for x in ODD_NUMBERS if isinstance(x, int) and abs(x) < 2**63]
    for _ in range(chance.randint(1, 3)):
        what = chance.randrange(9)
        if what == 0:
            tensor.shape[:] = chance.choices(numbers, k=chance.choice((0, 1, 2, 5000)))
        elif what == 1:
            tensor.datatype = chance.choice(ODD_TYPES)
        elif what == 2:
            tensor.name = output.name = chance.choice(("", "x" * 70000, "\0"))
        elif what == 3:
            request.raw_input_contents.append(b"\xff" * chance.choice((0, 4, 5000)))
        elif what == 4:
            tensor.contents.bytes_contents.append(photograph[:100])
        elif what == 5:
            output.parameters["classification"].int64_param = chance.choice(numbers)
        elif what == 6:
            name = chance.choice(("priority", "timeout", "sequence_id", "sequence_end"))
            request.parameters[name].int64_param = chance.choice(numbers)
        elif what == 7:
            request.model_version = chance.choice(("-1", "x", "9" * 30))
        else:
            tensor.parameters["shared_memory_region"].string_param = "x"
    return request.SerializeToString()


def random_message(chance, photograph):
    return chance.randbytes(chance.choice((0, 1, 100, 100_000)))


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def broken_frames(chance, photograph):
    frames = b""
    for _ in range(chance.randint(1, 50)):
        body = chance.randbytes(chance.choice((0, 4, 6, 100)))
        length = chance.choice((len(body), 0, 2**24 - 1)).to_bytes(3, "big")
        kind = bytes([chance.randrange(12), chance.randrange(256)])
        frames += length + kind + chance.randrange(2**31).to_bytes(4, "big") + body
    return chance.choice((PREFACE, PREFACE[:-3], b"")) + frames


BY_HTTP = (
    broken_photograph,
    odd_json_values,
    broken_json,
    deep_json,
    long_json_tensor,
    odd_lengths,
    odd_body_length,
    odd_path,
    broken_chunks,
    broken_start,
    odd_headers,
    garbage,
    compressed,
    shared_memory,
    closed_calls,
)
BY_GRPC = (
    broken_photograph,
    broken_message,
    odd_message,
    random_message,
    compressed,
    closed_calls,
)
KINDS = [(HTTP, kind) for kind in BY_HTTP]
KINDS += [(GRPC, kind) for kind in BY_GRPC]
KINDS += [(WIRE, kind) for kind in (broken_frames, garbage)]
# The first three end the server, the fourth costs the requests that were batched with
# it. See "What reaching a port allows" in triton/README.md.
HARMFUL = [
    (HTTP, kind) for kind in (deepest_json, many_chunks, largest_shape, short_element)
]
