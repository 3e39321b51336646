"""`scripts/bench reliability`, briefly: it really asks, and it notices what fails."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from argparse import Namespace

import numpy as np
import pytest

from benchmarks.reliability import report
from benchmarks.reliability_clients import asking
from benchmarks.reliability_server import Place
from data_prep.paths import ROOT
from pipelines.repository.model_config import Settings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def rows(text: str) -> dict[str, str]:
    lines = [x.strip("|").split("|") for x in text.splitlines() if x[:1] == "|"]
    return {line[0].strip(): line[1].strip() for line in lines}


@pytest.mark.campaign
def test_swaps_and_roll_backs_have_a_table_in_which_nothing_failed(home):
    command = [sys.executable, "-m", "benchmarks.reliability", "swaps", "--swaps", "2"]
    command += ["--clients", "2", "--busy", "1", "--instances", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr
    told = rows(done.stdout)
    assert told["swaps and roll-backs"] == "2"
    assert int(told["requests"]) > 20
    assert (told["failed"], told["wrong answers"]) == ("0", "0")
    assert told["model processes too many at the end"] == "0"


def test_an_interrupted_part_tells_what_it_has_counted(server, photographs, capsys):
    files = [photographs["wide.jpg"].read_bytes()]
    options = Namespace(clients=2, busy=1)
    place = Place(server, Settings(), [], files, [], ["A"], options)

    with place.asking() as count:
        time.sleep(1)
        (clients,) = multiprocessing.active_children()
        os.kill(clients.pid, signal.SIGINT)  # Ctrl-C reaches all in the terminal
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        report(count, place, {})

    told = rows(capsys.readouterr().out)
    assert told["interrupted"] == "yes"
    assert int(told["requests"]) == count.asked > 0
    assert int(told["wrong answers"]) == count.wrong > 0
    assert not multiprocessing.active_children()


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
