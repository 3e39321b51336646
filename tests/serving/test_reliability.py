"""`scripts/bench reliability`, briefly: it really asks, and it notices what fails."""

import subprocess
import sys
import time

import numpy as np
import pytest

from benchmarks.reliability_clients import asking
from data_prep.paths import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_swaps_and_roll_backs_have_a_table_in_which_nothing_failed(home):
    command = [sys.executable, "-m", "benchmarks.reliability", "swaps", "--swaps", "2"]
    command += ["--clients", "2", "--busy", "1", "--instances", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr
    lines = [x.strip("|").split("|") for x in done.stdout.splitlines() if x[:1] == "|"]
    rows = {line[0].strip(): line[1].strip() for line in lines}
    assert rows["swaps and roll-backs"] == "2"
    assert int(rows["requests"]) > 20
    assert (rows["failed"], rows["wrong answers"]) == ("0", "0")
    assert rows["model processes too many at the end"] == "0"


def test_clients_notice_answers_of_no_version_and_requests_that_fail(
    server, photographs
):
    urls = {"grpc": server.grpc_url, "http": server.http_url}
    files = [photographs["wide.jpg"].read_bytes(), b"no photograph"]
    wrong = [np.zeros((2, 5), np.float32)]
    labels = ["A", "B", "C", "del", "nothing"]

    with asking(urls, files, wrong, labels, clients=2) as count:
        time.sleep(1)

    assert count.wrong and len(count.failed)
    assert all("broken image" in why for _, why in count.failed)
    assert len(count.failed) < count.asked
