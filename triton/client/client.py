#!/usr/bin/env python3
"""Ask a Triton server which letters photographs show.

    python3 triton/client/client.py --image a.jpg [b.png ...]

Prints ``a.jpg: A (0.98)`` for each. The files are sent as they are; decoding, labels
and batch size are the server's. Needs tritonclient[grpc,http] and numpy, nothing else.

    ... --url asl.example.org:8443 --ssl --ca certificate.pem --header @laptop.header

asks one behind TLS; the token is read from a file, for others see the command line.
Exit code: 0 all answered, 2 one line on standard error for whatever was not.
"""

import argparse
import json
import os
import re
import signal
import ssl
import sys

# Ctrl-C ends it at once, in the imports as well: there is nothing to tidy up.
if __name__ == "__main__":
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)

# Read when gRPC is imported: its errors reach us as exceptions, its log is of no use.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import numpy as np  # noqa: E402
import tritonclient.grpc  # noqa: E402
import tritonclient.http  # noqa: E402
from tritonclient.utils import InferenceServerException  # noqa: E402

PORTS = {"grpc": 8001, "http": 8000}
TIMEOUT_S = 60
UNAVAILABLE = ("StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED", "502", "504")
UNTRUSTED = ("CERTIFICATE_VERIFY_FAILED", "Hostname Verification Check failed")
UNAUTHORIZED = ("StatusCode.UNAUTHENTICATED", "401")
# A request is copied through shared memory, of which containers have little.
MAX_REQUEST_BYTES = 16 << 20
NAME = re.compile("[A-Za-z0-9_.-]+")  # of a header


class Failure(Exception):
    """Nothing more can be answered; the text is one line for the user."""


class Refused(Exception):
    """The server is there but has refused this request; the text is its reason."""


class Server:
    """One model on one server, by either protocol.

    Args:
        headers: Sent with each request, such as ``{"authorization": "Bearer ..."}``.
        tls: Whether to use it.
        ca: PEM file of the authorities to trust; None: those the library brings along.

    Attributes:
        batch_size: The most images the model takes in one request.
    """

    def __init__(self, protocol, url, model, headers, tls=False, ca=None):
        self.url, self.model, self.protocol = url, model, protocol
        ask_directly(url)
        self.headers = headers
        if protocol == "grpc":
            self.library, self.arguments = tritonclient.grpc, {"as_json": True}
            settings = {"root_certificates": ca}
            self.timeout = {"client_timeout": TIMEOUT_S}
        else:
            self.library, self.arguments, self.timeout = tritonclient.http, {}, {}
            settings = {"connection_timeout": 10, "network_timeout": TIMEOUT_S}
            settings["ssl_options"] = {"ca_certs": ca} if ca else None
        try:
            ssl.create_default_context(cafile=ca)  # can it be read?
        except OSError as error:
            raise Failure("--ca %s: %s" % (ca, error.strerror)) from None
        try:
            self.client = self.library.InferenceServerClient(url, ssl=tls, **settings)
        except Exception as error:
            raise Failure("'%s' is not host:port (%s)" % (url, error)) from None
        try:
            metadata = self.call("get_model_metadata", model, **self.arguments)
            config = self.call("get_model_config", model, **self.arguments)
        except Refused as error:
            raise Failure(self.why_not(str(error))) from None
        config = config.get("config", config)  # gRPC wraps it once more
        self.input, self.output = metadata["inputs"][0], metadata["outputs"][0]
        if len(metadata["inputs"]) > 1 or self.input["datatype"] != "BYTES":
            raise Failure("model '%s' does not take encoded images" % model)
        self.batch_size = max(1, config.get("max_batch_size", 0))

    def call(self, method, *arguments, **options):
        """Call the client library; tell a silent server from one that refuses."""
        options.update(self.timeout, headers=dict(self.headers))
        try:
            return getattr(self.client, method)(*arguments, **options)
        except InferenceServerException as error:
            if error.status() in UNAUTHORIZED:
                raise Failure(
                    "the server at %s wants a valid token; name the file that has it "
                    "with --header @FILE" % self.url
                ) from None
            if error.status() not in UNAVAILABLE:
                raise Refused(" ".join(error.message().split())) from None
            reason = error.message().splitlines()[0]
        except Exception as error:  # refused, timed out, not HTTP, ...
            reason = str(error) or type(error).__name__
        if any(sign in reason for sign in UNTRUSTED):
            raise Failure(
                "the certificate of the server at %s is not trusted, or for another "
                "name; --ca names a file with it, or with its authority's (%s)"
                % (self.url, reason)
            )
        raise Failure(
            "no Triton server answers at %s by %s (%s); start one with scripts/serve, "
            "or name it with --url" % (self.url, self.protocol, reason)
        )

    def why_not(self, reason):
        """Explain a refused model, naming those that are served."""
        try:  # the repository's index is not for everybody
            statistics = self.call("get_inference_statistics", **self.arguments)
        except Refused:
            return "model '%s': %s" % (self.model, reason)
        names = sorted({m["name"] for m in statistics.get("model_stats", [])})
        if self.model in names:
            return "model '%s': %s" % (self.model, reason)
        return "the server at %s does not serve a model '%s'; it serves: %s" % (
            self.url,
            self.model,
            ", ".join(names) or "none",
        )

    def classify(self, files, top):
        """Send encoded images in one request.

        Returns:
            For each image, the ``top`` most probable ``(label, probability)``.

        Raises:
            Refused: The server could not answer, for one image's fault or another's.
        """
        shape = [len(files) if int(n) == -1 else int(n) for n in self.input["shape"]]
        tensor = self.library.InferInput(self.input["name"], shape, "BYTES")
        tensor.set_data_from_numpy(np.array(files, object).reshape(shape))
        wanted = self.library.InferRequestedOutput(self.output["name"], class_count=top)
        answer = self.call("infer", self.model, [tensor], outputs=[wanted])
        rows = answer.as_numpy(self.output["name"]).reshape(len(files), -1)
        return [[parse(entry) for entry in row] for row in rows]


def ask_directly(url):
    """Keep the environment's proxy out of the way to this very machine."""
    host = url.rpartition(":")[0].strip("[]")
    if host == "localhost" or host == "::1" or host.startswith("127."):
        os.environ["no_proxy"] = os.environ["no_grpc_proxy"] = host


def parse(entry):
    """Split the server's ``b"0.98:0:A"``; without a label the index stands for it."""
    probability, index, *label = entry.decode().split(":", 2)
    return (label or [index])[0], float(probability)


def batches(paths, size, fail):
    """Read files into batches of at most ``size`` files and MAX_REQUEST_BYTES.

    Yields lists of ``(path, bytes)``; files that cannot be read go to ``fail``.
    """
    batch, total = [], 0
    for path in paths:
        try:
            with open(path, "rb") as file:
                data = file.read()
        except OSError as error:
            fail(path, error.strerror)
            continue
        if batch and (len(batch) == size or total + len(data) > MAX_REQUEST_BYTES):
            yield batch
            batch, total = [], 0
        batch.append((path, data))
        total += len(data)
    if batch:
        yield batch


def answers(server, paths, top, fail):
    """Yield ``(path, [(label, probability), ...])`` for every image that has one."""
    for batch in batches(paths, server.batch_size, fail):
        try:
            yield from zip(
                [path for path, _ in batch],
                server.classify([data for _, data in batch], top),
            )
            continue
        except Refused:
            pass
        for path, data in batch:  # one broken image must not cost the others' answers
            try:
                yield path, server.classify([data], top)[0]
            except Refused as error:
                fail(path, str(error).replace("in ensemble '%s', " % server.model, ""))


def read_headers(entries):
    """Turn ["NAME:VALUE", "@FILE", ...] into a dictionary, names in lower case.

    Raises:
        Failure: A file cannot be read, or an entry (not shown: it may be secret) is
            none.
    """
    headers = {}
    for entry in entries:
        lines = [entry]
        if entry.startswith("@"):
            try:
                with open(entry[1:], encoding="ascii") as file:
                    lines = file.read().splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise Failure("--header %s: %s" % (entry, error)) from None
        for line in lines:
            name, colon, value = line.partition(":")
            if not (colon and NAME.fullmatch(name) and value.strip().isprintable()):
                raise Failure("--header takes NAME:VALUE, or @FILE with such lines")
            headers[name.lower()] = value.strip()  # gRPC insists on lower case
    return headers


def main():
    parser = argparse.ArgumentParser(
        description="Ask a Triton server which letters photographs show."
    )
    parser.add_argument(
        "--image", nargs="+", required=True, metavar="FILE", help="photographs to ask"
    )
    parser.add_argument(
        "--url", help="host:port (default localhost:8001, with http localhost:8000)"
    )
    parser.add_argument(
        "--ssl", action="store_true", help="by TLS (also by https://host:port)"
    )
    parser.add_argument(
        "--ca",
        metavar="FILE",
        help="PEM of the server's certificate or its authority's",
    )
    parser.add_argument(
        "--header",
        action="append",
        default=[],
        metavar="NAME:VALUE",
        help="send it with every request; @FILE reads such lines from a file: other "
        "users of this machine can see command lines, so put tokens there",
    )
    parser.add_argument("--protocol", choices=sorted(PORTS), default="grpc")
    parser.add_argument("--model", default="asl", help="default asl")
    parser.add_argument(
        "--top", type=int, default=1, metavar="N", help="letters a photograph (1)"
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON list instead of lines"
    )
    options = parser.parse_args()
    if options.top < 1:
        parser.error("--top is %d; it must be at least 1" % options.top)
    url = options.url or "localhost:%d" % PORTS[options.protocol]
    scheme, _, url = url.rpartition("://")
    tls = options.ssl or scheme == "https"
    if options.ca and not tls:
        parser.error("--ca %s is of use with --ssl only" % options.ca)

    records, failed = [], []

    def fail(path, reason):
        print("error: %s: %s" % (path, reason), file=sys.stderr)
        failed.append(path)
        records.append({"image": path, "error": reason})

    try:
        headers = read_headers(options.header)
        server = Server(options.protocol, url, options.model, headers, tls, options.ca)
        for path, letters in answers(server, options.image, options.top, fail):
            if not options.json:
                shown = ", ".join("%s (%.2f)" % letter for letter in letters)
                print("%s: %s" % (path, shown), flush=True)
            letters = [{"label": x, "probability": p} for x, p in letters]
            records.append({"image": path, "predictions": letters})
    except Failure as error:
        print("error: %s" % error, file=sys.stderr)
        failed.append(error)
    if options.json and records:
        records.sort(key=lambda record: options.image.index(record["image"]))
        print(json.dumps(records, indent=2))
    return 2 if failed else 0


if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):  # file names may be no UTF-8
        stream.reconfigure(errors="backslashreplace")
    sys.exit(main())
