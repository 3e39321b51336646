"""`scripts/bench reliability`, briefly: it really asks, and it notices what fails."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from benchmarks.reliability_clients import asking
from data_prep.paths import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def command(parts: list[str], *options: str) -> list[str]:
    brief = ["--clients", "2", "--busy", "1", "--instances", "1", *options]
    return [sys.executable, "-m", "benchmarks.reliability", *parts, *brief]


def rows(text: str) -> dict[str, str]:
    lines = [x.strip("|").split("|") for x in text.splitlines() if x[:1] == "|"]
    return {line[0].strip(): line[1].strip() for line in lines}


def test_swaps_and_roll_backs_have_a_table_in_which_nothing_failed(home):
    done = subprocess.run(
        command(["swaps"], "--swaps", "2"), cwd=ROOT, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stdout + done.stderr
    told = rows(done.stdout)
    assert told["swaps and roll-backs"] == "2"
    assert int(told["requests"]) > 20
    assert (told["failed"], told["wrong answers"]) == ("0", "0")
    assert told["model processes too many at the end"] == "0"


def test_what_is_interrupted_tells_what_it_has_counted_and_leaves_nothing(home):
    with subprocess.Popen(
        command(["swaps", "images"]),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        for line in process.stdout:
            if "clients ask" in line:
                break
        time.sleep(5)
        os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C in a terminal
        text = process.stdout.read()

    assert process.returncode == 130, text
    told = rows(text)
    assert told["interrupted"] == "yes"
    assert int(told["requests"]) > 0 and told["failed"] == "0"
    assert "images" not in text
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


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
