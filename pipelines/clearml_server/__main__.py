"""Run the embedded ClearML server: python -m pipelines.clearml_server

It ends on Ctrl-C or SIGTERM. Programs of this project start one by themselves where no
ClearML is configured; see `pipelines.tracking.connection`. Where one runs already, this
prints its address, and keeps it up until Ctrl-C.
"""

import argparse
import ipaddress
import logging
import logging.handlers
import sys
import threading
from pathlib import Path

from data_prep.command_line import command_parser, port_number
from data_prep.errors import InputError, exit_2_on_input_error
from data_prep.stopping import until_stopped

from .client import login_link, register
from .home import conf_path, home_folder, running
from .leases import start_time


def arguments() -> argparse.ArgumentParser:
    parser = command_parser(
        "python -m pipelines.clearml_server",
        description="Run the embedded ClearML server until Ctrl-C.",
        example="--port 8008",
    )
    parser.add_argument(
        "--home",
        type=Path,
        default=home_folder(),
        help="folder for everything the server keeps (default: %(default)s)",
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen at; any but a loopback one lets others in",
    )
    parser.add_argument(
        "--port",
        type=port_number,
        default=0,
        help="port to listen at (default: that of the last run, else a free one)",
    )
    parser.add_argument(
        "--exit-with-users",
        action="store_true",
        help="end some minutes after the last process that registered",
    )
    return parser


@exit_2_on_input_error
def main() -> None:
    options = arguments().parse_args()
    folder = options.home.expanduser().resolve()
    if not options.exit_with_users and _keep_up_running_one(folder, options):
        return
    from .server import Server

    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        server = Server(folder, options.host, options.port)
    except (OSError, OverflowError) as error:
        raise InputError(
            f"cannot serve {folder} at {options.host}:{options.port}: {error}; "
            "choose another --home, --host or --port"
        ) from None
    _log_to(folder / "server.log")
    if not _is_loopback(options.host):
        print(
            f"warning: {options.host} is reachable from other machines; whoever has "
            "the keys can read and change everything, and nothing is encrypted",
            file=sys.stderr,
        )
    with until_stopped(server.stop):
        print(
            f"embedded ClearML server at {server.address}, "
            f"configuration {conf_path(folder)}",
            flush=True,
        )
        if not options.exit_with_users:
            print(_how_to_log_in(folder), flush=True)
        server.run(options.exit_with_users)


def _how_to_log_in(folder: Path) -> str:
    return (
        "open it in a browser; to change things there, log in within ten minutes at\n"
        f"  {login_link(folder)}"
    )


def _keep_up_running_one(folder: Path, options) -> bool:
    """Use the server that runs on the folder until Ctrl-C; False if none does.

    Raises:
        InputError: It listens elsewhere than the options say.
    """
    address = register(folder)
    if address is None:
        return False
    port = int(address.rpartition(":")[2])
    if options.port not in (0, port) or options.host != "127.0.0.1":
        raise InputError(
            f"another embedded ClearML server at {address} uses {folder}; stop it, or "
            "give this one another folder with --home"
        )
    print(f"an embedded ClearML server runs already at {address}, kept up until Ctrl-C")
    print(_how_to_log_in(folder), flush=True)
    ended = threading.Event()
    with until_stopped(ended.set):
        while not ended.wait(0.5):
            state = running(folder)
            if state is None or start_time(state["pid"]) is None:
                raise InputError(f"the server at {address} has ended")
    return True


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _log_to(path: Path) -> None:
    handler = logging.handlers.RotatingFileHandler(
        path, maxBytes=2_000_000, backupCount=1, encoding="utf-8"
    )
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


if __name__ == "__main__":
    main()
