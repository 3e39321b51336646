"""The command without Prometheus and the exporter, with ClearML and TLS in front."""

import json
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import HTTPServer, SimpleHTTPRequestHandler

import pytest
import yaml
from place import Place, interrupt

from data_prep.paths import ROOT
from pipelines.monitoring import rules
from pipelines.monitoring.history import parse
from pipelines.serving import remote_credentials

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """An embedded ClearML server without agents."""
    place = Place(tmp_path_factory.mktemp("place"))
    server = place.start(place.python, "-m", "pipelines.clearml_server")
    server.stdout.readline()
    yield place
    interrupt(server)


def at_once(path):
    """The rules without waiting."""
    found = yaml.safe_load(rules.RULES.read_text())
    for group in found["groups"]:
        for rule in group["rules"]:
            rule.pop("for", None)
    path.write_text(yaml.safe_dump(found))
    return path


def test_looks_by_cron_tell_once_and_report_to_one_task(place, tmp_path):
    """Nothing listens at these ports; one look knows of another by the state alone."""
    command = [place.python, "-m", "pipelines.monitor", "--once"]
    command += [
        "--rules",
        at_once(tmp_path / "rules.yaml"),
        "--state",
        tmp_path / "state",
    ]
    command += ["--triton", "http://127.0.0.1:9", "--metrics", "http://127.0.0.1:9/m"]
    first, again = place.run(*command).stdout, place.run(*command, "--json")
    alerts = {alert["name"]: alert for alert in json.loads(again.stdout)["alerts"]}
    assert alerts["ServerDown"]["labels"]["severity"] == "critical"
    second = again.stdout + again.stderr
    assert "looking once; told: console\n" in first and "Ctrl-C" not in first
    assert "FIRING critical ServerDown: No Triton server answers" in first
    assert "docs/monitoring.md#serverdown" in first
    assert "ModelNotAnswering:" not in first  # silenced
    assert "FIRING" not in second
    assert f"{len(alerts)} alerts fire\n" in second
    (task,) = [task for task in place.tasks() if task["name"] == "monitor"]
    scalars = place.call("events.scalar_metrics_iter_histogram", task=task["id"])
    assert scalars["alerts"]["ServerDown"]["y"][0] == 1
    for path in (tmp_path / "state").iterdir():
        assert path.stat().st_mode & 0o077 == 0, path
    # the keys of ClearML are in no output
    keys = json.loads((tmp_path / "state" / "clearml-keys.json").read_text())
    assert keys["secret_key"] not in first + second


def exported(*options) -> dict[str, dict]:
    """One page of the exporter, by name and labels."""
    process = subprocess.Popen(
        [sys.executable, ROOT / "triton/server/exporter.py", "--port", "0"]
        + ["--triton", "http://127.0.0.1:9", "--metrics", "http://127.0.0.1:9/m"]
        + list(options),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        url = process.stdout.readline().strip()
        with urllib.request.urlopen(url, timeout=60) as answer:
            text = answer.read().decode()
    finally:
        process.terminate()
        process.communicate(timeout=10)
    names = {line.partition("{")[0].split()[0] for line in text.splitlines()}
    found: dict[str, dict] = {}
    for name, labels, value in parse(text, names):
        found.setdefault(name, {})[tuple(sorted(labels))] = value
    return found


def test_queues_and_what_is_promoted_are_told(place):
    task = place.call("tasks.create", name="waits", project="", type="training")["id"]
    queue = place.call("queues.get_default")["id"]
    place.call("tasks.enqueue", task=task, queue=queue)
    best = place.call("tasks.create", name="good", type="training", tags=["best"])["id"]
    address = json.loads((place.home / "clearml" / "server.json").read_text())[
        "address"
    ]
    keys = place.home / "clearml" / "credentials.json"
    found = exported(f"--clearml={address}", f"--clearml-keys={keys}")
    assert found["clearml_up"][()] == 1
    assert found["clearml_queue_tasks"][(("queue", "default"),)] == 1
    assert 0 <= found["clearml_queue_oldest_seconds"][(("queue", "default"),)] < 300
    ((labels, since),) = found["asl_promoted_timestamp_seconds"].items()
    assert dict(labels) == {"task": "good", "task_id": best} and since > 1.7e9
    wrong = exported("--clearml=http://127.0.0.1:9", f"--clearml-keys={keys}")
    assert wrong["clearml_up"][()] == 0


def test_the_certificate_in_front_and_the_age_of_tokens_are_told(tmp_path, monkeypatch):
    monkeypatch.setenv("ASL_HOME", str(tmp_path))
    certificate = remote_credentials.certify(["localhost"])
    remote_credentials.grant("laptop")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.parent / "key.pem")
    server = HTTPServer(("localhost", 0), SimpleHTTPRequestHandler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    front = f"--front=localhost:{server.server_address[1]}"
    tokens = f"--tokens={certificate.parent / 'clients'}"
    try:
        found = exported(front, f"--front-ca={certificate}", tokens)
        distrusted = exported(front)
    finally:
        server.shutdown()
        server.server_close()
    days = (found["asl_front_expiry_timestamp_seconds"][()] - time.time()) / 86400
    assert remote_credentials.DAYS - 1 < days <= remote_credentials.DAYS
    assert found["asl_front_up"][()] == 1
    issued = found["asl_token_issued_timestamp_seconds"][(("client", "laptop"),)]
    assert time.time() - issued < 600
    assert distrusted["asl_front_up"][()] == 0  # as its clients would find
