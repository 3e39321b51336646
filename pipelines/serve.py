"""Serve the deployed models until Ctrl-C.

    scripts/serve [--repository DIR] [--http-port N] [--grpc-port N] [--docker]

By default with the embedded tritonserver, reachable from this machine only. --docker
builds triton/server/Dockerfile and runs that image instead. What is deployed to the
repository meanwhile is served at once (`pipelines.serving.running_server`). Without
--docker, a model whose process has died is brought back within seconds
(`pipelines.serving.watchdog`), and so is a tritonserver that has ended.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from data_prep.command_line import command_parser, port_number
from data_prep.errors import InputError, exit_2_on_input_error
from data_prep.model_name import DEFAULT
from data_prep.paths import data_home
from data_prep.stopping import until_stopped
from pipelines import loopback
from pipelines.repository import versions
from pipelines.serving import docker_server, running_server
from pipelines.serving.triton_server import TritonServer
from pipelines.serving.watchdog import Watchdog

GRPC_PORT = 8001
ENDS, ENDS_WITHIN_S = 5, 60  # so many ends in so short a time are a fault of their own


def arguments() -> argparse.ArgumentParser:
    parser = command_parser(
        "scripts/serve",
        description="Serve the deployed models until Ctrl-C.",
        example="--http-port 9000 --grpc-port 9001",
    )
    parser.add_argument(
        "--repository",
        type=Path,
        default=data_home() / "models",
        help="Triton model repository (default %(default)s)",
    )
    parser.add_argument(
        "--http-port",
        type=port_number,
        default=8000,
        help="HTTP port; 0: any free one (default 8000)",
    )
    parser.add_argument(
        "--grpc-port",
        type=port_number,
        default=GRPC_PORT,
        help="gRPC port; 0: any free one (default %(default)s)",
    )
    parser.add_argument(
        "--metrics-port",
        type=port_number,
        default=8002,
        help="port of the metrics; 0: any free one (default 8002)",
    )
    parser.add_argument(
        "--docker", action="store_true", help="build and run the Docker image instead"
    )
    return parser


@exit_2_on_input_error
def main() -> None:
    options = arguments().parse_args()
    loopback.bypass_proxies()
    ports: Sequence[int] = options.http_port, options.grpc_port, options.metrics_port
    if options.docker:
        docker_server.run(options.repository, *ports)
        return
    ends = []
    with until_stopped():
        while True:
            server, code = serve(options.repository, ports)
            ports = server.ports  # 0 was: any free one
            ends = [*ends, time.monotonic()][-ENDS:]
            if len(ends) == ENDS and ends[-1] - ends[0] < ENDS_WITHIN_S:
                raise InputError(
                    f"tritonserver has ended {ENDS} times within {ENDS_WITHIN_S} s, "
                    f"now with code {code}; see {server.log_path}"
                )
            say(f"tritonserver ended with code {code}; see {server.log_path}.1")


def serve(repository: Path, ports: Sequence[int]) -> tuple[TritonServer, int]:
    """Serve until tritonserver ends by itself; return it, and its exit code."""
    say(f"starting tritonserver on {repository}")
    with (
        TritonServer(repository, *ports) as server,
        running_server.noted(
            repository, server.grpc_url, server.http_url, server.metrics_url
        ),
    ):
        say(announcement(server, versions.all_current(repository)))
        with Watchdog(server, say):
            return server, server.process.wait()


def say(text: str) -> None:
    print(text, flush=True)


def announcement(server: TritonServer, records: list[dict]) -> str:
    """Say where the server is and how to ask it, in a few lines."""
    names = [versions.name_of(record) for record in records]
    served = ", ".join(
        f"{name} version {record['version']}" for name, record in zip(names, records)
    )
    ask = "triton/client/client.py"
    if server.grpc_url != f"127.0.0.1:{GRPC_PORT}":  # which the client asks by itself
        ask += f" --url {server.grpc_url}"
    if DEFAULT not in names:
        ask += f" --model {names[0]}"
    return f"""\
{served} is being served
  gRPC     {server.grpc_url}
  HTTP     http://{server.http_url}
  metrics  {server.metrics_url}
  log      {server.log_path}
ask it, from another terminal:
  .venv/bin/python {ask} --image PHOTO.jpg
Ctrl-C stops it"""


if __name__ == "__main__":
    main()
