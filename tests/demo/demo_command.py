"""scripts/demo as a user starts it."""

import os
import subprocess
import sys
from contextlib import contextmanager

from data_prep.paths import ROOT
from pipelines.serving.triton_server import pick_ports


@contextmanager
def running(server, *options, port=0):
    """Run scripts/demo's program; yields its address and first lines.

    Args:
        server: Is asked; None: whatever the options say.
    """
    (port,) = pick_ports(port)
    command = [sys.executable, "-m", "demo.serve", "--port", str(port), *options]
    if server:
        command += ["--url", server.grpc_url, "--metrics-url", server.metrics_url]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        lines = []
        for line in process.stdout:
            lines.append(line.strip())
            if "Ctrl-C" in line:
                break
        scheme = "https" if "--tls" in options else "http"
        yield f"{scheme}://localhost:{port}", lines
    finally:
        process.terminate()
        process.wait(20)
