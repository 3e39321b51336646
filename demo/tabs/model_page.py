"""The tab Model: which model answers, how good it is, and how the server does."""

import asyncio
import hashlib
import hmac
import json
import re
import time
import urllib.request
from collections import deque
from dataclasses import asdict, dataclass, field
from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse

from data_prep.errors import InputError
from data_prep.paths import data_home
from demo.model import Away
from pipelines.repository import versions
from pipelines.repository.layout import as_part
from pipelines.serving import deployment, running_server

HOUR_S, EVERY_S = 3600, 30
MAX_METRICS_BYTES = 4 << 20
PREDICTIONS = re.compile(r"asl_predictions_total\{([^}]*)\} (\S+)")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class Admin:
    """Who may roll back: whoever has the token."""

    token: str


@dataclass
class Server:
    """What lies beside the gRPC address.

    Attributes:
        repository: The model repository; None if it is elsewhere.
        metrics_url: Of Prometheus metrics; None if unknown.
    """

    repository: Path | None = None
    metrics_url: str | None = None
    counted: deque = field(default_factory=lambda: deque(maxlen=HOUR_S // EVERY_S))
    rolling: asyncio.Lock = field(default_factory=asyncio.Lock)


async def show(request: Request):
    """All that the tab shows, as JSON."""
    state = request.app.state
    try:
        served = await state.model.served()
        statistics = await state.model.statistics()
    except Away as error:
        return JSONResponse({"error": str(error)}, 503)
    server = state.server
    evaluation = await asyncio.to_thread(find_evaluation, served.parameters)
    return JSONResponse(
        {
            "model": {"name": served.name, "version": served.version},
            "classes": served.labels,
            "outputs": served.outputs,
            "parameters": {
                key: value
                for key, value in served.parameters.items()
                if key not in ("preprocessing", "expected")
            },
            "links": links(served.parameters),
            "preprocessing": asdict(served.record) if served.record else None,
            "evaluation": evaluation,
            "statistics": summarise(statistics),
            "letters": await asyncio.to_thread(letters, server, served.name),
            "versions": await asyncio.to_thread(
                kept_versions, server.repository, served.name
            ),
            "may_roll_back": state.admin is not None and server.repository is not None,
        }
    )


async def roll_back(request: Request):
    """Have the version before the current one served."""
    admin, server = request.app.state.admin, request.app.state.server
    given = request.headers.get("authorization", "").removeprefix("Bearer ")
    if admin is None or server.repository is None:
        return JSONResponse({"error": "scripts/demo runs without --admin"}, 403)
    if not hmac.compare_digest(given.encode(), admin.token.encode()):
        return JSONResponse({"error": "this is not the administrator's token"}, 403)
    if server.rolling.locked():
        return JSONResponse({"error": "the server is being rolled back already"}, 409)
    async with server.rolling:
        urls = running_server.find(server.repository)
        try:
            record = await asyncio.to_thread(
                deployment.roll_back,
                server.repository,
                urls,
                request.app.state.model.name,
            )
        except InputError as error:
            return JSONResponse({"error": str(error)}, 409)
        request.app.state.model.look_again()
    return JSONResponse({"version": record["version"]})


def links(parameters: dict[str, str]) -> dict[str, str]:
    """Addresses of the training and its dataset on the embedded ClearML server."""
    try:
        note = json.loads((data_home() / "clearml" / "server.json").read_text())
        address = note["address"]
    except (OSError, ValueError, KeyError):
        return {}
    return {
        key: f"{address}/projects/*/experiments/{parameters[key]}/output/log"
        for key in ("task_id", "dataset_id")
        if re.fullmatch("[0-9a-f]{32}", parameters.get(key, ""))
    }


def find_evaluation(parameters: dict[str, str]) -> dict | None:
    """The evaluation of the training that left this very model, if it was made here."""
    wanted = parameters.get("model_sha256")
    for model in sorted((data_home() / "runs").glob("*/model.onnx"), reverse=True):
        if wanted and _sha256(model, model.stat().st_mtime_ns) == wanted:
            try:
                return json.loads((model.parent / "evaluation.json").read_text())
            except (OSError, ValueError):
                return None
    return None


_HASHES: dict = {}


def _sha256(path: Path, changed: int) -> str:
    key = path, changed
    if key not in _HASHES:
        _HASHES[key] = hashlib.sha256(path.read_bytes()).hexdigest()
    return _HASHES[key]


def summarise(statistics: dict) -> list[dict]:
    """Requests, failures, mean times and batch sizes of each part of the model."""
    found = []
    for model in statistics.get("model_stats", []):
        times = model.get("inference_stats", {})
        done, failed = times.get("success", {}), times.get("fail", {})
        count = int(done.get("count", 0))
        batches = {
            batch["batch_size"]: int(batch["compute_infer"]["count"])
            for batch in model.get("batch_stats", [])
        }
        runs, images = int(model.get("execution_count", 0)), model.get(
            "inference_count"
        )
        found.append(
            {
                "model": model["name"],
                "version": model["version"],
                "requests": count,
                "errors": int(failed.get("count", 0)),
                "mean_ms": int(done.get("ns", 0)) / count / 1e6 if count else None,
                "queue_ms": (
                    int(times.get("queue", {}).get("ns", 0)) / count / 1e6
                    if count
                    else None
                ),
                "images_a_run": int(images or 0) / runs if runs else None,
                "batches": batches,
            }
        )
    return found


def letters(server: Server, name: str) -> dict | None:
    """How often each class was a model's answer over the last hour, as far as it was
    seen.

    None without metrics.
    """
    if server.metrics_url is None:
        return None
    try:
        with urllib.request.urlopen(server.metrics_url, timeout=2) as answer:
            text = answer.read(MAX_METRICS_BYTES).decode("utf-8", "replace")
    except (OSError, ValueError):
        return None
    now, count = time.monotonic(), {}
    for line in text.splitlines():
        if match := PREDICTIONS.match(line):
            labels = dict(LABEL.findall(match[1]))
            part = as_part(labels.get("model", ""))
            if part and part.name == name:
                key = labels["class"]
                count[key] = count.get(key, 0.0) + float(match[2])
    counted = server.counted
    if not counted or now - counted[-1][0] >= EVERY_S:
        counted.append((now, count))
    first = next((old for then, old in counted if now - then <= HOUR_S), count)
    grown = {key: value - first.get(key, 0.0) for key, value in count.items()}
    if (
        len(counted) == 1 or min(grown.values(), default=0) < 0
    ):  # just begun, or swapped
        grown = count
    return {key: value for key, value in grown.items() if value > 0}


def kept_versions(repository: Path | None, name: str) -> list[dict]:
    """A model's versions in the repository, newest first."""
    if repository is None:
        return []
    try:
        current = versions.current(repository, name)["version"]
        withdrawn = set(versions.withdrawn(repository, name))
        records = [
            versions.deployment(repository, version, name)
            for version in versions.versions(repository, name)
        ]
    except InputError:
        return []
    return [
        {
            "version": record["version"],
            "task_id": record["metadata"].get("task_id"),
            "model": record["metadata"].get("model"),
            "accuracy": record["metadata"].get("accuracy"),
            "deployed": record["deployed"],
            "state": (
                "current"
                if record["version"] == current
                else "withdrawn" if record["version"] in withdrawn else ""
            ),
        }
        for record in reversed(records)
    ]
