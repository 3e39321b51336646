"""Serve the deployed model until Ctrl-C.

    scripts/serve [--repository DIR] [--http-port N] [--grpc-port N] [--docker]

By default with the embedded tritonserver, reachable from this machine only. --docker
builds triton/server/Dockerfile and runs that image instead. A model whose process has
died is brought back within seconds (`pipelines.serving.watchdog`), and what is deployed
to the repository meanwhile is served at once (`pipelines.serving.running_server`);
neither with --docker.
"""

import argparse
import signal
import sys
from pathlib import Path

from data_prep.errors import InputError, exit_2_on_input_error
from data_prep.paths import data_home
from pipelines.repository import versions
from pipelines.serving import docker_server, running_server
from pipelines.serving.triton_server import TritonServer
from pipelines.serving.watchdog import Watchdog


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/serve", description="Serve the deployed model until Ctrl-C."
    )
    parser.add_argument(
        "--repository",
        type=Path,
        default=data_home() / "models",
        help="Triton model repository (default %(default)s)",
    )
    parser.add_argument(
        "--http-port", type=int, default=8000, help="0: any free one (default 8000)"
    )
    parser.add_argument(
        "--grpc-port", type=int, default=8001, help="0: any free one (default 8001)"
    )
    parser.add_argument(
        "--metrics-port", type=int, default=8002, help="0: any free one (default 8002)"
    )
    parser.add_argument(
        "--docker", action="store_true", help="build and run the Docker image instead"
    )
    return parser


@exit_2_on_input_error
def main() -> None:
    options = arguments().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # runs the clean-up below
    ports = options.http_port, options.grpc_port, options.metrics_port
    if options.docker:
        docker_server.run(options.repository, *ports)
        return
    print(f"starting tritonserver on {options.repository}", flush=True)
    with (
        TritonServer(options.repository, *ports) as server,
        running_server.noted(options.repository, server.grpc_url, server.http_url),
    ):
        record = versions.current(options.repository)
        print(announcement(server, record), flush=True)
        try:
            with Watchdog(server, say):
                code = server.process.wait()
        except KeyboardInterrupt:
            print("\nstopping", flush=True)
            return
        raise InputError(f"tritonserver ended with code {code}; see {server.log_path}")


def say(text: str) -> None:
    print(text, flush=True)


def announcement(server: TritonServer, record: dict) -> str:
    """Say where the server is and how to ask it, in a few lines."""
    return f"""\
version {record['version']} is being served
  gRPC     {server.grpc_url}
  HTTP     http://{server.http_url}
  metrics  {server.metrics_url}
  log      {server.log_path}
ask it, from another terminal:
  .venv/bin/python triton/client/client.py --url {server.grpc_url} --image PHOTO.jpg
Ctrl-C stops it"""


if __name__ == "__main__":
    main()
