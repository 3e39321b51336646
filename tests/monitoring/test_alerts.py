"""Alerts over time, who is told of them, and what must not be told."""

import os

import pytest
from stand_ins import Told, http_server, mail_server

from data_prep.errors import InputError
from pipelines.monitoring import receivers
from pipelines.monitoring.alerts import CLEAR_S, Alert, Alerts
from pipelines.monitoring.history import Labels
from pipelines.monitoring.promql import Number
from pipelines.monitoring.rules import Rule

RULE = Rule(
    "", "Slow", Number(1), 15, {"severity": "warning"}, {"summary": "so {{ $value }}"}
)
TRUE = [(RULE, {Labels({("model", "asl")}): 2.0})]
FALSE = [(RULE, {})]
SECRET = "8123:verysecret"


def states(alerts: Alerts) -> list[tuple[str, str]]:
    """Tell one receiver everything that is new."""
    news = alerts.news("me", ())
    for alert in news:
        alert.told["me"] = alert.state
    alerts.forget(["me"])
    return [(alert.name, alert.state) for alert in news]


def test_an_alert_is_told_once_and_so_is_its_end():
    alerts = Alerts()
    for now, found, told in (
        (0, TRUE, []),  # not yet for long enough
        (10, TRUE, []),
        (16, TRUE, [("Slow", "firing")]),
        (30, TRUE, []),
        (40, FALSE, []),  # it may come back
        (50, TRUE, []),
        (60, FALSE, []),
        (50 + CLEAR_S, FALSE, [("Slow", "resolved")]),
        (200, FALSE, []),
        (300, TRUE, []),
        (316, TRUE, [("Slow", "firing")]),
    ):
        alerts.update(found, now)
        assert states(alerts) == told, now


def test_what_was_true_for_a_moment_is_not_told():
    alerts = Alerts()
    alerts.update(TRUE, 0)
    alerts.update(FALSE, 10)
    alerts.update(TRUE, 20)
    assert states(alerts) == [] and alerts.pending_s([RULE], 30) == 5
    alerts.update(TRUE, 36)
    assert states(alerts) == [("Slow", "firing")]


def test_a_restart_tells_nothing_again(tmp_path):
    path = tmp_path / "alerts.json"
    alerts = Alerts(path)
    for now in (0, 20):
        alerts.update(TRUE, now)
    assert states(alerts) == [("Slow", "firing")]
    alerts.save()
    alerts = Alerts(path)
    alerts.update(TRUE, 40)
    assert states(alerts) == []
    alerts.update(FALSE, 40 + CLEAR_S)
    assert states(alerts) == [("Slow", "resolved")]


def test_who_was_away_is_told_later_and_the_others_are_not_told_again():
    alerts = Alerts()
    for now in (0, 20):
        alerts.update(TRUE, now)
    (alert,) = alerts.news("one", ())
    alert.told["one"] = "firing"
    assert alerts.news("one", ()) == []
    assert [x.name for x in alerts.news("two", ())] == ["Slow"]
    alerts.update(FALSE, 20 + CLEAR_S)
    assert [x.state for x in alerts.news("one", ())] == ["resolved"]
    assert alerts.news("two", ()) == []  # it has missed nothing that lasts


def written(path, text: str, mode=0o600):
    path.touch(mode=0o600)
    path.write_text(text)
    os.chmod(path, mode)
    return path


def fired(name="ServerDown") -> Alert:
    labels = {"alertname": name, "severity": "critical"}
    said = {"summary": "none answers", "description": "look"}
    return Alert(labels, 0, 0, said, fired=0)


@pytest.mark.parametrize(
    "text, mode, reason",
    [
        (f"- {{kind: telegram, token: '{SECRET}', chat: 1}}", 0o640, "mode 640"),
        (f"- {{kind: telegram, token: '{SECRET}'}}", 0o600, "needs 'chat'"),
        (f"- {{kind: slack, url: 'http://h/{SECRET}'}}", 0o600, "https://"),
        (
            f"- {{kind: slack, url: 'https://h', key: '{SECRET}'}}",
            0o600,
            "'key' is not",
        ),
        (f"- {{kind: pager, token: '{SECRET}'}}", 0o600, "must be one of"),
        (f"- {{kind: slack, url: [{SECRET}", 0o600, "no YAML"),
        (f"{SECRET}", 0o600, "lists no receivers"),
        (
            "- {kind: mail, server: 'example.org:25', sender: a, to: b, tls: none}",
            0o600,
            "on this machine",
        ),
    ],
)
def test_receivers_that_cannot_be_used_are_refused_without_their_secrets(
    text, mode, reason, tmp_path
):
    with pytest.raises(InputError, match=reason) as caught:
        receivers.load(written(tmp_path / "receivers.yaml", text, mode))
    assert SECRET not in str(caught.value)


def test_a_message_that_does_not_arrive_is_said_without_the_secret(tmp_path):
    told = Told()
    with http_server(told) as port:
        text = f"""
        - {{kind: telegram, token: "{SECRET}", chat: 1, api: "http://127.0.0.1:{port}"}}
        - {{kind: telegram, token: "{SECRET}", chat: 1, api: "http://127.0.0.1:9"}}
        """
        one, nobody = receivers.load(written(tmp_path / "r.yaml", text))
        one.tell([fired()])
        assert "FIRING critical ServerDown: none answers" in told.texts("telegram")[0]
        told.status = 500
        for receiver in (one, nobody):
            with pytest.raises(receivers.Undelivered) as caught:
                receiver.tell([fired()])
            assert SECRET not in str(caught.value)
    assert len(told.messages) == 1


def test_mail_goes_encrypted_or_not_at_all(tmp_path):
    told = Told()
    with mail_server(told) as port:  # knows no STARTTLS
        text = f"- {{kind: mail, server: '127.0.0.1:{port}', sender: a@b.c, to: d@e.f}}"
        (mail,) = receivers.load(written(tmp_path / "r.yaml", text))
        with pytest.raises(receivers.Undelivered):
            mail.tell([fired()])
    assert told.messages == []


def test_many_alerts_are_one_message_of_bounded_length():
    many = [fired(f"Alert{number}") for number in range(500)]
    assert len(receivers.as_text(many)) <= receivers.MAX_TEXT
    body = receivers.as_webhook(many[:2])
    assert [x["labels"]["alertname"] for x in body["alerts"]] == ["Alert0", "Alert1"]
