"""Compose file and Kubernetes manifests: what they name exists, and works."""

import re
import shutil
import subprocess
import time
import urllib.request

import pytest
import yaml
from command_line import launched, probe, running
from matrix_model import expect
from traffic import load

from data_prep.paths import ROOT
from pipelines.repository import versions
from pipelines.repository.model_config import (
    CLASSIFIER,
    DECODE,
    ENGINE_CACHE,
    FUSED,
    Settings,
    part_name,
    served_names,
)
from pipelines.serving import deployment
from pipelines.serving.docker_server import run_command

TRITON = ROOT / "triton"
KUBERNETES = TRITON / "kubernetes"
COMPOSE = yaml.safe_load((TRITON / "compose.yaml").read_text())
MANIFESTS = [
    document
    for path in sorted(KUBERNETES.rglob("*.yaml"))
    if path.parent.name != "monitoring"  # see tests/monitoring/test_stack.py
    for document in yaml.safe_load_all(path.read_text())
]
# what the README offers to `kubectl apply -k`
OFFERED = re.findall(
    r"^\| `kubernetes/(\w+)`", (TRITON / "README.md").read_text(), re.M
)
ADAPTER = yaml.safe_load((KUBERNETES / "prometheus-adapter.yaml").read_text())


def of_kind(kind: str) -> dict:
    (found,) = [x for x in MANIFESTS if x.get("kind") == kind]
    return found


def containers() -> list[dict]:
    return [
        of_kind("Deployment")["spec"]["template"]["spec"]["containers"][0],
        of_kind("ServingRuntime")["spec"]["containers"][0],
    ]


@pytest.mark.slow
def test_a_server_that_watches_the_repository_swaps_without_a_failed_request(
    artifacts, other_artifacts, photographs, tmp_path, home
):
    """By the very arguments of the Kubernetes Deployment, with a shorter interval."""
    repository = tmp_path / "models"
    settings = Settings(instances=1)
    versions.render(artifacts, repository, {}, settings)
    container, _ = containers()
    launched(container["command"])
    options = [x for x in container["args"] if "poll-secs" not in x]
    options.append("--repository-poll-secs=1")
    files = [path.read_bytes() for path in photographs.values()]
    candidates = {"first": artifacts, "second": other_artifacts}
    expected = {name: expect(x, files) for name, x in candidates.items()}

    with running(options, repository, tmp_path / "log") as server:
        urls = {"grpc": server.grpc_url, "http": server.http_url}
        with load(urls, files, expected, clients=2) as seen:
            for name in ("second", "first"):
                deployment.deploy(candidates[name], repository, {}, settings, keep=0)
                wait_until(lambda: seen and seen[-1][1] == name)
            # each of the clients may have been asking when the last one was swapped in
            swapped = len(seen)
            wait_until(lambda: len(seen) > swapped + 20)
        assert {name for _, name in seen[swapped + 10 :]} == {"first"}
        assert probe(server).returncode == 0


def wait_until(true):
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.slow
def test_probes_ask_for_what_the_server_has(server):
    for container in containers():
        for kind in ("startupProbe", "readinessProbe"):
            path = container[kind]["httpGet"]["path"]
            with urllib.request.urlopen(f"http://{server.http_url}{path}") as answer:
                assert answer.status == 200
        probing = container["livenessProbe"]["exec"]["command"]
        assert probing[:2] == ["python3", "/opt/asl/probe.py"]


@pytest.mark.slow
def test_the_metrics_that_pods_are_scaled_by_are_those_of_the_server(server):
    with urllib.request.urlopen(server.metrics_url) as answer:
        exposed = answer.read().decode()
    (rule,) = ADAPTER["rules"]["custom"]

    for name in set(re.findall(r"nv_\w+", rule["metricsQuery"] + rule["seriesQuery"])):
        assert re.search(
            rf'^{name}{{model="asl_classifier_', exposed, re.MULTILINE
        ), name
    (metric,) = of_kind("HorizontalPodAutoscaler")["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] == rule["name"]["as"]


def test_pods_are_scaled_by_what_waits_in_parts_alone():
    (rule,) = ADAPTER["rules"]["custom"]
    query = rule["metricsQuery"]

    selectors = re.findall(r"nv_\w+{(.*?)}", query)
    assert len(selectors) == 2
    for selector in [*selectors, rule["seriesQuery"]]:
        (models,) = re.findall(r'model=~"(.*?)"', selector)
        for kind in (FUSED, DECODE, CLASSIFIER):
            assert re.fullmatch(models, part_name(kind, 12))
        assert not any(re.fullmatch(models, name) for name in served_names())


@pytest.mark.skipif(not shutil.which("kubectl"), reason="there is no kubectl")
@pytest.mark.parametrize("folder", OFFERED)
def test_what_kubectl_is_given_is_complete(folder):
    text = subprocess.run(
        ["kubectl", "kustomize", KUBERNETES / folder],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    objects = list(yaml.safe_load_all(text))
    named = {(x["kind"], x["metadata"]["name"]) for x in objects}

    assert ("Namespace", "asl") in named
    for other in objects:
        if other["kind"] != "Namespace":
            assert other["metadata"]["namespace"] == "asl"
    for image in re.findall(r"image: (.*)", text):  # the one that has been pushed
        assert re.fullmatch(r"triton-server@sha256:[0-9a-f]{64}", image)
    claimed = re.findall(r"(?:claimName: |pvc://)([\w-]+)", text)
    claims = {name for kind, name in named if kind == "PersistentVolumeClaim"}
    assert set(claimed) == claims
    assert bool(claims) == (folder != "s3")


@pytest.mark.skipif(not shutil.which("kubectl"), reason="there is no kubectl")
@pytest.mark.parametrize("folder", OFFERED)
def test_pods_have_no_more_rights_than_they_need(folder):
    text = subprocess.run(
        ["kubectl", "kustomize", KUBERNETES / folder],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    objects = {x["kind"]: x for x in yaml.safe_load_all(text)}
    pod = objects.get("ServingRuntime", {}).get("spec")
    pod = pod or objects["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]

    assert launched(container["command"]) == []  # what changes a server wants a key
    rights = pod.get("securityContext", {}) | container["securityContext"]
    assert rights["readOnlyRootFilesystem"] and rights["runAsNonRoot"]
    assert rights["allowPrivilegeEscalation"] is False
    assert rights["capabilities"] == {"drop": ["ALL"]}
    assert rights["seccompProfile"] == {"type": "RuntimeDefault"}
    limits = container["resources"]["limits"]
    assert {"cpu", "memory", "ephemeral-storage"} <= set(limits)
    assert "envFrom" not in container
    for variable in container.get("env", []):
        assert "valueFrom" not in variable and "KEY" not in variable["name"]
    for volume in pod["volumes"]:
        assert volume.get("emptyDir", {"sizeLimit": "1Gi"}).get("sizeLimit")

    policy = objects["NetworkPolicy"]["spec"]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    assert all(rule["from"] and rule["ports"] for rule in policy["ingress"])
    called = [port["port"] for rule in policy["egress"] for port in rule["ports"]]
    assert called == ([53, 53, 443] if folder == "s3" else [])
    if "Deployment" in objects:
        labels = objects["Deployment"]["spec"]["template"]["metadata"]["labels"]
        assert policy["podSelector"]["matchLabels"] == labels
        named = {port["name"] for port in container["ports"]}
        ports = {x["port"] for rule in policy["ingress"] for x in rule["ports"]}
        assert ports == named


def test_the_readme_offers_each_folder_of_manifests():
    folders = {path.parent.name for path in KUBERNETES.glob("*/kustomization.yaml")}
    assert set(OFFERED) == folders - {"common", "monitoring"}


def test_what_is_selected_is_what_the_pods_are_labelled():
    labels = of_kind("Deployment")["spec"]["template"]["metadata"]["labels"]
    selectors = [
        x["spec"]["selector"] for x in MANIFESTS if "selector" in x.get("spec", {})
    ]
    assert len(selectors) == 5  # deployment, two services, disruption, monitor
    assert all(x.get("matchLabels", x) == labels for x in selectors)
    scaled = of_kind("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert scaled["name"] == of_kind("Deployment")["metadata"]["name"]


def test_what_does_not_watch_the_repository_loads_what_clients_call():
    texts = [path.read_text() for path in KUBERNETES.rglob("*.yaml")]
    explicit = [text for text in texts if "--model-control-mode=explicit" in text]
    assert len(explicit) == 2
    for text in explicit:
        assert set(re.findall(r"--load-model=(\w+)", text)) == set(served_names())


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_compose_runs_the_image_as_serve_does(device, artifacts, tmp_path):
    versions.render(artifacts, tmp_path, {}, Settings(device))
    records = versions.all_current(tmp_path)
    command = run_command(tmp_path, records, 8000, 8001, 8002)
    service = COMPOSE["services"][device]

    assert service["image"] in command
    assert f"--shm-size={service['shm_size']}" in command
    assert service["mem_limit"] == "${TRITON_MEMORY:-8g}" and "--memory=8g" in command
    published = [re.sub(r"\$\{\w+:-(\d+)\}", r"\1", port) for port in service["ports"]]
    assert [f"--publish={port}" for port in published] == [
        x for x in command if x.startswith("--publish=")
    ]
    models = service["volumes"][0]
    assert (models["target"], models["read_only"]) == ("/models", True)
    assert ("deploy" in service) == (device == "gpu")
    assert service["init"] is True and "--init" in command
    # the same rights, of which there are few
    assert service["cap_drop"] == ["ALL"] and "--cap-drop=ALL" in command
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "--security-opt=no-new-privileges" in command
    assert service["read_only"] is True and "--read-only" in command
    assert {f"--tmpfs={x}" for x in service["tmpfs"]} <= set(command)
    assert f"--log-driver={service['logging']['driver']}" in command
    assert "TRITON_KEY" in service["environment"] and "--env=TRITON_KEY" in command


def test_every_docker_run_of_the_documents_has_the_rights_of_compose():
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *TRITON.rglob("*.md")]
    texts = [path.read_text() for path in [*pages, TRITON / "server/Dockerfile"]]
    texts = [text for text in texts if "docker run --" in text]
    assert len(texts) == 3
    for text in texts:
        text = re.sub(r"[\\\n#]", " ", text)
        (command,) = re.findall(r"docker run .*? triton-server", text)
        for option in ("--cap-drop=ALL", "--security-opt=no-new-privileges"):
            assert option in command.split()
        assert "--memory=8g" in command.split()
        assert "--read-only --tmpfs=/tmp" in " ".join(command.split())
        assert all(x.startswith("127.0.0.1:") for x in re.findall("-p (.*?) ", command))


def test_folders_of_the_compose_file_exist():
    for service in COMPOSE["services"].values():
        if "build" not in service:
            continue
        assert (TRITON / service["build"] / "Dockerfile").is_file()
    assert COMPOSE["services"]["gpu"]["volumes"][1] == f"engines:{ENGINE_CACHE}"
    dockerfile = (TRITON / "server/Dockerfile").read_text()
    assert f"chown 1000:1000 {ENGINE_CACHE}" in dockerfile
    # where another volume would hide the image's folder
    mounts = [x["mountPath"] for x in containers()[0]["volumeMounts"]]
    assert "/tmp" in mounts and ENGINE_CACHE in mounts


def test_the_photographs_that_compose_mounts_are_a_folder():
    """Of a short "photos:/photos" Docker would make a volume of that name."""
    (volume,) = COMPOSE["services"]["client"]["volumes"]

    assert volume["type"] == "bind" and volume["read_only"] is True
    default = re.fullmatch(r"\$\{PHOTOS:-(.*)\}", volume["source"])[1]
    assert (TRITON / default).resolve() == ROOT
