"""Sockets and paths: which request goes where.

- ``/v2.23/tasks.get_all``, ``/auth.login``: the API, see `calls`
- ``/files/...``: the file server, see `files`
- ``/`` and whatever the SDK prints as "results page": the page
- ``/view/tasks.get_all``, ``/view/files/...``: what the page shows, see `view`
- ``/view/page/...``: its scripts; ``/view/login``: gives a browser its tokens

API and files want credentials; the view wants them where it matters. Nothing of a body
is read before that, and there are limits for whatever is. Answers are HTTP/1.0
(connections that clients keep open are corrupted when such a client forks) and written
at once.
"""

import http.client
import logging
import mimetypes
import re
import socketserver
import sys
import threading
import urllib.parse
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from typing import Any

from . import calls, view
from .auth import COOKIE, PAGE_SECONDS
from .connections import Connections
from .errors import ApiError
from .files import PLACEHOLDER, PREFIX, BadName, BadUpload

MAX_CONNECTIONS = 256  # at a time; then strangers give way, see `connections`
ROOM_SECONDS = 1.0  # that giving way may take
MAX_HEAD = 32 << 10  # bytes of all headers
HEAD_SECONDS = 20
BODY_SECONDS = 120  # and what the slowest rate adds; so for answers
SLOWEST_RATE = 16 << 10  # bytes a second
MAX_BATCH_BODY = 64 << 20
MAX_API_BODY = 16 << 20
MAX_LOGIN_BODY = 4 << 10
# What a browser would run or apply, were it sent as what it is.
NEVER_AS_IT_IS = ("javascript", "ecmascript", "css", "wasm")
MAX_DISCARDED = 1 << 20
PIECE = 1 << 18
log = logging.getLogger(__name__)


class WebServer(socketserver.ThreadingTCPServer):
    """Listens; each connection gets a thread.

    Attributes:
        server: The Server whose parts the handlers use.
        connections: Those that are open.
    """

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, host: str, port: int, server):
        self.server = server
        self.connections = Connections()
        self._free = threading.BoundedSemaphore(MAX_CONNECTIONS)
        super().__init__((host, port), Handler)

    def process_request(self, request, client_address):
        free = self._free.acquire(blocking=False)
        if not free:
            self.connections.make_room()
            free = self._free.acquire(timeout=ROOM_SECONDS)
        if free:
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request, client_address):
        self.connections.add(request, HEAD_SECONDS)
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def shutdown_request(self, request):
        self.connections.remove(request)
        super().shutdown_request(request)

    def service_actions(self):
        """Called a few times a second."""
        self.connections.end_overdue()

    def handle_error(self, request, client_address):
        """A client that goes away is no event; everything else is logged."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            log.exception("request from %s failed", client_address[0])


class _Head:
    """The headers of a request, up to a limit for all of them together."""

    def __init__(self, stream):
        self._stream = stream
        self._left = MAX_HEAD

    def readline(self, most: int) -> bytes:
        line = self._stream.readline(min(most, self._left + 1))
        self._left -= len(line)
        if self._left < 0:
            raise http.client.HTTPException("more than the limit")
        return line


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: Any  # a WebServer
    rfile: Any  # a stream; a _Head of it while headers are read
    server_version = "ClearMLEmbedded"
    sys_version = ""
    wbufsize = 1 << 16  # headers and body leave together
    timeout = HEAD_SECONDS
    disable_nagle_algorithm = True

    def parse_request(self):
        stream, self.rfile = self.rfile, _Head(self.rfile)
        try:
            return super().parse_request()
        finally:
            self.rfile = stream
            self.connection.settimeout(BODY_SECONDS)

    def do_GET(self):
        self._route()

    do_POST = do_PUT = do_DELETE = do_HEAD = do_GET

    def log_message(self, format, *args):
        log.debug(format, *args)

    def _route(self):
        split = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(split.query))
        path = urllib.parse.unquote(split.path)
        if path == PREFIX or path.startswith(f"{PREFIX}/"):
            self._files(path.removeprefix(PREFIX))
        elif match := calls.PATH.match(path):
            self._api(match[2], match[1] or "", query)
        elif path == f"{view.PREFIX}/login" and self.command == "POST":
            self._login()
        elif self.command not in ("GET", "HEAD"):
            self._send(405, b"method not allowed\n", "text/plain")
        elif path.startswith(f"{view.PREFIX}/page/"):
            self._page(path.removeprefix(f"{view.PREFIX}/page/"))
        elif path.startswith(f"{view.PREFIX}/"):
            self._view(path.removeprefix(f"{view.PREFIX}/"), query)
        elif path in ("/favicon.ico", "/robots.txt"):
            self._send(404, b"", "text/plain")
        else:
            self._page("index.html")

    # ---- API

    def _api(self, name, version, query):
        self._answer(name, version, lambda: self._run(name, version, query))

    def _answer(self, name, version, function, headers=None):
        """Send what the function returns, or why it refused, as the API does.

        Args:
            headers: Further ones; read after the function has run.
        """
        error, data = None, {}
        try:
            data = function()
        except ApiError as refused:
            error = refused
            log.debug("%s refused: %s", name, error.message)
        except Exception:
            log.exception("%s failed", name)
            error = ApiError("server_error", "see the server's log")
        body = calls.envelope(name, version, data, error)
        body = body.replace(PLACEHOLDER.encode(), self._base().encode())
        self._send(error.code if error else 200, body, "application/json", headers)

    def _run(self, name, version, query):
        length = self._length()
        try:
            self._authorize()
            most = MAX_BATCH_BODY if name in calls.BATCHES else MAX_API_BODY
            if length > most:
                raise ApiError("request_too_large", length=length, most=most)
            if query and calls.writes(name):
                raise ApiError("invalid_request", "fields belong into the body")
        except ApiError:
            self._discard(length)
            raise
        body = self._body(length)
        if len(body) < length:
            raise ApiError("invalid_request", "the body ended early")
        own = re.escape(self._base().encode()) + rb"(?![0-9])"
        body = re.sub(own, PLACEHOLDER.encode(), body)
        kind = self.headers.get("Content-Type", "")
        data, batch = calls.parse_body(body, kind, query)
        worker = self.headers.get("X-ClearML-Worker", "")
        server, client = self.server.server, self.client_address[0]
        return calls.run(calls.Call(name, data, batch, version, worker, server, client))

    def _discard(self, length):
        """Read a small body, and keep none of it: closing on unread bytes would reset
        the connection before the refusal is read."""
        left = min(length, MAX_DISCARDED)
        while left and (piece := self.rfile.read(min(PIECE, left))):
            left -= len(piece)

    def _authorize(self):
        self.server.server.gate.check(self.headers)
        self.server.connections.trust(self.connection)

    def _limit(self, length):
        """Allow the time for so many bytes to come or to go."""
        seconds = BODY_SECONDS + length / SLOWEST_RATE
        self.server.connections.limit(self.connection, seconds)

    def _body(self, length) -> bytes:
        self._limit(length)
        body = self.rfile.read(length)
        # nobody is waited for while the request is answered
        self.server.connections.limit(self.connection, None)
        return body

    def _base(self):
        """This server's address as the client knows it."""
        host = self.headers.get("Host", "")
        if not re.fullmatch(r"[\w.:\[\]-]+", host):
            return self.server.server.address
        return f"http://{host}"

    def _length(self):
        try:
            return max(0, int(self.headers.get("Content-Length") or 0))
        except ValueError:
            raise ApiError("invalid_request", "no valid Content-Length") from None

    # ---- the view

    def _page(self, name):
        found = view.part(name)
        if found is None:
            return self._text(404, f"no part {name} of the page")
        self._send(200, *found, {"Content-Security-Policy": view.POLICY})

    def _login(self):
        """Give the page its tokens; see `view`."""
        gate, cookies = self.server.server.gate, {}

        def run():
            length = self._length()
            if not view.is_own_page(self.headers) or length > MAX_LOGIN_BODY:
                raise ApiError("invalid_request", "not sent by the page")
            request, _ = calls.parse_body(self._body(length), "", {})
            found = view.login(gate, request)
            cookies["Set-Cookie"] = (
                f"{COOKIE}={found['cookie']}; Path={view.PREFIX}; HttpOnly; "
                f"SameSite=Strict; Max-Age={PAGE_SECONDS}"
            )
            return {"token": found["token"]}

        self._answer("login", "", run, cookies)

    def _view(self, name, query):
        """Answer the page: a file, or an endpoint with its request in the address."""
        server = self.server.server
        here = self.connection.getsockname()
        try:
            view.check(server.gate, self.headers, self.client_address, here)
            self.server.connections.trust(self.connection)
            if name.startswith("files/"):
                return self._download(name.removeprefix("files/"))
        except view.NotShown as refused:
            return self._text(403, str(refused))
        except BadName as error:
            return self._text(400, str(error))
        if name not in view.READS:
            return self._text(404, "not part of the view")
        self._answer(name, "", lambda: self._read(name, query.get("request", "")))

    def _read(self, name, request):
        data, batch = calls.parse_body(request.encode(), "", {})
        return calls.run(calls.Call(name, data, batch, "", "", self.server.server))

    # ---- files

    def _files(self, name):
        try:
            self._authorize()
            if self.command in ("GET", "HEAD"):
                self._download(name)
            elif self.command == "DELETE":
                found = self.server.server.files.delete(name)
                self._text(200 if found else 404, "deleted" if found else "not found")
            else:
                files = self.server.server.files
                kind = self.headers.get("Content-Type")
                self._limit(self._length())
                names = files.receive(self.rfile, self._length(), kind)
                self._text(200, "\n".join(names))
        except ApiError as error:
            self._text(error.code, error.message)
        except (BadName, BadUpload) as error:
            self._text(400, str(error))
            self.close_connection = True

    def _download(self, name):
        if not name.strip("/"):
            return self._text(200, "OK")
        path = self.server.server.files.path(name)
        try:
            file = open(path, "rb")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return self._text(404, f"no file {name}")
        with file:
            size = file.seek(0, 2)
            start, end = self._range(size)
            if start is None:
                return self._text(416, "", {"Content-Range": f"bytes */{size}"})
            partial = (start, end) != (0, size)
            self.send_response(206 if partial else 200)
            if partial:
                self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
            kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
            if any(word in kind for word in NEVER_AS_IT_IS):
                kind = "text/plain"
            self._headers(end - start, kind)
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Last-Modified", formatdate(path.stat().st_mtime))
            # an uploaded page must not act in the name of whoever looks at it
            self.send_header("Content-Security-Policy", "sandbox")
            self.end_headers()
            file.seek(start)
            left = end - start if self.command == "GET" else 0
            while left and (piece := file.read(min(PIECE, left))):
                self.wfile.write(piece)
                left -= len(piece)

    def _range(self, size):
        """The part of the file that is asked for: (start, end), or (None, None)."""
        match = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if not match or match.groups() == ("", ""):
            return 0, size
        first, last = match.groups()
        if not first:
            return max(0, size - int(last)), size
        start, end = int(first), min(size, int(last) + 1 if last else size)
        return (start, end) if start < end else (None, None)

    # ---- answers

    def _text(self, code, text, headers=None):
        self._send(code, text.encode(), "text/plain; charset=utf-8", headers)

    def _send(self, code, body, kind, headers=None):
        self.send_response(code)
        self._headers(len(body), kind)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _headers(self, length, kind):
        self._limit(length)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "no-store")
