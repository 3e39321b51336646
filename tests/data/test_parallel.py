"""Work on several processes: in order, in little memory, leaving none behind."""

import os
import signal
import subprocess
import sys
import time

import pytest

from data_prep.parallel import CHUNK, run_chunks
from data_prep.paths import ROOT


def first_and_sum(first, items):
    return first, sum(items)


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order_and_cover_every_item(workers):
    items = range(5 * CHUNK + 7)
    results = list(run_chunks(first_and_sum, items, workers, "sums"))
    assert [first for first, _ in results] == list(range(0, len(items), CHUNK))
    assert sum(part for _, part in results) == sum(items)


def test_no_items_are_no_results():
    assert list(run_chunks(first_and_sum, [], 2, "nothing")) == []


def refuse(first, items):
    raise ValueError(f"not {first}")


def test_an_error_in_a_process_reaches_the_caller():
    with pytest.raises(ValueError, match="not 0"):
        list(run_chunks(refuse, range(3 * CHUNK), 2, "refuse"))


def running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().split(") ")[1][0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="needs /proc")
@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGTERM])
def test_killing_the_parent_leaves_no_process_behind(tmp_path, kill):
    program = """if True:
        import os, time
        from data_prep.parallel import run_chunks
        def work(first, items):
            time.sleep(0.05)
            return os.getpid()
        if __name__ == "__main__":
            for pid in run_chunks(work, range(100_000), 2, "work"):
                print(pid, flush=True)
    """
    script = tmp_path / "program.py"
    script.write_text(program)
    process = subprocess.Popen(
        [sys.executable, script],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    workers = {int(process.stdout.readline()) for _ in range(8)}
    process.send_signal(kill)
    process.wait(timeout=20)
    deadline = time.monotonic() + 20
    while any(map(running, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(running, workers))
