#!/usr/bin/env python3
"""Check that the server really classifies; needs nothing but Python.

    python3 probe.py [--url http://localhost:8000] [--count 8] [--end-after N]

Sends several small pictures to each model that clients call, so that each of its
processes is likely to be asked: Triton still calls a model ready after its process has
died. No two are the same, or a response cache would answer. A busy server may be slow:
it is enough that one is answered in time and none with an error. Exit code 0, or 1 and
the reason in one line.

Docker does not restart a container that is unhealthy, only one that has ended. With
--end-after (or PROBE_END_AFTER in the environment) the server is asked to end when that
many checks in a row have failed; not before one has succeeded, since a server may take
minutes to start.
"""

import argparse
import json
import os
import signal
import struct
import sys
import time
import urllib.error
import urllib.request
import zlib
from pathlib import Path

INPUT = "image"


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


def served(ask):
    """Name the models that clients send pictures to: those with a NAME_classifier."""
    with ask("/v2/models/stats") as answer:
        names = {model["name"] for model in json.load(answer)["model_stats"]}
    return sorted(name for name in names if name + "_classifier" in names)


def request(url, model):
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
        "%s/v2/models/%s/infer" % (url, model),
        data=header + tensor,
        headers={"Inference-Header-Content-Length": str(len(header))},
    )


def failure(url, count, timeout, model=None):
    """Ask the server; return in one line what is wrong with it, or None."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + timeout
    answered = 0

    def ask(what):
        return opener.open(what, timeout=max(0.1, deadline - time.monotonic()))

    try:
        models = [model] if model else served(lambda path: ask(url + path))
        if not models:
            return "it serves no model"
        for name in models * count:
            if time.monotonic() > deadline:
                break
            with ask(request(url, name)) as answer:
                json.load(answer)["outputs"]
            answered += 1
    except TimeoutError:
        if not answered:
            return "no answer within %g s" % timeout
    except urllib.error.HTTPError as error:
        return "error %d: %s" % (error.code, error.read(500).decode(errors="replace"))
    except (OSError, ValueError, KeyError) as error:
        return "no answer: %s" % error
    return None


def failed_in_a_row(state, failed):
    """Count this check; return how many have failed since the last success.

    Args:
        state: File with that number; missing as long as none has succeeded.
    """
    if failed and not state.exists():
        return 0
    count = int(state.read_text() or 0) + 1 if failed else 0
    state.write_text(str(count))
    return count


class Parser(argparse.ArgumentParser):
    """Tells a mistake in one line."""

    def error(self, message):
        self.exit(2, "error: %s (see %s --help)\n" % (message, self.prog))


def main():
    parser = Parser(description="Does the server really classify?")
    parser.add_argument("--url", default="http://localhost:8000", help="of the server")
    parser.add_argument("--count", type=int, default=8, help="pictures a model (8)")
    parser.add_argument(
        "--timeout", type=float, default=20, help="of all together, seconds (20)"
    )
    parser.add_argument(
        "--end-after",
        type=int,
        default=int(os.environ.get("PROBE_END_AFTER") or 0),
        help="failures in a row that end the server (0: none do)",
    )
    parser.add_argument(
        "--process", type=int, default=1, help="that is asked to end (1, a container's)"
    )
    parser.add_argument(
        "--state",
        type=Path,
        # a container's own, and empty whenever it starts
        default="/dev/shm/asl-probe",
        help="file that failures are counted in (/dev/shm/asl-probe)",
    )
    options = parser.parse_args()
    wrong = failure(options.url.rstrip("/"), options.count, options.timeout)
    if wrong:
        print(wrong)
    if options.end_after:
        failed = failed_in_a_row(options.state, bool(wrong))
        if failed >= options.end_after:
            print("%d failures in a row: the server is asked to end" % failed)
            options.state.unlink()
            os.kill(options.process, signal.SIGTERM)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
