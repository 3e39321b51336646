"""The server of `benchmarks.reliability`: two versions of a model, and who asks it."""

import argparse
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.reliability_clients import Count, asking
from data_prep.preprocessing import FILE_NAME, Preprocessing
from pipelines.repository import versions
from pipelines.repository.model_config import Settings
from pipelines.serving import deployment, model_control, model_processes
from pipelines.serving.triton_server import TritonServer
from training.golden import RAW_GOLDEN_FILE, write_raw_golden
from training.graph import onnx_predict

NETWORK, SIZES = "small_resnet", (128, 96)  # of the two versions


@dataclass
class Place:
    """A server of two models' versions, and what is asked of it.

    Attributes:
        candidates: Artifacts of either.
        expected: Their answers to the files.
        interrupted: Whether the part was ended before its time.
    """

    server: TritonServer
    settings: Settings
    candidates: list[Path]
    files: list[bytes]
    expected: list[np.ndarray]
    labels: list[str]
    options: argparse.Namespace
    interrupted: bool = False

    @property
    def urls(self) -> dict[str, str]:
        return {"grpc": self.server.grpc_url, "http": self.server.http_url}

    def deploy(self, number: int) -> None:
        deployment.deploy(
            self.candidates[number % 2],
            self.server.repository,
            {"task_id": str(number)},
            self.settings,
            self.urls,
        )

    @contextmanager
    def asking(self) -> Iterator[Count]:
        """Ask until the end of the block; an interruption ends the block alone."""
        with asking(
            self.urls,
            self.files,
            self.expected,
            self.labels,
            self.options.clients,
            self.options.busy,
        ) as count:
            try:
                print(f"  {self.options.clients} clients ask", flush=True)
                yield count
            except KeyboardInterrupt:
                self.interrupted = True

    def processes(self) -> Counter:
        running = model_processes.of_server(self.server.process.pid)
        return Counter(process.part for process in running)

    def surplus(self) -> int:
        """How many model processes are not of the current version."""
        now = versions.current_number(self.server.repository)
        wanted = model_control.part_names(self.server.repository, now)
        expected = Counter({name: self.settings.instances for name in wanted})
        return (self.processes() - expected).total()


@contextmanager
def serving(options: argparse.Namespace) -> Iterator[Place]:
    """Serve the first of two untrained networks, from a folder of its own."""
    # torch, which the clients' process must not wait for
    from benchmarks.serve_models import make_artifacts, photographs

    with tempfile.TemporaryDirectory(prefix="asl-reliability-") as temporary:
        folder = Path(temporary)
        files = photographs(options.raw, folder / "drawn")[:16]
        settings = Settings(instances=options.instances)
        candidates, expected = [], []
        for size in SIZES:
            artifacts = make_artifacts(folder / str(size), NETWORK, files, size)
            record = Preprocessing.load(artifacts / FILE_NAME)
            pixels = np.stack([record.apply(data) for data in files])
            expected.append(onnx_predict(artifacts / "model.onnx", pixels))
            raw = artifacts / RAW_GOLDEN_FILE
            write_raw_golden(raw, files[:4], expected[-1][:4])
            candidates.append(artifacts)
        text = (candidates[0] / "classes.txt").read_text(encoding="utf-8")
        labels = text.removesuffix("\n").split("\n")
        versions.render(candidates[0], folder / "models", {}, settings)
        with TritonServer(folder / "models") as server:
            yield Place(server, settings, candidates, files, expected, labels, options)


def resources(server: TritonServer) -> dict[str, int]:
    """What a server holds: memory, descriptors, shared memory, model processes."""
    pid = server.process.pid
    running = model_processes.of_server(pid)
    memory = sum(resident(process.pid) for process in running)
    shared = list(server.shared_memory.iterdir())
    ours = [x.stat().st_size for x in shared if x.name.startswith(server.shm_prefix)]
    return {
        "MiB of tritonserver": resident(pid) >> 20,
        "MiB of its models": memory >> 20,
        "open files": len(list(Path(f"/proc/{pid}/fd").iterdir())),
        "files in /dev/shm": len(ours),
        "MiB in /dev/shm": sum(ours) >> 20,
        "model processes": len(running),
    }


def resident(pid: int) -> int:
    """Bytes of a process's own memory; 0 if it has ended."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return (int(pages[1]) - int(pages[2])) * 4096  # without shared ones
