"""The read-only view that the page shows: who may see it, and what it consists of.

The links that the SDK prints open the page without a login. That is safe only for the
one person whose server this is, so without credentials a request must come

- from this machine, over a connection that a process of the server's own user holds;
- under a loopback name, or a foreign site whose name leads here could read along;
- from the page itself, or from nowhere (a typed address), not from another site.

Others reach the page through a tunnel (``ssh -L``), or with a cookie from ``/login``.
"""

import base64
import hashlib
import ipaddress
import os
import re
import socket
import urllib.parse
from pathlib import Path

from .errors import ApiError

PREFIX = "/view"
PAGE = Path(__file__).parent / "page.html"
# What the page asks for. None of these changes anything.
READS = frozenset("""
    events.debug_images events.get_task_log events.get_task_plots
    events.scalar_metrics_iter_histogram models.get_all projects.get_all tasks.get_all
    """.split())
ROOT_USER = 0  # may read everything anyway; tunnels into containers and WSL are its own
CONNECTIONS = ("/proc/net/tcp", "/proc/net/tcp6")
HINT = (
    "the page is shown only in a browser on the server's machine, run by the server's "
    "user; from elsewhere, use a tunnel: ssh -L {port}:127.0.0.1:{port} <machine>, "
    "then open http://127.0.0.1:{port}/"
)


class NotShown(Exception):
    """This request may not see the view; the message says what to do."""


def page() -> tuple[bytes, str]:
    """The page, and the Content-Security-Policy under which nothing else runs in it."""
    text = PAGE.read_bytes()
    script, style = (
        base64.b64encode(hashlib.sha256(found).digest()).decode()
        for found in re.search(
            rb"<style>(.*?)</style>.*<script>(.*?)</script>", text, re.S
        ).group(2, 1)
    )
    policy = (
        f"default-src 'none'; script-src 'sha256-{script}'; "
        f"style-src 'sha256-{style}'; connect-src 'self'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return text, policy


def check(gate, headers, client: tuple[str, int], server: tuple[str, int]) -> None:
    """Let a request see the view.

    Args:
        gate: Of the server; its credentials open the view from anywhere.
        client, server: Addresses and ports of the two ends of the connection.

    Raises:
        NotShown: The request neither carries credentials nor comes from the server's
            user on this machine.
    """
    if headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        raise NotShown("another site asked for this; it is not for other sites")
    try:
        return gate.check(headers)
    except ApiError:  # the cookie may well be that of another server on this host
        pass
    near = ipaddress.ip_address(client[0]).is_loopback
    if not near or not _is_loopback_name(headers.get("Host", "")):
        raise NotShown(HINT.format(port=server[1]))
    if _user_of(client, server) not in (None, ROOT_USER, os.getuid()):
        raise NotShown(HINT.format(port=server[1]))


def _is_loopback_name(host: str) -> bool:
    """Is the Host header one that no name server decides about?"""
    try:
        name = urllib.parse.urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _user_of(client, server) -> int | None:
    """The user id behind a connection within this machine, as the kernel lists it.

    None where there is no such list (macOS); -1 where the client is not in it.
    """
    ends = [_as_listed(*client), _as_listed(*server)]
    listed = [path for path in CONNECTIONS if os.path.exists(path)]
    for path in listed:
        with open(path, encoding="ascii") as lines:
            for line in lines:
                fields = line.split()
                if all(field.endswith(end) for field, end in zip(fields[1:3], ends)):
                    return int(fields[7])
    return -1 if listed else None


def _as_listed(host: str, port: int) -> str:
    """An address as /proc/net shows it; IPv4 inside IPv6 ends in the same digits."""
    number = int.from_bytes(socket.inet_aton(host), "little")
    return f"{number:08X}:{port:04X}"
