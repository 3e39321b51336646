"""Dashboards, compose and Kubernetes: what they name exists and fits together."""

import json
import re

import jsonschema
import pytest
import yaml
from dashboards import DASHBOARDS, GRAFANA, SCHEMA, expressions

from data_prep.paths import ROOT
from pipelines.monitoring.rules import load_rules

TRITON = ROOT / "triton"
COMPOSE = yaml.safe_load((TRITON / "compose.yaml").read_text())["services"]
EXPORTER = TRITON / "server" / "exporter.py"
MONITORING = ("exporter", "prometheus", "alertmanager", "grafana")


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_dashboards_have_the_form_that_grafana_documents(path):
    dashboard = json.loads(path.read_text())
    jsonschema.validate(dashboard, SCHEMA)
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    taken = set()  # no panel lies on another
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert at["x"] + at["w"] <= 24 and not cells & taken, panel["title"]
        taken |= cells
    provisioned = (GRAFANA / "provisioning/datasources/prometheus.yaml").read_text()
    (source,) = yaml.safe_load(provisioned)["datasources"]
    assert set(re.findall(r'"uid": "(\w+)"\n', path.read_text())) == {source["uid"]}


def test_dashboards_are_told_apart():
    found = [json.loads(path.read_text()) for path in DASHBOARDS]
    assert len({one["uid"] for one in found}) == len(found) == 3
    assert len({one["title"] for one in found}) == 3


def test_dashboards_show_series_that_somebody_makes():
    recorded = {rule.record for rule in load_rules() if rule.record}
    for expression in expressions():
        for name in re.findall(r"asl:[\w:]+", expression):
            assert name in recorded


def test_the_task_that_is_served_opens_in_clearml():
    text = (GRAFANA / "dashboards" / "model.json").read_text()
    assert "${clearml}/projects/*/experiments/${__value.raw}" in text


def test_what_compose_mounts_for_monitoring_exists_and_is_read_only():
    for name in MONITORING:
        service = COMPOSE[name]
        assert service["profiles"] == ["monitoring"]
        assert service["cap_drop"] == ["ALL"] and service["read_only"] is True
        assert all(x.startswith("127.0.0.1:") for x in service.get("ports", []))
        assert re.fullmatch(r"[\w/-]+:v?\d+\.\d+\.\d+|triton-server", service["image"])
        for mount in service.get("volumes", []):
            source, _, rest = mount.partition(":")
            if source.startswith("."):
                assert (TRITON / source).exists() and rest.endswith(":ro")


def test_prometheus_asks_the_services_of_compose():
    text = (TRITON / "monitoring" / "prometheus.yaml").read_text()
    known = {*COMPOSE, *COMPOSE["cpu"]["networks"]["default"]["aliases"]}
    config = yaml.safe_load(text)
    asked = [
        target
        for job in [*config["scrape_configs"], *config["alerting"]["alertmanagers"]]
        for group in job["static_configs"]
        for target in group["targets"]
    ]
    assert asked and {target.partition(":")[0] for target in asked} <= known


def test_secrets_of_alertmanager_are_where_compose_mounts_them():
    text = (TRITON / "monitoring" / "alertmanager.yaml").read_text()
    folders = {x.rpartition("/")[0] for x in re.findall(r"_file: (\S+)", text)}
    mounts = [mount.split(":")[1] for mount in COMPOSE["alertmanager"]["volumes"]]
    assert folders <= set(mounts)
    ignored = (TRITON / "monitoring" / "secrets" / ".gitignore").read_text()
    assert "*" in ignored.split()


def test_the_options_that_exporters_are_started_with_are_its_own():
    known = set(re.findall(r'add\("--([\w-]+)"', EXPORTER.read_text()))
    manifest = (TRITON / "kubernetes/monitoring/exporter.yaml").read_text()
    documents = list(yaml.safe_load_all(manifest))
    container = documents[0]["spec"]["template"]["spec"]["containers"][0]
    for options in (COMPOSE["exporter"]["command"], container["args"]):
        assert {x[2:].partition("=")[0] for x in options} <= known
    dockerfile = (TRITON / "server" / "Dockerfile").read_text()
    assert re.search(r"COPY .*exporter.py.* /opt/asl/", dockerfile)
    assert COMPOSE["exporter"]["entrypoint"][1] == container["command"][1]


def test_kubernetes_gives_the_jobs_the_names_that_the_rules_know():
    folder = TRITON / "kubernetes"
    texts = [folder / "base/pod-monitor.yaml", folder / "monitoring/exporter.yaml"]
    jobs = []
    for path in texts:
        for document in yaml.safe_load_all(path.read_text()):
            spec = document["spec"]
            for end in spec.get("podMetricsEndpoints", spec.get("endpoints", [])):
                jobs += [x["replacement"] for x in end["relabelings"]]
    assert jobs == ["triton", "asl"]
    rules = (TRITON / "monitoring" / "rules.yaml").read_text()
    assert set(re.findall(r'job="(\w+)"', rules)) == {*jobs, "gateway"}
