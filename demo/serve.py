"""The page in the browser: point a camera at your hand, and it spells.

    scripts/demo [--port N] [--model NAME] [--url HOST:PORT] [--host ADDRESS] [--admin]

Talks to the server of scripts/serve, or starts the embedded one if none runs. The page
is for this machine; with --front, behind scripts/remote-access, or with --host, for
others.
"""

import argparse
import contextlib
import ipaddress
import socket
import ssl
import sys
from pathlib import Path

import uvicorn

from data_prep.command_line import address, command_parser, port_number
from data_prep.errors import InputError, exit_2_on_input_error
from data_prep.model_name import add_name
from data_prep.paths import data_home
from data_prep.stopping import until_stopped
from demo import connections, gateway, guard
from demo.model import Model
from demo.tabs.model_page import Admin, Server
from pipelines import loopback
from pipelines.monitoring.request_log import LOG_FOLDER, Policy, RequestLog
from pipelines.serving import running_server
from pipelines.serving.remote_credentials import tls_files
from pipelines.serving.triton_server import TritonServer, pick_ports
from pipelines.serving.watchdog import Watchdog

LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1"))
METRICS = "http://127.0.0.1:8002/metrics"  # where scripts/serve has them


def arguments() -> argparse.ArgumentParser:
    parser = command_parser(
        "scripts/demo",
        description="A page in the browser that reads your hand.",
        example="--port 8080",
    )
    parser.add_argument(
        "--port", type=port_number, default=8080, help="0: any free one (default 8080)"
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen at (default %(default)s); any other lets everybody who "
        "reaches this machine and has the token use the page, and wants --tls: "
        "browsers give a camera to https and localhost only",
    )
    parser.add_argument(
        "--tls",
        action="store_true",
        help="by https, with what scripts/remote-access certify has made",
    )
    for option, file in ("--certificate", "chain"), ("--key", "private key"):
        parser.add_argument(
            option, type=Path, metavar="FILE", help=f"for --tls: another PEM {file}"
        )
    parser.add_argument(
        "--name",
        action="append",
        default=[],
        metavar="HOST",
        help="a name by which browsers ask for the page; may be given several times",
    )
    parser.add_argument(
        "--front",
        metavar="URL",
        help="https address of the proxy that passes the page on, as browsers show it: "
        "https://HOST:8443 of scripts/remote-access serve --page; its users need the "
        "token that is printed",
    )
    add_name(parser, "that the page asks", "--model")
    parser.add_argument(
        "--url",
        type=address,
        metavar="HOST:PORT",
        help="gRPC address of the Triton server (default: the one that runs on the "
        "repository, else the embedded one, which is started)",
    )
    parser.add_argument(
        "--repository",
        type=Path,
        default=data_home() / "models",
        help="Triton model repository (default %(default)s)",
    )
    parser.add_argument(
        "--metrics-url", default=METRICS, help="Triton's metrics (default %(default)s)"
    )
    parser.add_argument(
        "--admin",
        action="store_true",
        help="the page may go back to the version before, with a token that is printed",
    )
    # What is kept of the requests: nothing, unless it is asked for
    parser.add_argument(
        "--log",
        action="store_true",
        help="keep a sample of the answers, and what people correct on the page, in "
        "DATA/request_log, for python -m pipelines.collect; the page says so",
    )
    for option, kind, default, text in (
        ("--log-share", float, Policy.share, "share of the answers, 0 to 1"),
        ("--log-days", int, Policy.days, "days after which they are deleted"),
        ("--log-bytes", int, Policy.max_bytes, "of more than so many the oldest go"),
    ):
        parser.add_argument(
            option, type=kind, default=default, help=f"of --log: {text}"
        )
    parser.add_argument(
        "--log-photographs", action="store_true", help="of --log: the pictures as well"
    )
    return parser


@exit_2_on_input_error
def main() -> None:
    options = arguments().parse_args()
    loopback.bypass_proxies()
    tls_options = tls(options)
    log = request_log(options)
    front = guard.origin(options.front) if options.front else ""
    (port,) = pick_ports(options.port, host=options.host)
    outside = not is_loopback(options.host)
    token = guard.new_token() if outside or options.name or front else None
    admin = Admin(guard.new_token()) if options.admin else None
    hosts = LOOPBACK | {name.lower() for name in options.name}
    if outside:
        hosts |= {options.host.lower(), socket.gethostname().lower(), "*"}
        without = "" if options.tls else ", and without --tls others can read along"
        print(
            f"warning: listening at {options.host}: whoever reaches this machine and "
            f"has the token can use the page{without}",
            file=sys.stderr,
        )
    with until_stopped(), contextlib.ExitStack() as stack:
        server = Server(options.repository, options.metrics_url)
        if options.url:
            server.repository = None
        elif running_server.find(options.repository) is None:
            server.metrics_url = start(stack, options.repository)
        model = Model(lambda: find(options), options.model)
        app = gateway.create(model, hosts, token, front, admin, server, log)
        config = uvicorn.Config(
            app,
            host=options.host,
            port=port,
            log_level="warning",
            access_log=False,
            server_header=False,
            http=connections.BoundedConnection,
            ws=connections.BoundedWebSocket,
            loop=f"{connections.__name__}:{connections.Loop.__name__}",
            ws_max_size=gateway.MAX_FRAME_BYTES,
            ws_max_queue=4,
            timeout_graceful_shutdown=2,
            proxy_headers=False,
            **tls_options,
        )
        listening = config.bind_socket()
        listening.listen()  # from now on whoever opens the address is answered
        address = front or own_address(options, port)
        print(announcement(address, token, admin), flush=True)
        uvicorn.Server(config).run([listening])


def request_log(options: argparse.Namespace) -> RequestLog | None:
    """The log of --log.

    Raises:
        InputError: One of its options is out of range.
    """
    if not options.log:
        if options.log_photographs:
            raise InputError("--log-photographs is of use with --log only")
        return None
    policy = Policy(
        options.log_share,
        options.log_photographs,
        options.log_days,
        options.log_bytes,
    )
    return RequestLog(data_home() / LOG_FOLDER, policy)


def tls(options: argparse.Namespace) -> dict[str, str]:
    """What uvicorn needs for TLS; nothing without --tls.

    Raises:
        InputError: A file is missing, or is no certificate or key.
    """
    if not options.tls:
        if options.certificate or options.key:
            raise InputError("--certificate and --key are of use with --tls only")
        return {}
    certificate, key = tls_files(options.certificate, options.key)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except OSError as error:  # ssl.SSLError is one
        raise InputError(
            f"{certificate} and {key} are no certificate and its key ({error})"
        ) from None
    return {"ssl_certfile": str(certificate), "ssl_keyfile": str(key)}


def start(stack: contextlib.ExitStack, repository: Path) -> str:
    """Run the embedded server for as long as we do; return where its metrics are."""
    print(f"starting tritonserver on {repository}", flush=True)
    server = stack.enter_context(TritonServer(repository))
    stack.enter_context(
        running_server.noted(
            repository, server.grpc_url, server.http_url, server.metrics_url
        )
    )
    stack.enter_context(Watchdog(server, lambda text: print(text, flush=True)))
    return server.metrics_url


def find(options: argparse.Namespace) -> str | None:
    """The gRPC address of the server to ask."""
    if options.url:
        return options.url
    urls = running_server.find(options.repository)
    return urls["grpc"] if urls else None


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def own_address(options: argparse.Namespace, port: int) -> str:
    """Where browsers find the page without a proxy."""
    host = options.name[0] if options.name else options.host
    if not options.name and is_loopback(host):
        host = "localhost"
    elif host in ("0.0.0.0", "::"):
        host = socket.gethostname()
    host = f"[{host}]" if ":" in host else host
    return f"http{'s' if options.tls else ''}://{host}:{port}"


def announcement(address: str, token: str | None, admin: Admin | None) -> str:
    lines = [f"open {address}/" + (f"?token={token}" if token else "")]
    if admin:
        lines.append(f"token for rolling back: {admin.token}")
    lines.append("Ctrl-C stops it")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
