"""Work on several processes: in order, in little memory, leaving none behind."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import NamedTuple

import pytest

from data_prep.errors import InputError
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


class Photograph(NamedTuple):
    path: str


def crash_at_13(first, items):
    """As a decoder may: the process is gone, with no exception."""
    for item in items:
        if item.path == "C/13.png":
            os.abort()
    return first


@pytest.mark.parametrize("count", [20, 5 * CHUNK])
def test_an_item_that_ends_its_process_is_named(count):
    items = [Photograph(f"C/{number}.png") for number in range(count)]
    with pytest.raises(InputError, match="C/13.png: a process ended while it worked"):
        list(run_chunks(crash_at_13, items, 2, "crash"))


def kill_once(first, items):
    """As the system does where memory runs out: another time all goes well."""
    with suppress(FileNotFoundError):
        os.unlink(items[0])
        os.kill(os.getpid(), signal.SIGKILL)
    return first


def test_a_process_that_is_killed_from_outside_blames_no_item(tmp_path):
    (tmp_path / "mark").touch()
    with pytest.raises(InputError, match="ended from outside.* --workers"):
        list(run_chunks(kill_once, [str(tmp_path / "mark")], 2, "kill"))
