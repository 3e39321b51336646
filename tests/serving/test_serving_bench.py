"""`scripts/bench serve`, briefly: who takes part, and what is shown. No speed."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from data_prep.paths import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.campaign,
    pytest.mark.timeout(900),  # half a minute, but more on a busy machine than others
    pytest.mark.skipif(
        not (shutil.which("wrk") and shutil.which("h2load")),
        reason="needs wrk and h2load (Debian: wrk, nghttp2-client)",
    ),
]

ROWS = {
    "mlp:int8, pixels": [
        "bare",
        "gRPC",
        "gRPC, shared memory",
        "idle model, gRPC",
        "idle model, gRPC, shared memory",
    ],
    "mlp:int8, letters": ["bare", "Triton, HTTP", "Triton, gRPC"],
}


def test_every_contestant_answers_and_has_a_row(home, tmp_path):
    file = tmp_path / "result.json"
    command = [sys.executable, "-m", "benchmarks.serve", "--json", file]
    command += ["--networks", "mlp:int8", "--image-size", "32"]
    done = subprocess.run(
        [*command, "--seconds", "1", "--rounds", "1"],
        cwd=ROOT,
        env={**os.environ, "ASL_HOME": str(home)},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    measured = json.loads(file.read_text())["measured"]
    assert {title: list(rows) for title, rows in measured.items()} == ROWS
    for title, rows in ROWS.items():
        _, _, table = done.stdout.partition(f"{title} ")
        for line, name in zip(table.splitlines()[1:], rows):
            assert line.startswith(f"  {name} ")
            (outcome,) = measured[title][name]
            assert min(outcome.values()) > 0
    assert list(tmp_path.iterdir()) == [file]
