#!/usr/bin/env python3
"""Does the server really classify? For health checks; needs nothing but Python.

    python3 probe.py [--url http://localhost:8000] [--count 8]

Sends several small pictures, so that each of a model's processes is likely to be asked:
Triton goes on calling a model ready whose process has died. No two are the same, or a
response cache would answer. A busy server may be slow: it is enough that one is
answered in time and none with an error. Exit code 0, or 1 and the reason in one line.
"""

import argparse
import json
import os
import struct
import sys
import time
import urllib.error
import urllib.request
import zlib

MODEL, INPUT = "asl", "image"


def picture(side=32):
    """Make a square of grey noise, as a PNG."""

    def chunk(kind, body):
        check = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + check

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    rows = zlib.compress(b"".join(b"\0" + os.urandom(side) for _ in range(side)))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", rows)
        + chunk(b"IEND", b"")
    )


def request(url):
    """Build the request, with the picture in Triton's binary form."""
    data = picture()
    tensor = struct.pack("<I", len(data)) + data
    described = {
        "name": INPUT,
        "shape": [1, 1],
        "datatype": "BYTES",
        "parameters": {"binary_data_size": len(tensor)},
    }
    # the models do not count requests of this id in their metrics
    header = json.dumps({"id": "probe", "inputs": [described]}).encode()
    return urllib.request.Request(
        "%s/v2/models/%s/infer" % (url, MODEL),
        data=header + tensor,
        headers={"Inference-Header-Content-Length": str(len(header))},
    )


def main():
    parser = argparse.ArgumentParser(description="Does the server really classify?")
    parser.add_argument("--url", default="http://localhost:8000", help="of the server")
    parser.add_argument("--count", type=int, default=8, help="pictures sent (8)")
    parser.add_argument(
        "--timeout", type=float, default=20, help="of all together, seconds (20)"
    )
    options = parser.parse_args()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + options.timeout
    answered = 0
    try:
        while answered < options.count and time.monotonic() < deadline:
            sent = request(options.url.rstrip("/"))
            left = max(0.1, deadline - time.monotonic())
            with opener.open(sent, timeout=left) as answer:
                json.load(answer)["outputs"]
            answered += 1
    except TimeoutError:
        if not answered:
            print("no answer within %g s" % options.timeout)
            return 1
    except urllib.error.HTTPError as error:
        print("error %d: %s" % (error.code, error.read(500).decode(errors="replace")))
        return 1
    except (OSError, ValueError, KeyError) as error:
        print("no answer: %s" % error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
