"""The read-only view that the page shows: who may see it, and what it consists of.

The links that the SDK prints open the page without a login. That is safe only for the
one person whose server this is, so without credentials a request must come

- from this machine, over a connection that a process of the server's own user holds;
- under a loopback name, or a foreign site whose name leads here could read along;
- from the page itself, or from nowhere (a typed address), not from another site.

Others reach the page through a tunnel (``ssh -L``), or after a login. Whoever wants to
change something logs in, wherever he is: `login` gives the page a token, which it keeps
in its own storage and sends to the API in a header, as every other client does. The
cookie that comes with it opens the view alone.
"""

import ipaddress
import os
import socket
import urllib.parse
from pathlib import Path

from .auth import PAGE_SECONDS, VIEW
from .errors import ApiError

PREFIX = "/view"
PAGE = Path(__file__).parent / "page"
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
}
# Nothing from elsewhere, nothing written into the page. Uploaded files are never sent
# as scripts or style sheets, though they come from here; see `web`.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
# What the page asks for. None of these changes anything.
READS = frozenset("""
    events.debug_images events.get_task_log events.get_task_plots
    events.scalar_metrics_iter_histogram events.multi_task_scalar_metrics_iter_histogram
    models.get_all projects.get_all projects.get_unique_metric_variants
    projects.get_hyper_parameters queues.get_all_ex tasks.get_all workers.get_all
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


def part(name: str) -> tuple[bytes, str] | None:
    """A file of the page and its content type, or None if there is none of the name."""
    path = PAGE / name
    if path.parent != PAGE or path.suffix not in KINDS or not path.is_file():
        return None
    return path.read_bytes(), KINDS[path.suffix]


def login(gate, request: dict) -> dict:
    """Exchange keys, or the token of a printed link, for tokens of a browser.

    Args:
        request: "access_key" and "secret_key", or "link".

    Returns:
        "token" for the API, and "cookie" for the view.

    Raises:
        ApiError: They are not this server's.
    """
    if request.get("link"):
        gate.use_link(str(request["link"]))
    else:
        names = ("access_key", "secret_key")
        gate.check_keys(*(str(request.get(name, "")).strip() for name in names))
    return {
        "token": gate.token(PAGE_SECONDS),
        "cookie": gate.token(PAGE_SECONDS, VIEW),
    }


def is_own_page(headers) -> bool:
    """Did the page itself send this, as far as a browser tells?"""
    origin = headers.get("Origin")
    own = f"http://{headers.get('Host', '')}"
    site = headers.get("Sec-Fetch-Site", "same-origin")
    return origin in (None, own) and site == "same-origin"


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
        return gate.check_viewer(headers)
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
