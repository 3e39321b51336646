"""`scripts/bench frames`, briefly: every browser is answered. No speed."""

import json
import subprocess
import sys

import pytest

from data_prep.paths import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.campaign]


def test_every_browser_has_frames_answered_and_a_line(triton, tmp_path):
    file = tmp_path / "result.json"
    command = [sys.executable, "-m", "benchmarks.frames", "--url", triton.grpc_url]
    command += ["--browsers", "1", "2", "--seconds", "1", "--json", str(file)]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    measured = json.loads(file.read_text())["measured"]
    assert [len(one["rates"]) for one in measured] == [1, 2]
    for one in measured:
        assert min(one["rates"]) > 0
        assert 0 < one["server_p50"] <= one["p50"] <= one["p95"]
    assert [x[:10] for x in done.stdout.splitlines()[1:]] == [
        "1 browsers",
        "2 browsers",
    ]
