"""Who may talk to the gateway: the page it serves, and programs of this machine.

Other pages in the same browser may not (Host and Origin are checked, so that neither a
name that was turned to this machine nor a form elsewhere gets through), and from
outside nobody without the token. What a proxy passes on comes from outside, whatever
name it asks for.
"""

import hmac
import ipaddress
import secrets
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.responses import PlainTextResponse, RedirectResponse

from data_prep.errors import InputError

COOKIE = "asl_demo"
FORWARDED_FOR = "x-forwarded-for"
# Proxies add them; a browser's scripts cannot take them away.
FORWARDED = frozenset((FORWARDED_FOR, "x-forwarded-proto", "forwarded"))
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src "
    "'self'; img-src 'self' blob: data:; media-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


def new_token() -> str:
    return secrets.token_urlsafe(24)


def origin(address: str) -> str:
    """Write an https address as browsers do in the header Origin.

    Raises:
        InputError: It is none, or says more than a host and a port.
    """
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", None
    host = f"[{host}]" if ":" in host else host
    written = f"https://{host}" + (f":{port}" if port else "")
    if not host or address.lower().removesuffix("/") != written:
        raise InputError(
            f"'{address}' is not the https address of a proxy, such as "
            "https://asl.example.org:8443"
        )
    return written.removesuffix(":443")


class Guard:
    """ASGI middleware.

    Args:
        app: What is guarded.
        hosts: Names by which the page may be asked for, without port. Where addresses
            may be used too, "*" stands for them: unlike a name, none can be turned to
            this machine by others.
        token: Wanted of everybody; None: of nobody.
        front: Origin of the proxy that may pass requests on; "": none may.
    """

    def __init__(self, app, hosts: frozenset[str], token: str | None, front: str):
        self.app, self.hosts, self.token, self.front = app, hosts, token, front

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        headers = {
            k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]
        }
        fault = self._fault(headers)
        if fault:
            return await _refuse(403, fault, scope, receive, send)
        if self._fronted(headers) and FORWARDED_FOR in headers:
            # the last one is the proxy's own, whatever the client sent
            client = headers[FORWARDED_FOR].rpartition(",")[2].strip()
            scope = scope | {"client": (client, 0)}
        if self.token and not self._known(headers):
            given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])
            if scope["type"] != "http" or not _same(given[0], self.token):
                why = "a token is needed: open the address that scripts/demo printed"
                return await _refuse(401, why, scope, receive, send)
            # from now on in a cookie, out of the address
            answer = RedirectResponse(scope["path"], 303)
            secure = scope["scheme"] == "https" or self._fronted(headers)
            # not "strict": who follows a link in a mail would be refused
            answer.set_cookie(
                COOKIE, self.token, httponly=True, samesite="lax", secure=secure
            )
            return await answer(scope, receive, send)

        async def send_with_headers(message):
            if message["type"] == "http.response.start":
                message["headers"] = _with_ours(message["headers"])
            await send(message)

        await self.app(scope, receive, send_with_headers)

    def _fault(self, headers) -> str | None:
        host, fronted = headers.get("host", ""), self._fronted(headers)
        passed_on = not FORWARDED.isdisjoint(headers)
        if passed_on and not self.front:
            return "scripts/demo runs without --front: no proxy may pass requests on"
        if not fronted and (passed_on or not self._known_name(host)):
            return f"this address is not served under the name {host[:80]!r}"
        if "origin" in headers:
            given = headers["origin"]
            own = given == self.front if fronted else _place(given) == host
            if not own:
                return "other pages may not use this one's camera and model"
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            if headers.get("sec-fetch-mode") != "navigate":
                return "other pages may not use this one's camera and model"
        return None

    def _fronted(self, headers) -> bool:
        """Whether a request asks for the address of the proxy in front of us."""
        return bool(self.front) and headers.get("host", "") == _place(self.front)

    def _known_name(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname
        except ValueError:
            return False
        return name in self.hosts or ("*" in self.hosts and _is_address(name))

    def _known(self, headers) -> bool:
        """Whether a program's header or a browser's cookie has the token; a browser
        may send the administrator's in the header."""
        given = headers.get("authorization", "").removeprefix("Bearer ")
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            cookie = None
        return _same(given, self.token) or (
            cookie is not None and _same(cookie.value, self.token)
        )


def _with_ours(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Add HEADERS, where an answer does not have one of its own."""
    own = {name for name, _ in headers}
    ours = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
    return list(headers) + [pair for pair in ours if pair[0] not in own]


def _same(given: str, wanted: str | None) -> bool:
    return wanted is not None and hmac.compare_digest(given.encode(), wanted.encode())


def _place(origin: str) -> str | None:
    """The host and port of an origin; None if it is none."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _is_address(name: str | None) -> bool:
    try:
        ipaddress.ip_address(name or "")
    except ValueError:
        return False
    return True


async def _refuse(status, reason, scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": reason[:120]})
        return
    answer = PlainTextResponse(f"{reason}\n", status, HEADERS)
    await answer(scope, receive, send)
