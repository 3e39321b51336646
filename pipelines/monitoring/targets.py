"""What is scraped: Triton's metrics, our exporter beside it, the page's gateway."""

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.errors import InputError
from data_prep.paths import ROOT
from pipelines.child_process import ending_with_us
from pipelines.monitoring.history import History, Labels, parse

EXPORTER = ROOT / "triton" / "server" / "exporter.py"
TIMEOUT_S = 10.0
MAX_BYTES = 16 << 20
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Target:
    """An address with metrics in Prometheus's text format, and the job it is of."""

    job: str
    url: str

    @property
    def labels(self) -> Labels:
        return Labels({("job", self.job), ("instance", self.url.split("/")[2])})


def scrape(
    targets: Iterable[Target], wanted: set[str], history: History, now: float
) -> None:
    """Ask all targets, and keep what is wanted of their answers.

    As with Prometheus, ``up`` says whether a target has answered, its labels "job" and
    "instance" are added, and those of its own with these names are called exported_.
    """
    targets = list(targets)
    with ThreadPoolExecutor(max(1, len(targets))) as pool:
        for target, text in zip(targets, pool.map(_fetch, targets)):
            history.add("up", target.labels, now, float(text is not None))
            for name, labels, value in parse(text or "", wanted):
                if name != "up":
                    history.add(name, _owned(labels, target), now, value)
            history.mark_gone(wanted - {"up"}, target.labels, now)


def _fetch(target: Target) -> str | None:
    try:
        with DIRECT.open(target.url, timeout=TIMEOUT_S) as answer:
            return answer.read(MAX_BYTES).decode("utf-8", "replace")
    except (OSError, ValueError):
        return None


def _owned(labels: Labels, target: Target) -> Labels:
    own = {key for key, _ in target.labels}
    kept = {(f"exported_{key}" if key in own else key, x) for key, x in labels}
    return Labels(kept) | target.labels


class Exporter:
    """triton/server/exporter.py as a process of ours, started anew when it must ask
    elsewhere; a context manager."""

    def __init__(self) -> None:
        self.process: Any = None  # subprocess.Popen
        self.options: list[str] = []
        self.url = ""

    def __enter__(self) -> "Exporter":
        return self

    def __exit__(self, *_):
        self.stop()

    def ensure(self, options: list[str]) -> Target:
        """Have it run with these options; return where it answers.

        Raises:
            InputError: It does not start.
        """
        if self.process is None or self.process.poll() is not None:
            self.options = []
        if options != self.options:
            self.stop()
            command = [sys.executable, str(EXPORTER), "--port", "0", *options]
            self.process = subprocess.Popen(
                ending_with_us(command),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                start_new_session=True,  # Ctrl-C reaches us alone
            )
            self.options, self.url = options, self.process.stdout.readline().strip()
            if not self.url:
                raise InputError(f"the exporter does not start: {' '.join(options)}")
        return Target("asl", self.url)

    def stop(self) -> None:
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(10)
            self.process.stdout.close()
            self.process = None


def shared_memory(process: int) -> Path:
    """The /dev/shm of the tritonserver that a process has started, if it has one of its
    own; else the machine's."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:
            continue
        name, fields = text[text.index("(") + 1 : text.rindex(")")], text.rpartition(
            ")"
        )
        if name.startswith("tritonserver") and int(fields[2].split()[1]) == process:
            own = stat.parent / "root/dev/shm"
            if os.access(own, os.R_OK):
                return own
    return Path("/dev/shm")
