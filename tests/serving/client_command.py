"""The client as a user starts it, and what it should print."""

import contextlib
import functools
import importlib.util
import io
import subprocess
import sys
from unittest.mock import patch

from matrix_model import expect

from data_prep.paths import ROOT

PROGRAM = ROOT / "triton/client/client.py"


def ask(server, *options, protocol="grpc", stdin=None):
    """Run the client as a user would; return its completed process."""
    return subprocess.run(
        [sys.executable, PROGRAM, *arguments(server, protocol, options)],
        stdin=stdin,
        capture_output=True,
        text=True,
        timeout=60,
    )


def ask_here(server, *options, protocol="grpc"):
    """Run the client in this process, which is quick; return as `ask` does."""
    errors, output = io.StringIO(), io.StringIO()
    line = [PROGRAM.name, *arguments(server, protocol, options)]
    with (
        patch.object(sys, "argv", line),
        contextlib.redirect_stderr(errors),
        contextlib.redirect_stdout(output),
    ):
        try:
            code = client_program().main()
        except SystemExit as end:
            code = end.code
    return subprocess.CompletedProcess(line, code, output.getvalue(), errors.getvalue())


def arguments(server, protocol, options) -> list:
    url = server.grpc_url if protocol == "grpc" else server.http_url
    options = [x if isinstance(x, bytes) else str(x) for x in options]
    return ["--url", url, "--protocol", protocol, *options]


@functools.cache
def client_program():
    """The client as a module; its folder is no package."""
    spec = importlib.util.spec_from_file_location("asl_client", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    with patch.object(sys, "path", [str(PROGRAM.parent), *sys.path]):
        spec.loader.exec_module(module)
    return module


def expected_lines(artifacts, paths):
    labels = (artifacts / "classes.txt").read_text().split()
    rows = expect(artifacts, [path.read_bytes() for path in paths])
    return [
        f"{path}: {labels[row.argmax()]} ({row.max():.2f})"
        for path, row in zip(paths, rows)
    ]
