"""The client as a user starts it, and what it should print."""

import subprocess
import sys

from tiny_model import expect

from data_prep.paths import ROOT


def ask(server, *options, protocol="grpc", stdin=None):
    """Run the client as a user would; return its completed process."""
    url = server.grpc_url if protocol == "grpc" else server.http_url
    command = [sys.executable, ROOT / "triton/client/client.py"]
    options = [x if isinstance(x, bytes) else str(x) for x in options]
    command += ["--url", url, "--protocol", protocol, *options]
    return subprocess.run(
        command, stdin=stdin, capture_output=True, text=True, timeout=60
    )


def expected_lines(artifacts, paths):
    labels = (artifacts / "classes.txt").read_text().split()
    rows = expect(artifacts, [path.read_bytes() for path in paths])
    return [
        f"{path}: {labels[row.argmax()]} ({row.max():.2f})"
        for path, row in zip(paths, rows)
    ]
