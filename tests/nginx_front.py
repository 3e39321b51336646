"""nginx in front of a server, as a user starts it, and requests to it."""

import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import tritonclient.grpc
import tritonclient.http

from data_prep.paths import ROOT
from pipelines.serving import remote_credentials

LIBRARIES = {"grpc": tritonclient.grpc, "http": tritonclient.http}
COMMAND = [sys.executable, "-m", "pipelines.serving.remote_access"]


class Front:
    """nginx as a user starts it, with one client that has a token.

    Args:
        server: Triton.
        folder: Of remote access, in the data folder.
        options: Further ones of ``serve``.
    """

    def __init__(self, server, folder: Path, *options: str):
        self.folder = folder
        self.ca = remote_credentials.certify(["localhost"])
        self.header = remote_credentials.grant("laptop")
        line = [*COMMAND, "serve", "--port", "0"]
        line += ["--http", server.http_url, "--grpc", server.grpc_url, *options]
        self.errors = folder / "stderr"
        with open(self.errors, "w") as errors:
            self.process = subprocess.Popen(
                line, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        address = self.process.stdout.readline().split()[2].rstrip(",")
        self.port = int(address.rpartition(":")[2])
        self.url = f"localhost:{self.port}"
        self.http_url = self.grpc_url = self.url  # one port for both
        wait_until(self.accepts, "nginx does not listen")

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(20) == 130
        self.process.stdout.close()

    def accepts(self) -> bool:
        assert self.process.poll() is None
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def options(self) -> list:
        return ["--ssl", "--ca", self.ca, "--header", f"@{self.header}"]

    def headers(self) -> dict[str, str]:
        name, _, value = self.header.read_text().strip().partition(": ")
        return {name: value}

    def client(self, protocol):
        trust = {"grpc": {"root_certificates": str(self.ca)}}
        trust["http"] = {"ssl_options": {"ca_certs": str(self.ca)}}
        return LIBRARIES[protocol].InferenceServerClient(
            self.url, ssl=True, **trust[protocol]
        )

    def request(
        self, method, path, headers=(), body=b"", host="localhost"
    ) -> tuple[int, str, str]:
        """Send HTTP; return status, head and body of the answer."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close"]
        lines.append(f"Content-Length: {len(body)}")
        text = "\r\n".join([*lines, *headers, "", ""])
        head, _, body = self.send(text.encode() + body).partition("\r\n\r\n")
        return int(head.split()[1]), head, body

    def send(self, data: bytes) -> str:
        """Send bytes as they are; return all that comes back."""
        context = ssl.create_default_context(cafile=self.ca)
        context.verify_flags |= ssl.VERIFY_X509_STRICT  # as newer Pythons do
        with context.wrap_socket(
            socket.create_connection(("localhost", self.port), timeout=10),
            server_hostname="localhost",
        ) as connection:
            connection.sendall(data)
            answer = b""
            while block := connection.recv(1 << 16):
                answer += block
        return answer.decode()


def wait_until(condition, otherwise):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.05)
