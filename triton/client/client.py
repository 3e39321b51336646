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
the others answered; 3 no server answers; 130 ended by Ctrl-C.
"""

import argparse
import signal
import sys
from functools import partial
from pathlib import Path

# Ctrl-C ends it at once during the imports, without a traceback of theirs.
_handler = signal.getsignal(signal.SIGINT)
if __name__ == "__main__" and _handler is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

BESIDE = ("answers", "connection", "output", "photographs")  # files of this client
try:
    from answers import answers
    from connection import ALL, Failure, Server, has_port, read_headers
    from output import Output
    from photographs import batches, find, why_not_there
except ImportError as missing:
    remedy = "install what this client needs: "
    remedy += "python3 -m pip install 'tritonclient[grpc,http]' numpy"
    if missing.name in BESIDE:
        remedy = "client.py needs the files beside it: copy the whole folder"
    print("error: %s; %s" % (missing, remedy), file=sys.stderr)
    sys.exit(2)
finally:
    if __name__ == "__main__" and _handler is signal.default_int_handler:
        signal.signal(signal.SIGINT, _handler)

PORTS = {"grpc": 8001, "http": 8000}


class Parser(argparse.ArgumentParser):
    """Tells a mistake in one line."""

    def error(self, message):
        self.exit(2, "error: %s (see %s --help)\n" % (message, self.prog))


def arguments():
    parser = Parser(
        description="Ask a Triton server which letters photographs show.",
        epilog="example: client.py --image photo.jpg --top 5\n"
        "exit codes: 0 all answered, 2 bad input, 3 no server answers, 130 ended by "
        "Ctrl-C",
        formatter_class=argparse.RawDescriptionHelpFormatter,
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
        "--camera",
        type=int,
        metavar="N",
        help="a camera of this machine, such as 0, until Ctrl-C or q in its window",
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
    parser.add_argument(
        "--protocol",
        choices=sorted(PORTS),
        default="grpc",
        help="by which the server is asked (default grpc)",
    )
    parser.add_argument(
        "--model", default="asl", metavar="NAME", help="that is asked (default asl)"
    )
    parser.add_argument(
        "--top",
        type=int,
        default=1,
        metavar="N",
        help="how many of the likeliest letters of a photograph (default 1)",
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
        help="requests on their way at once (default 1)",
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=60,
        metavar="S",
        help="seconds that an answer may take (default 60)",
    )
    parser.add_argument(
        "--retries",
        type=int,
        default=0,
        metavar="N",
        help="how often to ask a server that is away again, after 0.5, 1, 2 ... s "
        "(default 0)",
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
    if not (options.ssl or has_port(options.url)):
        example = "localhost:%d" % PORTS[options.protocol]
        parser.error("--url %s: give host:port, such as %s" % (options.url, example))
    if options.ca and not options.ssl:
        parser.error("--ca %s is of use with --ssl only" % options.ca)
    if options.record and options.image:
        parser.error("--record %s is for --video and --camera" % options.record)
    return options


def film(connect, options):
    """Read a video or a camera, letter by letter.

    Raises:
        Failure: What that needs is missing, or no server answers.
    """
    reason = options.video and why_not_there(options.video)
    if reason:
        raise Failure("--video %s: %s" % (options.video, reason))
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
    server = connect()
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


def classify(connect, options, output):
    """Send the photographs of --image and hand what is answered to the output.

    Raises:
        Failure: No server answers, or none that can.
    """
    named, paths = list(find(options.image, output.fail)), []
    output.asked(named)
    for path in named:
        reason = why_not_there(path)
        if reason:
            output.fail(path, reason)
        else:
            paths.append(path)
    if not paths:
        return
    server = connect()  # says at once what is wrong
    if not options.json:  # there each answer names it
        said = "model %s, version %s" % (options.model, server.version)
        print(said, file=sys.stderr)
    size = min(options.batch_size or server.batch_size, server.batch_size)
    top = options.top if output.form == "lines" else ALL
    output.begin(len(paths))  # now: the time counts from here
    sent = batches(paths, size, output.fail)
    for path, letters, said in answers(connect, sent, top, options.concurrency):
        output.progress.add()
        if letters is None:
            output.fail(path, said)
        else:
            output.answer(path, letters, said)
    output.progress.end(size)


def main():
    options = checked_arguments()
    form = "json" if options.json else "csv" if options.csv else "lines"
    output = Output(form, options.model, options.threshold)
    code = 0
    try:
        connect = partial(
            Server,
            protocol=options.protocol,
            url=options.url,
            model=options.model,
            headers=read_headers(options.header),
            tls=options.ssl,
            ca=options.ca,
            timeout=options.timeout,
            retries=options.retries,
        )
        if options.image:
            classify(connect, options, output)
        else:
            film(connect, options)
    except Failure as error:
        output.progress.clear()
        print("error: %s" % error, file=sys.stderr)
        code = error.code
    output.end()
    return code or (2 if output.failed else 0)


if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):  # file names may be no UTF-8
        stream.reconfigure(errors="backslashreplace")
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
