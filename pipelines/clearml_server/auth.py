"""Who may call: the random key and secret of this server, and tokens signed by it.

SDK and agents send key and secret once (``auth.login``, HTTP Basic) and a token
afterwards (a JSON Web Token, HS256) in the header Authorization. Nothing else opens the
API: a browser sends that header for no other site's page. A token says what it is for:

- "api"    everything; what ``auth.login`` gives, and what the page's login keeps
- "view"   looking at the page from another machine; the one kind that is a cookie
- "login"  exchanged once for the two above; part of a printed link

(PyJWT would do the same; importing it takes 20 MB, as much as all the rest.)
"""

import base64
import hashlib
import hmac
import json
import secrets
import time

from .documents import COMPANY, USER
from .errors import ApiError

API_VERSION = "2.34"
SERVER_VERSION = "2.3.0"
TOKEN_SECONDS = 30 * 24 * 3600
PAGE_SECONDS = 8 * 3600  # a browser's login
LINK_SECONDS = 600  # a printed link that logs in
COOKIE = "clearml_embedded"
API, VIEW, LOGIN = "api", "view", "login"


def new_credentials() -> dict:
    """Random keys; the access key is no secret, the other two are."""
    return {
        "access_key": secrets.token_hex(10).upper(),
        "secret_key": secrets.token_urlsafe(32),
        "signing_key": secrets.token_hex(32),
    }


class Gate:
    """Checks the credentials of requests.

    Attributes:
        credentials: See `new_credentials`.
    """

    def __init__(self, credentials: dict):
        self.credentials = credentials

        self._used_links = set()

    def check(self, headers) -> None:
        """Let a request of the API pass.

        Args:
            headers: Mapping with "Authorization".

        Raises:
            ApiError: Nothing was presented, or nothing valid.
        """
        kind, _, value = (headers.get("Authorization") or "").partition(" ")
        if kind == "Basic":
            self._check_key(value)
        elif kind == "Bearer":
            self.check_token(value)
        else:
            raise ApiError("no_credentials")

    def check_viewer(self, headers) -> None:
        """Let a request pass that only looks: with a cookie, or as `check` does.

        Raises:
            ApiError: As `check`.
        """
        for cookie in (headers.get("Cookie") or "").split(";"):
            name, _, value = cookie.strip().partition("=")
            if name == COOKIE:
                self.check_token(value, VIEW)
                return
        self.check(headers)

    def use_link(self, token: str) -> None:
        """Let the holder of a login link in, once.

        Raises:
            ApiError: It is no such link, or was used before.
        """
        payload = self.check_token(token, LOGIN)
        if payload["jti"] in self._used_links:
            raise ApiError("invalid_token", "this link was used before")
        self._used_links.add(payload["jti"])

    def token(self, seconds: float | None = None, purpose: str = API) -> str:
        """Make a token that is valid for so many seconds (default 30 days)."""
        issued = int(time.time())
        payload = {
            "auth_type": "Bearer",
            "env": "embedded",
            "jti": secrets.token_hex(8),
            "purpose": purpose,
            "iat": issued,
            "exp": issued + int(seconds or TOKEN_SECONDS),
            "api_version": API_VERSION,
            "server_version": SERVER_VERSION,
            "server_build": "0",
            "feature_set": "basic",
            "identity": {
                "user": USER,
                "user_name": USER,
                "company": COMPANY,
                "company_name": COMPANY,
                "role": "user",
            },
        }
        header = {"alg": "HS256", "typ": "JWT"}
        body = ".".join(_encode(json.dumps(p).encode()) for p in (header, payload))
        return f"{body}.{_encode(self._sign(body))}"

    def check_token(self, token: str, purpose: str = API) -> dict:
        """Return the payload of a valid token.

        Raises:
            ApiError: It was not signed here, is no longer valid, or is for something
                else.
        """
        try:
            body, _, signature = token.rpartition(".")
            if not hmac.compare_digest(_decode(signature), self._sign(body)):
                raise ValueError("signature")
            payload = json.loads(_decode(body.partition(".")[2]))
        except ValueError:
            raise ApiError("invalid_token") from None
        if payload["exp"] < time.time():
            raise ApiError("invalid_token", "expired")
        if payload.get("purpose", API) != purpose:
            raise ApiError("invalid_token", "it is for something else")
        return payload

    def _check_key(self, value: str | bytes) -> None:
        try:
            given = base64.b64decode(value)
        except ValueError:  # not base64, or not even ASCII
            raise ApiError("invalid_credentials") from None
        expected = f"{self.credentials['access_key']}:{self.credentials['secret_key']}"
        if not hmac.compare_digest(given, expected.encode()):
            raise ApiError("invalid_credentials")

    def check_keys(self, access_key: str, secret_key: str) -> None:
        """Raises ApiError where these are not the server's keys."""
        self._check_key(base64.b64encode(f"{access_key}:{secret_key}".encode()))

    def _sign(self, body: str) -> bytes:
        key = self.credentials["signing_key"].encode()
        return hmac.new(key, body.encode(), hashlib.sha256).digest()


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
