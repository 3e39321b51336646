"""HTTP connections that are bounded in number and in patience.

uvicorn waits for ever for a request that never comes, byte by byte or not at all, and
answers nobody while its limit of connections is used up by such clients. Here they are
ended after a while, and where room is needed, at once.
"""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import (
    WebSocketsSansIOProtocol,
)

REQUEST_S = 10.0  # for the head of a request, and for a TLS handshake, to arrive
MOST = 128  # connections; of more, the one that has asked for nothing longest goes
GOODBYE_S = 1.0  # for a browser to close a WebSocket that we have closed


class BoundedConnection(H11Protocol):
    """One connection; takes the place of uvicorn's own class, as ``http=``."""

    _deadline: asyncio.TimerHandle | None = None  # while nothing is asked

    def connection_made(self, transport) -> None:
        super().connection_made(transport)
        self._watch()
        if len(self.connections) > MOST:
            idle = (c for c in self.connections if getattr(c, "_deadline", None))
            min(idle, key=lambda c: c._deadline.when()).end()

    def connection_lost(self, exc) -> None:
        super().connection_lost(exc)
        self._watch()

    def handle_events(self) -> None:
        super().handle_events()
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def end(self) -> None:
        """Say nothing more and hear nothing more."""
        self.connections.discard(self)  # at once: others count
        self._watch()
        self.transport.abort()

    def _watch(self) -> None:
        """Let the time run while nothing is asked, and only then."""
        answering = self.cycle is not None and not self.cycle.response_complete
        if answering or self not in self.connections:  # a WebSocket is there no longer
            if self._deadline:
                self._deadline.cancel()
                self._deadline = None
        elif self._deadline is None:
            self._deadline = self.loop.call_later(REQUEST_S, self.end)


class BoundedWebSocket(WebSocketsSansIOProtocol):
    """One that was closed does not use up a connection for long; as ``ws=``."""

    def __init__(self, config, server_state, app_state, _loop=None):
        super().__init__(config, server_state, app_state, _loop)
        self.close_timeout = GOODBYE_S


class Loop(asyncio.SelectorEventLoop):
    """Ends TLS handshakes that take too long; uvicorn has no option for it."""

    async def create_server(self, protocol_factory, *args, ssl=None, **options):
        if ssl:
            options["ssl_handshake_timeout"] = REQUEST_S
        return await super().create_server(protocol_factory, *args, ssl=ssl, **options)
