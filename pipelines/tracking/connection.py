"""Where ClearML is configured: the user's server, or the embedded one.

Programs call `ensure_clearml` before they import ``clearml``; from then on everything
is the same code for everybody. The address, keys and settings of the embedded server
reach this process and its children by one environment variable, CLEARML_CONFIG_FILE.
"""

import fcntl
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from data_prep.errors import InputError
from data_prep.paths import ROOT
from pipelines import loopback
from pipelines.clearml_server.client import register
from pipelines.clearml_server.home import conf_path, home_folder, running
from pipelines.clearml_server.leases import start_time

CONFIG_FILE, API_HOST = "CLEARML_CONFIG_FILE", "CLEARML_API_HOST"
START_SECONDS = 20.0
END_SECONDS = 5.0
CONNECT_SECONDS = 3.0
PORTS = {"http": 80, "https": 443}


def ensure_clearml() -> str:
    """Make sure that ``import clearml`` finds a server; return its web address.

    A configured ClearML (CLEARML_API_HOST, CLEARML_CONFIG_FILE, ``~/clearml.conf``, or
    a task run by an agent) is left as it is. Otherwise the embedded server of the data
    folder is used; it is started in the background where it does not run yet, and ends
    by itself some minutes after the last process that called this has ended, so that
    printed links can be looked at. Calling it again does no harm.

    Raises:
        InputError: The embedded server cannot be started, or the configured one does
            not answer.
    """
    loopback.bypass_proxies()
    home = home_folder()
    if is_configured(home):
        chosen = os.environ.get(CONFIG_FILE)
        if chosen and not (API_HOST in os.environ or Path(chosen).is_file()):
            raise InputError(
                f"{CONFIG_FILE} is {chosen}, and there is no such file; name your "
                "clearml.conf, or unset it"
            )
        from clearml.backend_api import Session

        check_connection(
            "ClearML's API server",
            Session.get_api_server_host(),
            "start it, or mend CLEARML_API_HOST or clearml.conf",
        )
        check_connection(
            "ClearML's file server",
            Session.get_files_server_host(),
            "start it, or name your store by CLEARML_FILES_HOST or in clearml.conf",
        )
        return Session.get_app_server_host()
    address = embedded_server(home)
    os.environ[CONFIG_FILE] = str(conf_path(home))
    return address


def check_connection(what: str, address: str, remedy: str) -> None:
    """Check that a server takes connections: the SDK would try for most of a minute.

    One that is reached through a proxy, or by no ``host:port``, is not looked at.

    Raises:
        InputError: It does not.
    """
    url = urlsplit(address)
    if not url.hostname or (url.scheme not in PORTS and not url.port):
        return
    if url.scheme in getproxies() and not proxy_bypass(url.hostname):
        return
    try:
        place = url.hostname, url.port or PORTS[url.scheme]
        socket.create_connection(place, CONNECT_SECONDS).close()
    except OSError as error:
        reason = error.strerror or error
        raise InputError(
            f"{what} at {address} does not answer ({reason}); {remedy}"
        ) from None


def report_from_threads() -> None:
    """Let the tasks of this process report from threads instead of a process.

    Closing one takes 0.1 s then instead of 10. And the SDK forks that process while its
    thread may ask git about the repository: the fork keeps git's pipe open, and the
    thread waits for its end for minutes (seen once in twelve starts). It is for our own
    programs, none of which forks while it reports: the SDK's threads are missing in
    forked processes, which wait for them forever.
    """
    from clearml import Task

    Task._report_subprocess_enabled = False


def end_on_sigterm() -> None:
    """Let SIGTERM end this process as Ctrl-C does; to be called after `Task.init`,
    whose own handler passes over it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def embedded_server(home: Path) -> str:
    """Use the embedded server of a folder, started if need be; return its address.

    Raises:
        InputError: It cannot be started.
    """
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(home / "start.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of two processes, one starts the server
        address = register(home)
        if address is None:
            _wait_for_the_end(home)
            address = _start(home)
    return address


def is_configured(home: Path) -> bool:
    """Has the user (or an agent) chosen a ClearML server other than that of `home`?"""
    chosen = os.environ.get(CONFIG_FILE)
    if os.environ.get(API_HOST):
        return True
    if chosen:
        return Path(chosen) != conf_path(home)
    return (
        "CLEARML_TASK_ID" in os.environ or Path("~/clearml.conf").expanduser().exists()
    )


def _wait_for_the_end(home: Path) -> None:
    """Let a server that is just ending leave the folder."""
    state = running(home)
    deadline = time.monotonic() + END_SECONDS
    while state and start_time(state["pid"]) and time.monotonic() < deadline:
        time.sleep(0.02)


def _start(home: Path) -> str:
    """Start the server in the background, register with it, return its address."""
    log = home / "start.log"
    with open(log, "wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipelines.clearml_server"]
            + ["--home", str(home), "--exit-with-users"],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is for the program, not for its server
        )
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if address := register(home):
            return address
        if process.poll() is not None:
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
            raise InputError(
                "the embedded ClearML server did not start: "
                f"{lines[-1] if lines else 'no message'} (see {log}); to use another "
                "server, set CLEARML_API_HOST"
            )
        time.sleep(0.02)
    process.terminate()
    raise InputError(
        f"the embedded ClearML server did not answer within {START_SECONDS:.0f} s; "
        f"see {log} and {home / 'server.log'}"
    )


@contextmanager
def quiet_sdk() -> Iterator[None]:
    """Hold back what the SDK logs about something that may not exist: it is told in one
    line by whoever asked."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)
