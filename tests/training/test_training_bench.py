"""The comparison runs through and names its figures; their size is not asserted."""

import re
import subprocess
import sys

import pytest

from data_prep.paths import ROOT


@pytest.mark.slow
@pytest.mark.campaign
def test_the_bench_measures_all_three_loops():
    command = [sys.executable, "-m", "benchmarks.train", "--image-size", "32"]
    command += ["--seconds", "0.5", "--batch-size", "16"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    rates = dict(re.findall(r"(bare|ours|obvious) +(\d+) images/s", done.stdout))
    assert set(rates) == {"bare", "ours", "obvious"}
    assert "cores of" in done.stdout or "GPU" in done.stdout or "NVIDIA" in done.stdout
