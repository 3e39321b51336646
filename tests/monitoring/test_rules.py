"""The rules, on the real promtool; and everything that has to go with an alert."""

import re
import subprocess

import pytest
import yaml

from data_prep.paths import ROOT
from pipelines.monitoring import kubernetes, rules
from pipelines.monitoring.alerts import Alert, is_inhibited
from pipelines.monitoring.rules import fill_in

MONITORING = ROOT / "triton" / "monitoring"
RULES = rules.load_rules()
ALERTS = {rule.alert: rule for rule in RULES if rule.alert}
TESTS = yaml.safe_load((MONITORING / "rules_test.yaml").read_text())["tests"]


def run(*command) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_accepts_the_rules_and_its_configuration(promtool):
    assert f"{len(RULES)} rules found" in run(
        promtool, "check", "rules", MONITORING / "rules.yaml"
    )
    run(promtool, "check", "config", MONITORING / "prometheus.yaml")


@pytest.mark.slow
def test_every_alert_fires_when_it_should_and_not_before(promtool):
    run(promtool, "test", "rules", MONITORING / "rules_test.yaml")


def test_every_alert_has_such_a_test():
    fires, silent = set(), set()
    for test in TESTS:
        sets = [
            set(re.findall(r'alertname="(\w+)"', str(check.get("exp_samples"))))
            for check in test["promql_expr_test"]
        ]
        fires |= set().union(*sets)
        silent |= {
            name for name in set().union(*sets) if not sets or name not in sets[0]
        }
    assert fires == set(ALERTS)
    # ModelNotAnswering where there is no model fires from the beginning, others later
    assert silent == set(ALERTS)


def test_every_alert_says_what_to_do_and_where_more_stands():
    text = (ROOT / "docs" / "monitoring.md").read_text()
    anchors = {name.lower() for name in re.findall(r"^#+ (\w+)$", text, re.M)}
    for name, rule in ALERTS.items():
        assert set(rule.annotations) == {"summary", "description", "runbook_url"}
        assert rule.labels["severity"] in ("critical", "warning")
        assert rule.labels["subject"]
        page, _, anchor = rule.annotations["runbook_url"].partition("#")
        assert (ROOT / page).is_file() and anchor == name.lower()
        assert anchor in anchors, f"docs/monitoring.md has nothing on {name}"


def test_the_rules_for_kubernetes_are_the_same():
    assert (
        kubernetes.TARGET.read_text() == kubernetes.render()
    ), "run python -m pipelines.monitoring.kubernetes"
    spec = yaml.safe_load(kubernetes.render())["spec"]
    assert spec == yaml.safe_load((MONITORING / "rules.yaml").read_text())


def test_alertmanager_accepts_its_configuration(amtool, tmp_path):
    text = (MONITORING / "alertmanager.yaml").read_text()
    # Debian 12's Alertmanager reads no file of this secret yet; 0.26 does
    known = re.sub(r"bot_token_file: \S+", "bot_token: x", text)
    (tmp_path / "alertmanager.yaml").write_text(known)
    assert "SUCCESS" in run(amtool, "check-config", tmp_path / "alertmanager.yaml")
    assert not re.findall(r"(?:password|token|api_url): ", text)  # secrets are files


def alert(name, **labels):
    return Alert({"alertname": name, **ALERTS[name].labels, **labels}, since=0, seen=0)


def test_the_end_of_the_server_silences_what_comes_of_it_and_nothing_else():
    inhibitions = rules.load_inhibitions()
    down = alert("ServerDown")
    for name in ALERTS:
        silent = is_inhibited(alert(name), [down], inhibitions)
        subject = ALERTS[name].labels["subject"]
        assert silent == (subject in ("server", "model") and name != "ServerDown")


def test_a_model_that_does_not_answer_silences_its_own_alerts_only():
    inhibitions = rules.load_inhibitions()
    firing = [alert("ModelNotAnswering", model="asl")]
    for model in ("asl", "flowers"):
        other = alert("RequestsFail", model=model)
        assert is_inhibited(other, firing, inhibitions) == (model == "asl")


@pytest.mark.parametrize(
    "text, value, filled",
    [
        (
            "{{ $value | humanizePercentage }} of {{ $labels.model }}",
            0.1234,
            "12.34% of asl",
        ),
        ("{{ $value | humanizeDuration }}", 0.75, "750ms"),
        ("{{ $value | humanizeDuration }}", 93784.0, "1d 2h 3m 4s"),
        ("{{ $value | humanize }}", 1234567.0, "1.235M"),
        ("{{ $value | humanize }}", 0.1394, "139.4m"),
        ("{{ $labels.absent }}|{{ $value }}", 2.0, "|2"),
    ],
)
def test_annotations_are_filled_in_as_prometheus_does(text, value, filled):
    assert fill_in(text, {"model": "asl"}, value) == filled


def test_a_label_that_is_absent_leaves_no_gap():
    text = "The model {{ $labels.model }} fails"
    assert fill_in(text, {}, 0.0) == "The model fails"
