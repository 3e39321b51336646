"""Who is told: a webhook, Telegram, Slack, mail.

One YAML file, which only its owner may read, lists them; see docs/monitoring.md::

    - kind: telegram
      token: 123456:ABC...
      chat: -1000000000000
    - kind: slack
      url: https://hooks.slack.com/services/...
    - kind: webhook
      url: https://example.org/alerts
      token: ...                    # sent as "Authorization: Bearer ..."; optional
    - kind: mail
      server: mail.example.org:587
      sender: asl@example.org
      to: [oncall@example.org]
      user: asl@example.org
      password: ...

HTTP goes as the package requests has it: by the proxies and the certificates that the
environment names. Mail is encrypted (STARTTLS, or TLS from the beginning with
``tls: immediate``); ``tls: none`` is for a server on this machine.
"""

import os
import smtplib
import ssl
import stat
from collections.abc import Sequence
from datetime import datetime, timezone
from email.message import EmailMessage
from pathlib import Path
from urllib.parse import urlsplit

import requests
import yaml

from data_prep.errors import InputError
from pipelines.monitoring.alerts import FIRING, Alert

TIMEOUT_S = 10
TELEGRAM = "https://api.telegram.org"
MAX_TEXT = 4000  # Telegram takes 4096 characters
LOOPBACK = ("localhost", "127.0.0.1", "::1")
# What each kind must have, and what it may have besides.
FIELDS = {
    "webhook": ({"url"}, {"token"}),
    "slack": ({"url"}, set()),
    "telegram": ({"token", "chat"}, {"api"}),
    "mail": ({"server", "sender", "to"}, {"user", "password", "tls"}),
}
TLS = ("starttls", "immediate", "none")


class Undelivered(Exception):
    """A receiver could not be told; the text has no secret in it."""


class Receiver:
    """One receiver of the file.

    Args:
        number: Its place in the file, from 1.
        settings: As the file has them.

    Attributes:
        name: By which it is remembered what it has been told.
    """

    def __init__(self, number: int, settings: dict):
        self.settings = settings
        self.kind = settings["kind"]
        self.name = f"{number}-{self.kind}"

    def tell(self, alerts: Sequence[Alert]) -> None:
        """Send one message about some alerts.

        Raises:
            Undelivered: It has not arrived.
        """
        deliver = {
            "webhook": self._webhook,
            "slack": self._slack,
            "telegram": self._telegram,
            "mail": self._mail,
        }[self.kind]
        try:
            deliver(alerts)
        except requests.RequestException as error:
            # neither the address nor the text of the error: the secret is in them
            raise Undelivered(f"{self.name}: {type(error).__name__}") from None
        except (OSError, smtplib.SMTPException) as error:
            raise Undelivered(f"{self.name}: {type(error).__name__}") from None

    def _webhook(self, alerts: Sequence[Alert]) -> None:
        token = self.settings.get("token")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._post(self.settings["url"], as_webhook(alerts), headers)

    def _slack(self, alerts: Sequence[Alert]) -> None:
        self._post(self.settings["url"], {"text": as_text(alerts)})

    def _telegram(self, alerts: Sequence[Alert]) -> None:
        api = self.settings.get("api", TELEGRAM).rstrip("/")
        body = {"chat_id": self.settings["chat"], "text": as_text(alerts)}
        body["disable_web_page_preview"] = True
        self._post(f"{api}/bot{self.settings['token']}/sendMessage", body)

    def _post(self, url: str, body: dict, headers: dict | None = None) -> None:
        answer = requests.post(
            url, json=body, headers=headers, timeout=TIMEOUT_S, allow_redirects=False
        )
        if answer.status_code // 100 != 2:
            raise Undelivered(f"{self.name}: it answered {answer.status_code}")

    def _mail(self, alerts: Sequence[Alert]) -> None:
        message = EmailMessage()
        message["Subject"] = title(alerts)
        message["From"] = self.settings["sender"]
        message["To"] = ", ".join(_listed(self.settings["to"]))
        message.set_content(as_text(alerts))
        host, _, port = self.settings["server"].rpartition(":")
        tls = self.settings.get("tls", TLS[0])
        context = ssl.create_default_context()
        at: dict = {"host": host, "port": int(port), "timeout": TIMEOUT_S}
        server: smtplib.SMTP
        if tls == "immediate":
            server = smtplib.SMTP_SSL(**at, context=context)
        else:
            server = smtplib.SMTP(**at)
        with server:
            if tls == "starttls":
                server.starttls(context=context)
            if "user" in self.settings:
                server.login(self.settings["user"], self.settings.get("password", ""))
            server.send_message(message)


def load(path: Path) -> list[Receiver]:
    """Read the receivers.

    Raises:
        InputError: Others may read the file, or it does not say what is needed.
    """
    try:
        found = os.stat(path)
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}); name a file as in "
            "docs/monitoring.md"
        ) from None
    if stat.S_IMODE(found.st_mode) & 0o077:
        mode = f"{stat.S_IMODE(found.st_mode):o}"
        raise InputError(
            f"{path} has secrets, and its mode {mode} lets others read them; run "
            f"chmod 600 {path}"
        )
    try:
        listed = yaml.safe_load(text)
    except yaml.YAMLError as error:
        line = getattr(getattr(error, "problem_mark", None), "line", 0) + 1
        raise InputError(f"{path}, line {line}: this is no YAML") from None
    if not isinstance(listed, list) or not listed:
        raise InputError(f"{path} lists no receivers; see docs/monitoring.md")
    return [Receiver(i, _checked(path, i, one)) for i, one in enumerate(listed, 1)]


def _checked(path: Path, number: int, settings) -> dict:
    """Check one receiver; its values are named in no message, they may be secrets."""
    where = f"{path}, receiver {number}"
    if not isinstance(settings, dict) or settings.get("kind") not in FIELDS:
        raise InputError(f"{where}: 'kind' must be one of {', '.join(FIELDS)}")
    needed, others = FIELDS[settings["kind"]]
    given = set(settings) - {"kind"}
    if missing := needed - given:
        raise InputError(f"{where}: a {settings['kind']} needs '{min(missing)}'")
    if unknown := given - needed - others:
        known = ", ".join(sorted(needed | others))
        raise InputError(f"{where}: '{min(unknown)}' is not known; there are {known}")
    for key in {"url", "api"} & given:
        address = urlsplit(str(settings[key]))
        plain = address.scheme == "http" and address.hostname in LOOPBACK
        if address.scheme != "https" and not plain:
            raise InputError(f"{where}: '{key}' must begin with https://")
    if settings["kind"] == "mail":
        _check_mail(where, settings)
    return settings


def _check_mail(where: str, settings: dict) -> None:
    host, _, port = str(settings["server"]).rpartition(":")
    if not host or not port.isdecimal():
        raise InputError(f"{where}: 'server' must be HOST:PORT")
    tls = settings.get("tls", TLS[0])
    if tls not in TLS:
        raise InputError(f"{where}: 'tls' must be one of {', '.join(TLS)}")
    if tls == "none" and host not in LOOPBACK:
        raise InputError(
            f"{where}: 'tls: none' is for a server on this machine; leave it out"
        )


def title(alerts: Sequence[Alert]) -> str:
    """The first line of a message: ``[FIRING] ServerDown, RequestsFail``."""
    state = FIRING if any(x.state == FIRING for x in alerts) else alerts[0].state
    names = ", ".join(dict.fromkeys(alert.name for alert in alerts))
    return f"[{state.upper()}] {names}"


def as_text(alerts: Sequence[Alert]) -> str:
    """Some alerts in words, those that fire first."""
    lines = []
    for alert in sorted(alerts, key=lambda alert: alert.state):
        said = alert.annotations
        severity = alert.labels.get("severity", "")
        lines.append(
            f"{alert.state.upper()} {severity} {alert.name}: {said['summary']}"
        )
        if alert.state == FIRING:
            lines += [said.get("description", ""), said.get("runbook_url", "")]
    text = "\n".join(line for line in lines if line)
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


def as_webhook(alerts: Sequence[Alert]) -> dict:
    """Some alerts in the form of Alertmanager's webhook."""
    firing = any(alert.state == FIRING for alert in alerts)
    return {
        "version": "4",
        "status": FIRING if firing else alerts[0].state,
        "receiver": "pipelines.monitor",
        "alerts": [
            {
                "status": alert.state,
                "labels": alert.labels,
                "annotations": alert.annotations,
                "startsAt": _moment(alert.since),
                "endsAt": _moment(alert.resolved),
            }
            for alert in alerts
        ],
    }


def _moment(seconds: float | None) -> str:
    if seconds is None:
        return "0001-01-01T00:00:00Z"  # as Alertmanager says "not yet"
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat()


def _listed(value) -> list[str]:
    return [str(x) for x in value] if isinstance(value, list) else [str(value)]
