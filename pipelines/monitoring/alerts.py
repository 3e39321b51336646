"""Which alerts fire, since when, and who has been told; kept over restarts."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pipelines.monitoring.evaluation import Vector, matches
from pipelines.monitoring.history import Labels
from pipelines.monitoring.rules import Inhibition, Rule, fill_in
from pipelines.repository import versions

CLEAR_S = 60.0  # so long it must be well again before that is told
FIRING, RESOLVED = "firing", "resolved"


@dataclass
class Alert:
    """One alert with its labels.

    Attributes:
        labels: Those of the rule and of the series; "alertname" among them.
        since: When the expression became true, seconds since 1970.
        fired: When that had been so for as long as the rule wants; None: not yet.
        seen: When it was true last.
        resolved: When it was well again; None: it is not.
        told: Of each receiver what it has been told last.
    """

    labels: dict[str, str]
    since: float
    seen: float
    annotations: dict[str, str] = field(default_factory=dict)
    value: float = 0.0
    fired: float | None = None
    resolved: float | None = None
    told: dict[str, str] = field(default_factory=dict)

    @property
    def state(self) -> str:
        return RESOLVED if self.resolved is not None else FIRING

    @property
    def name(self) -> str:
        return self.labels["alertname"]


class Alerts:
    """All alerts that are known.

    Args:
        path: Where they are kept; None: nowhere.

    Raises:
        ValueError: The file is damaged.
    """

    def __init__(self, path: Path | None = None):
        self.path = path
        self.known: dict[str, Alert] = {}
        if path and path.exists():
            try:
                rows = json.loads(path.read_text(encoding="utf-8"))
                self.known = {key: Alert(**row) for key, row in rows.items()}
            except TypeError as error:
                raise ValueError(str(error)) from None

    def update(self, found: Iterable[tuple[Rule, Vector]], now: float) -> None:
        """Take over what the rules give at a time."""
        true = set()
        for rule, vector in found:
            for labels, value in vector.items():
                named = dict(labels) | rule.labels | {"alertname": rule.alert}
                key = json.dumps(named, sort_keys=True)
                true.add(key)
                self._is_true(key, named, rule, value, now)
        for key, alert in list(self.known.items()):
            if key in true:
                continue
            if alert.fired is None:
                del self.known[key]  # it was not for long
            elif alert.resolved is None and now - alert.seen >= CLEAR_S:
                alert.resolved = now

    def _is_true(self, key, named, rule: Rule, value: float, now: float) -> None:
        alert = self.known.get(key)
        if alert is None or alert.resolved is not None:
            told = alert.told if alert else {}
            alert = self.known[key] = Alert(named, since=now, seen=now, told=told)
        alert.seen, alert.value = now, value
        alert.annotations = {
            name: fill_in(text, named, value) for name, text in rule.annotations.items()
        }
        if alert.fired is None and now - alert.since >= rule.for_s:
            alert.fired = now

    def firing(self) -> list[Alert]:
        return [
            alert
            for alert in self.known.values()
            if alert.fired is not None and alert.resolved is None
        ]

    def pending_s(self, rules: Iterable[Rule], now: float) -> float | None:
        """In how many seconds the first of those that wait may fire; None: none do."""
        for_s = {rule.alert: rule.for_s for rule in rules if rule.alert}
        left = [
            for_s.get(alert.name, 0) - (now - alert.since)
            for alert in self.known.values()
            if alert.fired is None
        ]
        return max(0.0, min(left)) if left else None

    def news(self, receiver: str, inhibitions: Iterable[Inhibition]) -> list[Alert]:
        """What a receiver should be told: what fires and what is well again, of which
        it does not know, but for what another alert silences."""
        firing, found = self.firing(), []
        inhibitions = list(inhibitions)
        for alert in self.known.values():
            if alert.fired is None:
                continue
            told = alert.told.get(receiver)
            if alert.state == FIRING:
                if told != FIRING and not is_inhibited(alert, firing, inhibitions):
                    found.append(alert)
            elif told == FIRING:
                found.append(alert)
        return found

    def forget(self, receivers: Iterable[str]) -> None:
        """Drop what is well again and needs no more telling."""
        names = set(receivers)
        for key, alert in list(self.known.items()):
            told = {state for name, state in alert.told.items() if name in names}
            if alert.resolved is not None and FIRING not in told:
                del self.known[key]

    def save(self) -> None:
        if self.path:
            rows = {key: asdict(alert) for key, alert in self.known.items()}
            versions.write_text(self.path, json.dumps(rows, indent=1) + "\n")


def is_inhibited(
    alert: Alert, firing: list[Alert], inhibitions: Iterable[Inhibition]
) -> bool:
    """Is an alert silent since another one fires?"""
    own = Labels(alert.labels.items())
    for rule in inhibitions:
        if not matches(own, rule.target):
            continue
        for other in firing:
            if other is alert or not matches(Labels(other.labels.items()), rule.source):
                continue
            if all(alert.labels.get(x) == other.labels.get(x) for x in rule.equal):
                return True
    return False
