"""Stand-ins on this machine of Telegram, Slack, a webhook and a mail server."""

import json
import socketserver
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Told:
    """What has arrived: ``(when, by what way, text)`` each."""

    def __init__(self):
        self.messages: list[tuple[float, str, str]] = []
        self.status = 200  # that is answered to HTTP

    def add(self, way: str, text: str) -> None:
        self.messages.append((time.time(), way, text))

    def texts(self, way: str) -> list[str]:
        return [text for _, by, text in self.messages if by == way]

    def when(self, way: str, words: str) -> float | None:
        """When a text with these words arrived first; None if it has not."""
        for moment, by, text in self.messages:
            if by == way and words in text:
                return moment
        return None


@contextmanager
def http_server(told: Told):
    """Telegram's API below /bot.../, Slack at /slack, a webhook at /hook; yields the
    port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            way = self.path.split("/")[1].partition("bot")[0] or "telegram"
            if told.status == 200:
                told.add(way, body)
            answer = json.dumps({"ok": True, "result": {"message_id": 1, "chat": {}}})
            self.send_response(told.status)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(answer.encode())

        def log_message(self, *_):
            pass

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as port:
        yield port


@contextmanager
def mail_server(told: Told):
    """As much of SMTP (RFC 5321) as one message needs; yields the port."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            self.wfile.write(b"220 stand-in\r\n")
            while line := self.rfile.readline():
                word = line[:4].upper()
                if word == b"DATA":
                    self.wfile.write(b"354 go on\r\n")
                    text = b""
                    while (line := self.rfile.readline()) not in (b".\r\n", b""):
                        text += line
                    told.add("mail", text.decode())
                self.wfile.write(b"221 bye\r\n" if word == b"QUIT" else b"250 fine\r\n")

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    with serving(server) as port:
        yield port


@contextmanager
def serving(server):
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
