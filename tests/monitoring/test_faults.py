"""From a fault to a message, twice at once: by Prometheus and Alertmanager, and by
`python -m pipelines.monitor`, which has neither."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import yaml
from dashboards import expressions
from matrix_model import expect
from prometheus import (
    alertmanager,
    fast_rules,
    program,
    prometheus,
    query,
    running,
    wait_until,
)
from stand_ins import Told, http_server, mail_server
from tiny_model import as_file, make_artifacts

from data_prep.errors import InputError
from data_prep.paths import ROOT
from pipelines.repository import versions
from pipelines.repository.model_config import Settings
from pipelines.serving import model_processes
from pipelines.serving.client import TritonClient
from pipelines.serving.triton_server import TritonServer

pytestmark = [pytest.mark.slow, pytest.mark.campaign]
WAYS = ("telegram", "slack", "mail")  # of Alertmanager
FAULTS = ("PhotographsRefused", "MixCollapsed", "ModelNotAnswering", "ServerDown")


def pictures_by_class(artifacts) -> dict[int, bytes]:
    """A picture for each class that the model can be brought to answer."""
    random = np.random.default_rng(3)
    files = []
    for _ in range(150):  # coarse patterns
        coarse = random.integers(0, 256, (3, 3, 3), dtype=np.uint8)
        files.append(as_file(cv2.resize(coarse, (40, 40))))
    best = expect(artifacts, files).argmax(1)
    return {int(label): files[i] for i, label in enumerate(best)}


@pytest.fixture(scope="module")
def place(tmp_path_factory, home):
    """A server with a model that is expected to answer some classes equally often, and
    everything that watches it."""
    for name in ("prometheus", "prometheus-alertmanager"):
        program(name)
    folder = tmp_path_factory.mktemp("monitored")
    artifacts = make_artifacts(folder / "artifacts")
    pictures = pictures_by_class(artifacts)
    labels = (artifacts / "classes.txt").read_text().split()
    shares = {
        label: round((i in pictures) / len(pictures), 4)
        for i, label in enumerate(labels)
    }
    expected = {"shares": shares, "confidence": 0.1}
    metadata = {"task_id": "1" * 32, "expected": json.dumps(expected)}
    repository = folder / "models"
    versions.render(artifacts, repository, metadata, Settings(instances=1))
    told, told_by_monitor = Told(), Told()
    rules = fast_rules(folder / "rules.yaml")
    with (
        TritonServer(repository) as server,
        http_server(told) as http_port,
        mail_server(told) as mail_port,
        http_server(told_by_monitor) as monitor_http,
        mail_server(told_by_monitor) as monitor_mail,
        exporter(server) as exporter_port,
        alertmanager(folder, http_port, mail_port) as manager,
        prometheus(
            folder,
            rules,
            {"triton": server.metrics_url.split("/")[2], "asl": exporter_port},
            manager,
        ) as address,
    ):
        receivers = folder / "receivers.yaml"
        receivers.touch(mode=0o600)
        receivers.write_text(
            yaml.safe_dump(
                [
                    {"kind": "webhook", "url": f"http://127.0.0.1:{monitor_http}/hook"},
                    {"kind": "slack", "url": f"http://127.0.0.1:{monitor_http}/slack"},
                    {
                        "kind": "telegram",
                        "token": "12:ab",
                        "chat": 5,
                        "api": f"http://127.0.0.1:{monitor_http}",
                    },
                    {
                        "kind": "mail",
                        "server": f"127.0.0.1:{monitor_mail}",
                        "sender": "asl@example.org",
                        "to": ["you@example.org"],
                        "tls": "none",
                    },
                ]
            )
        )
        command = [sys.executable, "-m", "pipelines.monitor", "--every", "2s"]
        command += ["--receivers", receivers, "--rules", rules, "--no-clearml"]
        command += ["--state", folder / "state", "--repository", folder / "none"]
        command += ["--triton", f"http://{server.http_url}"]
        command += ["--metrics", server.metrics_url]
        yield SimpleNamespace(
            folder=folder,
            server=server,
            pictures=list(pictures.values()),
            prometheus=address,
            told=told,
            told_by_monitor=told_by_monitor,
            monitor=[str(word) for word in command],
        )


@contextmanager
def exporter(server):
    """The exporter, as Prometheus is given it; yields its ``host:port``."""
    command = [sys.executable, str(ROOT / "triton/server/exporter.py"), "--port", "0"]
    command += ["--triton", f"http://{server.http_url}"]
    process = subprocess.Popen(
        [*command, "--metrics", server.metrics_url],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield process.stdout.readline().split("/")[2]
    finally:
        process.terminate()
        process.wait(10)


def firing(address: str) -> set[str]:
    found = query(address, 'ALERTS{alertstate="firing"}')
    return {series["metric"]["alertname"] for series in found}


def test_each_fault_is_told_once_by_every_way(place):
    """Broken photographs and one letter only, then a model process that is killed, then
    the server that is stopped; the monitor is itself stopped and started between."""
    began: dict[str, float] = {}

    def ask(files, times):
        with TritonClient(place.server.grpc_url) as client:
            for _ in range(times):
                client(files)

    def all_told(*names):
        def told():
            return all(
                place.told.when(way, name) for way in WAYS for name in names
            ) and all(
                place.told_by_monitor.when(way, name)
                for way in (*WAYS, "hook")
                for name in names
            )

        def state():
            return f"{names}: {place.told.messages} {place.told_by_monitor.messages}"

        wait_until(told, 150, state)

    with running(place.monitor, place.folder / "monitor.log"):
        wait_until(lambda: query(place.prometheus, "asl_images_total"))
        wait_until((place.folder / "state" / "alerts.json").exists)  # it has looked
        # all is well: the mix that was expected, and a broken photograph among many
        ask(place.pictures * 8, 20)
        with TritonClient(place.server.grpc_url) as client:
            with pytest.raises(InputError):
                client([b"no photograph"])
        time.sleep(1.2)  # what is counted is handed on with a later request
        ask(place.pictures, 1)
        wait_until(
            lambda: query(
                place.prometheus, "asl:mix_psi:5m > -1 and asl:answers:5m > 0"
            )
        )
        time.sleep(4)
        assert firing(place.prometheus) == set()
        assert place.told.messages == place.told_by_monitor.messages == []

        began["PhotographsRefused"] = began["MixCollapsed"] = time.time()
        ask([place.pictures[0]] * 60, 40)
        with TritonClient(place.server.grpc_url) as client:
            for _ in range(400):
                with pytest.raises(InputError):
                    client([b"no photograph"])
        time.sleep(1.2)
        ask([place.pictures[0]] * 60, 2)
        all_told("PhotographsRefused", "MixCollapsed")

    check_dashboards(place.prometheus)
    with running(place.monitor, place.folder / "monitor2.log"):
        began["ModelNotAnswering"] = time.time()
        for process in model_processes.of_server(place.server.process.pid):
            if "fused" in process.part:
                os.kill(process.pid, signal.SIGKILL)
        all_told("ModelNotAnswering")

        began["ServerDown"] = time.time()
        place.server.stop()
        all_told("ServerDown")
        time.sleep(4)

    for way in (*WAYS, "hook"):
        texts = place.told_by_monitor.texts(way)
        for name in FAULTS:
            fired = [x for x in texts if says_firing(way, x, name)]
            assert len(fired) == 1, (way, name, texts)
    # the server's end silences what it is the cause of
    everything = str(place.told.messages) + str(place.told_by_monitor.messages)
    for name in ("ServerMissing", "NoTraffic", "RequestsFail", "MixDrift"):
        assert name not in everything
    for name in FAULTS:
        delays = [
            round(told.when("slack", name) - began[name], 1)
            for told in (place.told, place.told_by_monitor)
        ]
        print(f"{name}: {delays} s until Slack, by Alertmanager and by the monitor")


def check_dashboards(address: str) -> None:
    """Prometheus answers all queries of Grafana; those of what is here with series."""
    absent = re.compile("gpu|gateway|clearml|hand|refer_to|1d|no_hand|change_psi")
    for expression in expressions():
        found = query(address, expression)
        if not absent.search(expression) and "changes(" not in expression:
            assert found, expression


def says_firing(way: str, text: str, name: str) -> bool:
    if way == "hook":
        alerts = json.loads(text)["alerts"]
        return any(
            (alert["status"], alert["labels"]["alertname"]) == ("firing", name)
            for alert in alerts
        )
    if way == "mail":
        body = text.replace("=\n", "")
        return any(
            line.startswith("FIRING") and f" {name}:" in line
            for line in body.splitlines()
        )
    return "FIRING" in text and f" {name}:" in text
