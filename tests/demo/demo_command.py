"""scripts/demo as a user starts it."""

import os
import subprocess
import sys
from contextlib import contextmanager

from data_prep.paths import ROOT
from pipelines.serving.triton_server import pick_ports

PATIENCE_S = 4.0  # of a hurried page with clients that say nothing; others have ten
HURRIED = f"""
from demo import connections, gateway, serve
connections.REQUEST_S = gateway.SILENT_S = gateway.BODY_BEHIND_S = {PATIENCE_S}
gateway.BODY_YIELDS_S = 1.0
serve.main()
"""


@contextmanager
def running(server, *options, port=0, hurried=False):
    """Run scripts/demo's program; yields its address and first lines.

    Args:
        server: Is asked; None: whatever the options say.
        hurried: Has less patience than what users start.
    """
    (port,) = pick_ports(port)
    program = ["-c", HURRIED] if hurried else ["-m", "demo.serve"]
    command = [sys.executable, *program, "--port", str(port), *options]
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
        process.communicate(timeout=20)
