"""The alert rules: triton/monitoring/rules.yaml, which Prometheus reads as well."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from data_prep.errors import InputError
from data_prep.paths import ROOT
from pipelines.monitoring import promql
from pipelines.monitoring.evaluation import Vector, evaluate, nameless
from pipelines.monitoring.history import History, Labels

RULES = ROOT / "triton" / "monitoring" / "rules.yaml"
# Which alerts are silent while others fire; Alertmanager reads the same.
ALERTMANAGER = ROOT / "triton" / "monitoring" / "alertmanager.yaml"
SIZES = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "u"))
PLACE = re.compile(r"\{\{\s*\$(labels\.(\w+)|value)\s*(?:\|\s*(\w+)\s*)?\}\}")


@dataclass(frozen=True)
class Rule:
    """One rule: either a new series, or an alert.

    Attributes:
        record: Name of the series; "" of an alert.
        alert: Its name; "" of a series.
        expression: Parsed.
        for_s: How long it must hold, seconds.
    """

    record: str
    alert: str
    expression: promql.Node
    for_s: float = 0.0
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Inhibition:
    """While an alert of ``source`` fires, those of ``target`` with the same values of
    the labels ``equal`` are silent. Matchers are as in `promql.Selector`."""

    source: tuple
    target: tuple
    equal: tuple[str, ...]


def load_rules(path: Path = RULES) -> list[Rule]:
    """Read the rules.

    Raises:
        InputError: The file is missing or holds something that is not known here.
    """
    rules = []
    try:
        for group in _yaml(path)["groups"]:
            for rule in group["rules"]:
                rules.append(
                    Rule(
                        rule.get("record", ""),
                        rule.get("alert", ""),
                        promql.parse(str(rule["expr"])),
                        promql.seconds(rule["for"]) if "for" in rule else 0.0,
                        rule.get("labels", {}),
                        rule.get("annotations", {}),
                    )
                )
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} holds no rules as Prometheus has them ({error!r})")
    return rules


def load_inhibitions(path: Path = ALERTMANAGER) -> list[Inhibition]:
    """Read which alerts silence which.

    Raises:
        InputError: The file is missing or has another form.
    """
    try:
        return [
            Inhibition(
                _matchers(one["source_matchers"]),
                _matchers(one["target_matchers"]),
                tuple(one.get("equal", ())),
            )
            for one in _yaml(path).get("inhibit_rules", ())
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is no configuration of Alertmanager ({error!r})")


def metrics(rules: list[Rule]) -> set[str]:
    """Names of the metrics that somebody has to measure."""
    read = set().union(*(promql.names(rule.expression) for rule in rules))
    return read - {rule.record for rule in rules}


def apply(rules: list[Rule], history: History, now: float) -> Iterator:
    """Compute all rules at a time; recorded series become a part of the history.

    Yields:
        Of each alert its rule, and what its expression gives: a value for each set of
        labels of which it is true.
    """
    for rule in rules:
        found = evaluate(rule.expression, history, now)
        if not isinstance(found, dict):
            found = {Labels(): float(found)}
        if rule.record:
            record(rule, found, history, now)
        else:
            yield rule, {nameless(labels): value for labels, value in found.items()}


def record(rule: Rule, found: Vector, history: History, now: float) -> None:
    for labels, value in found.items():
        history.add(rule.record, nameless(labels), now, value)
    history.mark_gone([rule.record], Labels(), now)


def fill_in(text: str, labels: dict[str, str], value: float) -> str:
    """Fill in a template of an annotation: ``{{ $labels.x }}``, ``{{ $value }}``.

    A label that is absent leaves one space, not two.
    """

    def filled(found):
        if found[2]:
            return labels.get(found[2], "")
        return FORMATS[found[3] or ""](value)

    return re.sub(" {2,}", " ", PLACE.sub(filled, text))


def duration(value: float) -> str:
    """As Prometheus's humanizeDuration writes seconds."""
    if value != value or abs(value) in (0, float("inf")):
        return f"{value:.4g}s"
    if abs(value) < 1:
        size, unit = next(
            (x for x in ((1e-3, "ms"), (1e-6, "us")) if abs(value) >= x[0]),
            (1e-9, "ns"),
        )
        return f"{value / size:.4g}{unit}"
    if abs(value) < 60:
        return f"{value:.4g}s"
    sign, whole = ("-" if value < 0 else ""), int(abs(value))
    days, hours = whole // 86400, whole // 3600 % 24
    parts = [(days, "d"), (hours, "h"), (whole // 60 % 60, "m"), (whole % 60, "s")]
    while parts[0][0] == 0:
        del parts[0]
    return sign + " ".join(f"{count}{unit}" for count, unit in parts)


def humanized(value: float) -> str:
    """As Prometheus's humanize writes numbers: with k, M, G or m, u, n."""
    if value == 0 or value != value or abs(value) == float("inf"):
        return f"{value:.4g}"
    size, prefix = next((x for x in SIZES if abs(value) >= x[0]), (1e-9, "n"))
    return f"{value / size:.4g}{prefix}"


FORMATS = {
    "": lambda x: f"{x:g}",
    "humanize": humanized,
    "humanizePercentage": lambda x: f"{100 * x:.4g}%",
    "humanizeDuration": duration,
}


def _matchers(lines: list[str]) -> tuple:
    """Alertmanager's matchers: ``severity=~"a|b"``."""
    found = []
    for line in lines:
        match = re.fullmatch(r'\s*(\w+)\s*(=~|!~|!=|=)\s*"?(.*?)"?\s*', line)
        if not match:
            raise TypeError(f"'{line}' is no matcher")
        found.append((match[1], match[2], match[3]))
    return tuple(found)


def _yaml(path: Path) -> dict:
    try:
        return yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from None
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} is no YAML ({reason})") from None
