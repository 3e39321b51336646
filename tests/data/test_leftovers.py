"""Killed processes leave nothing for good."""

import os
import signal
import subprocess
import sys
import time

import pytest
from raw_sets import encoded, picture, write, write_raw_set

from data_prep import leftovers, packed
from data_prep.paths import ROOT


@pytest.fixture
def start():
    """Start Python; what still runs in the end is killed."""
    started = []
    kept = {k: v for k, v in os.environ.items() if not k.startswith("CLEARML")}

    def start(*arguments, **more):
        process = subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            env={**kept, "PYTHONPATH": str(ROOT), **more},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_what_nobody_holds_is_removed_once_it_is_old_enough(tmp_path):
    names = ("dead", "held", "fresh")
    dead, held, fresh = (write(tmp_path / name, b"x") for name in names)
    for path in (dead, held):
        os.utime(path, (0, 0))
    with open(held, "rb") as file:
        leftovers.hold(file)
        leftovers.remove_files([dead, held, fresh, tmp_path / "gone"])
        assert not dead.exists() and held.exists() and fresh.exists()
    leftovers.remove_files([held])
    assert not held.exists()


def test_a_folder_in_a_held_one_stays(tmp_path):
    inside = write(tmp_path / "run" / "prepared.partial" / "x", b"x").parent
    with leftovers.holding(inside.parent):
        leftovers.remove_folders([inside])
        assert inside.exists()
    leftovers.remove_folders([inside])
    assert inside.parent.exists() and not inside.exists()


def test_an_archive_that_a_killed_process_unpacked_is_removed_by_the_next(
    start, tmp_path
):
    raw = write_raw_set(tmp_path / "raw", count=2)
    program = """if True:
        import sys, time
        from data_prep.sources import find_images
        images = find_images([sys.argv[1]]).images
        print(images[0].file, flush=True)
        sys.stdin.read()
    """
    path = str(tmp_path / "raw.tar.gz")
    subprocess.run(["tar", "-czf", path, "-C", raw.parent, "raw"], check=True)

    killed = start("-c", program, path, TMPDIR=str(tmp_path))
    unpacked = killed.stdout.readline().strip()
    killed.kill()
    killed.communicate(timeout=60)
    assert os.path.exists(unpacked)
    os.utime(unpacked, (0, 0))
    later = start("-c", program, path, TMPDIR=str(tmp_path))
    assert later.stdout.readline().strip() != unpacked
    later.communicate(timeout=60)
    assert not list(tmp_path.glob("asl-unpacked-*"))


@pytest.mark.slow
def test_a_killed_preparation_is_made_good_by_the_next_one(start, tmp_path):
    home, raw = tmp_path / "home", tmp_path / "raw"
    data = [encoded(picture(i)) for i in range(20)]
    for label in "AB":
        for i in range(3000):
            write(raw / label / f"{i}.jpg", data[i % 20] + b"%d" % i)
    command = ("-m", "data_prep.prepare", "--raw", raw)
    places = {"ASL_HOME": str(home), "HOME": str(home)}

    killed = start(*command, "--workers", 2, **places)
    while not list(home.glob("runs/*/prepared.partial/train/images.npy")):
        assert killed.poll() is None
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=60)
    assert list(home.glob("runs/*/prepared.partial"))
    assert not list(home.glob("runs/*/prepared"))

    later = start(*command, "--limit", 20, "--image-size", 32, **places)
    output, _ = later.communicate(timeout=200)
    assert later.returncode == 0
    folder = next(x for x in output.splitlines() if x.startswith("folder: "))[8:]
    assert len(packed.read_manifest(folder)) == 40
    assert not list(home.glob("runs/*/prepared.partial"))
