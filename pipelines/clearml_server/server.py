"""The server as a whole: its parts, and its life from start to end."""

import logging
import threading
from pathlib import Path

from .auth import Gate
from .files import Files
from .home import Home
from .leases import Leases
from .services import queues
from .storage import Storage
from .web import WebServer

log = logging.getLogger(__name__)


class Server:
    """A server on one folder.

    Attributes:
        address: Such as "http://127.0.0.1:41234".
        gate, files, storage, leases: What endpoints use.
    """

    def __init__(self, folder: Path, host: str = "127.0.0.1", port: int = 0):
        """Own the folder, open everything and listen; clients can find it now.

        Args:
            port: 0 takes the port of the last run, or a free one.

        Raises:
            InputError: Another server uses the folder.
            OSError: The port is taken.
        """
        self._home = Home(folder)
        self._home.lock()
        credentials = self._home.credentials()
        self.gate = Gate(credentials)
        self.files = Files(folder / "files")
        self.storage = Storage(folder / "server.sqlite")
        with self.storage.write() as db:
            queues.prepare(db)
        self.leases = Leases()
        self._web = self._listen(host, port)
        port = self._web.server_address[1]
        shown = "127.0.0.1" if host in ("0.0.0.0", "") else host
        self.address = f"http://{shown}:{port}"
        self._stopping = threading.Event()
        self._home.announce(self.address, port, credentials)

    def _listen(self, host, port):
        if port == 0 and (last := self._home.last_port()):
            try:
                return WebServer(host, last, self)
            except OSError:
                log.info("port %d is taken now", last)
        return WebServer(host, port, self)

    def run(self, exit_with_users: bool = False) -> None:
        """Answer requests until `stop` is called (or the last user is gone)."""
        if exit_with_users:
            threading.Thread(target=self._stop_when_unused, daemon=True).start()
        try:
            self._web.serve_forever(poll_interval=0.2)
        finally:
            self.close()

    def stop(self) -> None:
        """End `run`, from any thread but its own or from a signal handler."""
        if not self._stopping.is_set():
            self._stopping.set()
            threading.Thread(target=self._web.shutdown, daemon=True).start()

    def close(self) -> None:
        """Let go of port, folder and data; `run` does this at its end."""
        self._web.server_close()
        self.storage.close()
        self._home.release()

    def _stop_when_unused(self):
        self.leases.wait_until_unused(self._stopping)
        self.stop()
