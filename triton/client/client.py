#!/usr/bin/env python3
"""Ask a Triton server which letters photographs show.

    python3 triton/client/client.py --image photo.jpg folder '2026*/*.png'
    ... | python3 triton/client/client.py --image - --json
    python3 triton/client/client.py --camera 0

Prints ``photo.jpg: A (0.98)`` for each, and on standard error which model and version
answered. The files are sent as they are: the server decodes them, and knows the labels
and the batch size. Needs only tritonclient[grpc,http] and numpy; --video and --camera
also need OpenCV and the project around this file.

    ... --url asl.example.org:8443 --ssl --ca certificate.pem --header @laptop.header

asks a server behind TLS. The token is read from a file, because other users of the
machine can see the command line.
Exit code: 0 all answered; 2 bad input, each named in one line on standard error, and
the others answered; 3 no server answers.
"""

import argparse
import csv
import glob
import json
import os
import re
import signal
import ssl
import sys
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# Ctrl-C ends it at once during the imports, without a traceback of theirs.
_handler = signal.getsignal(signal.SIGINT)
if __name__ == "__main__" and _handler is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

# Read when gRPC is imported: its errors reach us as exceptions, its log is of no use.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

try:
    import numpy as np
    import tritonclient.grpc
    import tritonclient.http
    from tritonclient.utils import InferenceServerException
except ImportError as missing:
    print(
        "error: %s; install what this client needs: "
        "python3 -m pip install 'tritonclient[grpc,http]' numpy" % missing,
        file=sys.stderr,
    )
    sys.exit(2)
finally:
    if __name__ == "__main__" and _handler is signal.default_int_handler:
        signal.signal(signal.SIGINT, _handler)

PORTS = {"grpc": 8001, "http": 8000}
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")  # looked for in folders
STANDARD_INPUT = "-"
UNCERTAIN = "uncertain"
MAX_FILE_BYTES = 64 << 20
PROGRESS_S = 10  # between two lines, where there is no terminal
UNAVAILABLE = ("StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED", "502", "504")
UNTRUSTED = ("CERTIFICATE_VERIFY_FAILED", "Hostname Verification Check failed")
UNAUTHORIZED = ("StatusCode.UNAUTHENTICATED", "401")
# A request is copied through shared memory, of which containers have little.
MAX_REQUEST_BYTES = 16 << 20
NAME = re.compile("[A-Za-z0-9_.-]+")  # of a header


class Failure(Exception):
    """Nothing more can be answered; the text is one line for the user."""

    code = 2


class NoServer(Failure):
    """No server answers."""

    code = 3


class Refused(Exception):
    """The server is there but has refused this request; the text is its reason."""


class Server:
    """One model on one server, by either protocol.

    Args:
        headers: Sent with each request, such as ``{"authorization": "Bearer ..."}``.
        tls: Whether to use it.
        ca: PEM file of the authorities to trust; None: those the library brings along.
        timeout: Seconds that an answer may take.
        retries: How often a server that does not answer is asked once more.

    Attributes:
        batch_size: The most images the model takes in one request.
        outputs: Names of what the model answers.
        version: That was served when this was made.
        parameters: The origin of the model, from its config.
    """

    def __init__(
        self, protocol, url, model, headers, tls=False, ca=None, timeout=60, retries=0
    ):
        self.retries = retries
        self.url, self.model, self.protocol = url, model, protocol
        ask_directly(url)
        self.headers = headers
        if protocol == "grpc":
            self.library, self.arguments = tritonclient.grpc, {"as_json": True}
            settings = {"root_certificates": ca}
            self.timeout = {"client_timeout": timeout}
        else:
            self.library, self.arguments, self.timeout = tritonclient.http, {}, {}
            settings = {"connection_timeout": 10, "network_timeout": timeout}
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
        self.input, self.outputs = metadata["inputs"][0], {}
        for output in metadata["outputs"]:
            self.outputs[output["name"]] = output
        self.output = self.outputs.get("probabilities", metadata["outputs"][0])
        if len(metadata["inputs"]) > 1 or self.input["datatype"] != "BYTES":
            raise Failure("model '%s' does not take encoded images" % model)
        self.batch_size = max(1, config.get("max_batch_size", 0))
        found = config.get("parameters", {})
        self.parameters = {k: v.get("string_value", "") for k, v in found.items()}
        # what was deployed; Triton's own number is the same for all of it
        self.version = self.parameters.get("version", metadata["versions"][0])

    def call(self, method, *arguments, **options):
        """Call the client library, again if no server answers."""
        for again in range(self.retries, -1, -1):
            try:
                return self.call_once(method, *arguments, **options)
            except NoServer:
                if not again:
                    raise
                time.sleep(min(8, 0.5 * 2 ** (self.retries - again)))

    def call_once(self, method, *arguments, **options):
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
        raise NoServer(
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

    def classify(self, files, top=1000):
        """Send encoded images in one request.

        Returns:
            For each image, the ``top`` most probable ``(label, probability)``, and the
            model's version.

        Raises:
            Refused: The server could not answer, for one image's fault or another's.
        """
        answer = self.infer(files, [self.output["name"]], top)
        return self.letters(answer, len(files)), self.version

    def see(self, file):
        """Send one encoded image.

        Returns:
            ``{label: probability}``, the model's other outputs by name, and its
            version.
        """
        answer = self.infer([file], list(self.outputs), 1000)
        others = {
            name: answer.as_numpy(name)[0]
            for name in self.outputs
            if name != self.output["name"]
        }
        return dict(self.letters(answer, 1)[0]), others, self.version

    def infer(self, files, outputs, top):
        shape = [len(files) if int(n) == -1 else int(n) for n in self.input["shape"]]
        tensor = self.library.InferInput(self.input["name"], shape, "BYTES")
        tensor.set_data_from_numpy(np.array(files, object).reshape(shape))
        wanted = [
            self.library.InferRequestedOutput(
                name, class_count=top if name == self.output["name"] else 0
            )
            for name in outputs
        ]
        return self.call("infer", self.model, [tensor], outputs=wanted)

    def letters(self, answer, count):
        rows = answer.as_numpy(self.output["name"]).reshape(count, -1)
        return [[parse(entry) for entry in row] for row in rows]


def ask_directly(url):
    """Connect to this machine without the environment's proxy."""
    host = url.rpartition(":")[0].strip("[]")
    if host == "localhost" or host == "::1" or host.startswith("127."):
        os.environ["no_proxy"] = os.environ["no_grpc_proxy"] = host


def parse(entry):
    """Split the server's ``b"0.98:0:A"``; without a label the index stands for it."""
    probability, index, *label = entry.decode().split(":", 2)
    return (label or [index])[0], float(probability)


def find(wanted, fail):
    """Yield the files that are meant by files, folders, globs and "-", each once."""
    seen, named = set(), set(wanted)
    for name in wanted:
        if name == STANDARD_INPUT or os.path.isfile(name):
            found = [name]
        elif os.path.isdir(name):
            found = sorted(
                str(path)
                for path in Path(name).rglob("*")
                if path.suffix.lower() in SUFFIXES and path.is_file()
            )
            if not found:
                fail(
                    name, "no photographs (%s) are in this folder" % ", ".join(SUFFIXES)
                )
        else:
            found = sorted(glob.glob(name, recursive=True)) or [name]
            found = [path for path in found if not os.path.isdir(path)] or [name]
        for path in found:
            if path not in seen or path in named:
                seen.add(path)
                yield path


def read(path):
    """The bytes of a file, or of standard input.

    Raises:
        Refused: It cannot be read, or is too large.
    """
    try:
        if path == STANDARD_INPUT:
            data = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
        else:
            with open(path, "rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise Refused(error.strerror) from None
    if len(data) > MAX_FILE_BYTES:
        raise Refused("it has more than %d MiB" % (MAX_FILE_BYTES >> 20))
    return data


def batches(paths, size, fail):
    """Read files into batches of at most ``size`` files and MAX_REQUEST_BYTES.

    Yields lists of ``(path, bytes)``; files that cannot be read go to ``fail``.
    """
    batch, total = [], 0
    for path in paths:
        try:
            data = read(path)
        except Refused as error:
            fail(path, str(error))
            continue
        if batch and (len(batch) == size or total + len(data) > MAX_REQUEST_BYTES):
            yield batch
            batch, total = [], 0
        batch.append((path, data))
        total += len(data)
    if batch:
        yield batch


def answer_batch(server, batch, top):
    """``[(path, letters or None, version or reason), ...]`` of one batch."""
    try:
        rows, version = server.classify([data for _, data in batch], top)
        return [(path, row, version) for (path, _), row in zip(batch, rows)]
    except Refused:
        pass
    found = []
    for path, data in batch:  # one broken image must not cost the others' answers
        try:
            rows, version = server.classify([data], top)
            found.append((path, rows[0], version))
        except Refused as error:
            reason = str(error).replace("in ensemble '%s', " % server.model, "")
            found.append((path, None, reason))
    return found


def answers(connect, batches, top, concurrency):
    """Yield ``(path, letters or None, version or reason)``, in the order of the files.

    Args:
        connect: Makes a Server; each thread has its own.
        concurrency: Requests that are on their way at once.
    """
    own = threading.local()

    def work(batch):
        if not hasattr(own, "server"):
            own.server = connect()
        return answer_batch(own.server, batch, top)

    with ThreadPoolExecutor(concurrency) as pool:
        on_the_way = deque()
        try:
            for batch in batches:
                on_the_way.append(pool.submit(work, batch))
                while len(on_the_way) >= 2 * concurrency or (
                    on_the_way and on_the_way[0].done()
                ):
                    yield from on_the_way.popleft().result()
            while on_the_way:
                yield from on_the_way.popleft().result()
        finally:
            for future in on_the_way:
                future.cancel()


class Progress:
    """Progress: a line that changes on a terminal, else a line now and then."""

    def __init__(self, total):
        self.total, self.done, self.start = total, 0, time.monotonic()
        self.terminal = sys.stderr.isatty()
        self.said = self.start

    def add(self):
        self.done += 1
        now = time.monotonic()
        if now - self.said < (0.1 if self.terminal else PROGRESS_S):
            return
        self.said = now
        width = 24
        filled = width * self.done // max(self.total, 1)
        bar = "[%s%s] " % ("#" * filled, "." * (width - filled))
        text = "%s%d of %d, %s" % (bar, self.done, self.total, self.rate())
        if self.terminal:
            print("\r\033[K" + text, end="", file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def clear(self):
        if self.terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)

    def rate(self):
        seconds = time.monotonic() - self.start
        return "%.1f photographs/s" % (self.done / max(seconds, 1e-6))


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


def record_of(path, letters, model, version, threshold):
    """The one JSON form of an answer, also the gateway's and the page's."""
    label, confidence = letters[0]
    return {
        "image": path,
        "predicted_class": label if confidence >= threshold else UNCERTAIN,
        "confidence": confidence,
        "all_predictions": dict(letters),
        "model": {"name": model, "version": version},
    }


def write_csv(records, output):
    """One row a photograph: image, class, confidence, and each class's probability."""
    labels = []
    for one in records:
        labels = labels or sorted(one.get("all_predictions", ()))
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow(["image", "predicted_class", "confidence", *labels, "error"])
    for one in records:
        chances = one.get("all_predictions", {})
        row = [one["image"], one.get("predicted_class", ""), one.get("confidence", "")]
        row += [chances.get(label, "") for label in labels]
        writer.writerow([*row, one.get("error", "")])


def arguments():
    parser = argparse.ArgumentParser(
        description="Ask a Triton server which letters photographs show."
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--image",
        nargs="+",
        metavar="FILE",
        help="photographs to ask about: files, folders, globs, or - for standard input",
    )
    source.add_argument("--video", metavar="FILE", help="a film of somebody who signs")
    source.add_argument(
        "--camera", type=int, metavar="N", help="a camera of this machine, such as 0"
    )
    parser.add_argument(
        "--record",
        metavar="FILE",
        help="of video or camera: write what is shown (.mp4)",
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
        "--threshold",
        type=float,
        default=0.0,
        metavar="P",
        help="answers of less confidence are 'uncertain' (0 to 1; default 0: none is)",
    )
    parser.add_argument(
        "--batch-size",
        type=int,
        default=0,
        metavar="N",
        help="photographs a request (default: as many as the model takes)",
    )
    parser.add_argument(
        "--concurrency",
        type=int,
        default=1,
        metavar="N",
        help="requests on their way at once (1)",
    )
    parser.add_argument(
        "--timeout", type=float, default=60, metavar="S", help="for an answer (60 s)"
    )
    parser.add_argument(
        "--retries",
        type=int,
        default=0,
        metavar="N",
        help="ask a server that is away again, after 0.5, 1, 2 ... s (0)",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument(
        "--json", action="store_true", help="print one JSON list instead of lines"
    )
    form.add_argument(
        "--csv", action="store_true", help="print a table instead of lines"
    )
    return parser


def checked_arguments():
    """The options, checked."""
    parser = arguments()
    options = parser.parse_args()
    for name, low, high in (
        ("top", 1, 1000),
        ("threshold", 0, 1),
        ("batch_size", 0, 4096),
        ("concurrency", 1, 64),
        ("timeout", 0.1, 3600),
        ("retries", 0, 100),
    ):
        value = getattr(options, name)
        if not low <= value <= high:
            option = name.replace("_", "-")
            limit = "at least %g" % low if value < low else "at most %g" % high
            parser.error("--%s is %g; it must be %s" % (option, value, limit))
    options.url = options.url or "localhost:%d" % PORTS[options.protocol]
    scheme, _, options.url = options.url.rpartition("://")
    options.ssl = options.ssl or scheme == "https"
    if options.ca and not options.ssl:
        parser.error("--ca %s is of use with --ssl only" % options.ca)
    if options.record and options.image:
        parser.error("--record %s is for --video and --camera" % options.record)
    return options


def film(server, options):
    """Read a video or a camera, letter by letter.

    Raises:
        Failure: What that needs is missing.
    """
    root = Path(__file__).resolve().parents[2]
    if not (root / "demo" / "film.py").is_file():
        raise Failure(
            "--video and --camera need the project around client.py; run it from there"
        )
    sys.path.insert(0, str(root))
    try:
        from demo.film import watch
    except ImportError as error:
        raise Failure(
            "%s; --video and --camera need OpenCV: python3 -m pip install "
            "opencv-python" % error
        ) from None
    try:
        watch(
            server.see,
            server.parameters.get("preprocessing"),
            options.video if options.camera is None else options.camera,
            record=options.record,
            threshold=options.threshold,
            as_json=options.json,
        )
    except (OSError, ValueError) as error:
        raise Failure(str(error)) from None


def main():
    options = checked_arguments()
    records, failed = [], []
    lines = not (options.json or options.csv)
    progress = None

    def fail(path, reason):
        if progress:
            progress.clear()
        print("error: %s: %s" % (path, reason), file=sys.stderr)
        failed.append(path)
        records.append({"image": path, "error": reason})

    def connect():
        return Server(
            options.protocol,
            options.url,
            options.model,
            headers,
            options.ssl,
            options.ca,
            options.timeout,
            options.retries,
        )

    code = 0
    try:
        headers = read_headers(options.header)
        server = connect()  # says at once what is wrong
        if not options.image:
            film(server, options)
            return 0
        if not options.json:  # there each answer names it
            said = "model %s, version %s" % (options.model, server.version)
            print(said, file=sys.stderr)
        paths = list(find(options.image, fail))
        order = {path: i for i, path in reversed(list(enumerate(paths)))}
        size = min(options.batch_size or server.batch_size, server.batch_size)
        top = options.top if lines else 1000
        progress = Progress(len(paths))
        parts = batches(paths, size, fail)
        for path, letters, said in answers(connect, parts, top, options.concurrency):
            progress.add()
            if letters is None:
                fail(path, said)
                continue
            record = record_of(path, letters, options.model, said, options.threshold)
            if lines:
                progress.clear()
                best = record["predicted_class"]
                shown = [(best, letters[0][1]), *letters[1:]]
                shown = ", ".join("%s (%.2f)" % letter for letter in shown)
                print("%s: %s" % (path, shown), flush=True)
            else:
                records.append(record)
        progress.clear()
        if progress.terminal or len(paths) > size:
            print("%d answered, %s" % (progress.done, progress.rate()), file=sys.stderr)
    except Failure as error:
        if progress:
            progress.clear()
        print("error: %s" % error, file=sys.stderr)
        code = error.code
    if not lines and records:
        records.sort(key=lambda one: order.get(one["image"], -1))
        if options.json:
            print(json.dumps(records, indent=2))
        else:
            write_csv(records, sys.stdout)
    return code or (2 if failed else 0)


if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):  # file names may be no UTF-8
        stream.reconfigure(errors="backslashreplace")
    sys.exit(main())
