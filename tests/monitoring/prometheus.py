"""Prometheus and Alertmanager with our files, at ports and with intervals of tests."""

import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from data_prep.paths import ROOT
from pipelines.monitoring.promql import seconds
from pipelines.serving.triton_server import pick_ports

MONITORING = ROOT / "triton" / "monitoring"
TEMPLATES = Path("/usr/share/prometheus/alertmanager/default.tmpl")
UNPACKED = ROOT / ".monitoring" / "usr" / "bin"


def program(name: str) -> str:
    """Find one of Prometheus's programs; skip the test where there is none."""
    found = shutil.which(name) or UNPACKED / name
    if not Path(found).exists():
        pytest.skip(f"there is no {name}: scripts/setup monitoring fetches it")
    if name == "prometheus-alertmanager" and not TEMPLATES.exists():
        pytest.skip(
            f"Alertmanager has no {TEMPLATES}: scripts/setup monitoring as root"
        )
    return str(found)


def fast_rules(path: Path) -> Path:
    """The rules, with a fifth of the waiting before an alert fires."""
    found = yaml.safe_load((MONITORING / "rules.yaml").read_text())
    for group in found["groups"]:
        for rule in group["rules"]:
            if "for" in rule:
                rule["for"] = f"{seconds(rule['for']) / 5:.0f}s"
    path.write_text(yaml.safe_dump(found, sort_keys=False))
    return path


@contextmanager
def prometheus(folder: Path, rules: Path, targets: dict[str, str], alertmanager=None):
    """Run Prometheus; yields its address.

    Args:
        targets: ``host:port`` by job.
        alertmanager: ``host:port``, None for none.
    """
    config = yaml.safe_load((MONITORING / "prometheus.yaml").read_text())
    config["global"] = dict.fromkeys(("scrape_interval", "evaluation_interval"), "1s")
    config["rule_files"] = [str(rules)]
    managers = config["alerting"]["alertmanagers"][0]["static_configs"]
    managers[0]["targets"] = [alertmanager] if alertmanager else []
    for job in config["scrape_configs"]:
        job["scrape_interval"] = "2s"  # a busy machine answers late, which is no fault
        job["scrape_timeout"] = job["scrape_interval"]
        job["static_configs"] = [{"targets": [targets[job["job_name"]]]}]
    path = folder / "prometheus.yaml"
    path.write_text(yaml.safe_dump(config))
    (port,) = pick_ports(0)
    options = [f"--config.file={path}", f"--storage.tsdb.path={folder / 'data'}"]
    options += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
    with running([program("prometheus"), *options], folder / "prometheus.log"):
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/-/ready"))
        yield f"http://127.0.0.1:{port}"


@contextmanager
def alertmanager(folder: Path, http_port: int, mail_port: int):
    """Run Alertmanager with our file and local receivers; yields its ``host:port``."""
    secrets = folder / "secrets"
    secrets.mkdir()
    (secrets / "slack_url").write_text(f"http://127.0.0.1:{http_port}/slack")
    config = yaml.safe_load((MONITORING / "alertmanager.yaml").read_text())
    for key in list(config["global"]):
        if key.startswith("smtp_auth"):
            del config["global"][key]
    config["global"] |= {
        "smtp_smarthost": f"127.0.0.1:{mail_port}",
        "smtp_require_tls": False,
        "telegram_api_url": f"http://127.0.0.1:{http_port}",
    }
    config["route"] |= {"group_wait": "1s", "group_interval": "2s"}
    team = config["receivers"][0]
    # Debian 12's Alertmanager reads no file of this secret yet; 0.26 does
    assert team["telegram_configs"][0].pop("bot_token_file")
    team["telegram_configs"][0]["bot_token"] = "secret"
    team["slack_configs"][0]["api_url_file"] = str(secrets / "slack_url")
    config["templates"] = [str(MONITORING / "templates" / "*.tmpl")]
    path = folder / "alertmanager.yaml"
    path.write_text(yaml.safe_dump(config))
    (port,) = pick_ports(0)
    options = [f"--config.file={path}", f"--storage.path={folder / 'alerts'}"]
    options += [f"--web.listen-address=127.0.0.1:{port}"]
    options += ["--cluster.listen-address=", "--log.level=warn"]
    log = folder / "alertmanager.log"
    with running([program("prometheus-alertmanager"), *options], log):
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/-/ready"))
        yield f"127.0.0.1:{port}"


@contextmanager
def running(command: list[str], log: Path):
    with open(log, "wb") as file:
        process = subprocess.Popen(
            command,
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def query(address: str, expression: str, at: float | None = None) -> list[dict]:
    """Ask Prometheus for series; an AssertionError with its reason if it refuses."""
    asked = {"query": expression} | ({"time": str(at)} if at else {})
    url = f"{address}/api/v1/query?{urllib.parse.urlencode(asked)}"
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            found = json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{expression}: {error.read().decode()}") from None
    return found["result"] if found["resultType"] == "vector" else [found["result"]]


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def wait_until(true, seconds: float = 120, otherwise=lambda: ""):
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, otherwise()
        time.sleep(0.1)
    return found
