"""Deployments in processes of their own, that can be killed or run side by side."""

import subprocess
import sys

from data_prep.paths import ROOT

DEPLOY = """
import sys
from pathlib import Path
from pipelines.serving.deployment import deploy
from pipelines.repository.model_config import Settings
artifacts, repository, shape, grpc, http = sys.argv[1:]
settings = Settings(instances=1, shape=shape)
print("imported", flush=True)
urls = {"grpc": grpc, "http": http}
deploy(Path(artifacts), Path(repository), {}, settings, urls)
"""


def start_deployment(server, artifacts, settings) -> subprocess.Popen:
    """Deploy into a running server; the process says "imported" when it begins."""
    return subprocess.Popen(
        [sys.executable, "-c", DEPLOY, artifacts, server.repository, settings.shape]
        + [server.grpc_url, server.http_url],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
