"""What another process of the same user asks the server of a folder."""

import base64
import http.client
import json
import os
import urllib.request
from pathlib import Path

from .auth import LINK_SECONDS, LOGIN, Gate
from .home import running


def register(home: Path) -> str | None:
    """Tell the running server that this process uses it; None if none answers.

    Only the owner of the folder's keys answers this call with success, so a foreign
    program at the same port is not mistaken for the server.
    """
    state = running(home)
    if state is None:
        return None
    try:
        keys = json.loads((home / "credentials.json").read_text(encoding="utf-8"))
        pair = f"{keys['access_key']}:{keys['secret_key']}".encode()
        request = urllib.request.Request(
            f"{state['address']}/embedded.lease",
            data=json.dumps({"pid": os.getpid()}).encode(),
            headers={"Authorization": f"Basic {base64.b64encode(pair).decode()}"},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=5) as answer:
            json.load(answer)
    except (OSError, ValueError, http.client.HTTPException):
        return None
    return state["address"]


def login_link(home: Path) -> str | None:
    """An address that logs a browser in, once and soon; None if no server runs."""
    state = running(home)
    if state is None:
        return None
    text = (home / "credentials.json").read_text(encoding="utf-8")
    token = Gate(json.loads(text)).token(LINK_SECONDS, LOGIN)
    # after "#", so that it is in no log and is sent to no server
    return f"{state['address']}/login#link={token}"
