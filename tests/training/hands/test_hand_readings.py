"""Photographs are read once; what is read is kept by content, and never by halves."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from hand_photographs import photographs

from data_prep.paths import ROOT
from training.hands.hand import NUMBERS, pack
from training.hands.readings import KEPT, SIDE, read_photographs


@pytest.fixture(scope="module")
def images():
    return photographs("BLV")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A data folder of its own; returned is where readings are kept in it."""
    monkeypatch.setenv("ASL_HOME", str(tmp_path / "asl"))
    return tmp_path / "asl" / "readings"


@pytest.fixture
def nowhere(graph, tmp_path):
    """A graph of the same name that is not there: whoever runs it, fails."""
    return tmp_path / graph.name


def test_a_reading_is_what_the_reader_sees(home, images, graph, read):
    got = read_photographs(images, graph, "read")
    expected = read(images)
    assert len(got) == 3
    assert got.rows.shape == (3, NUMBERS) and got.rows.dtype == np.float32
    assert got.pictures.shape == (3, SIDE, SIDE, 3)
    assert got.pictures.dtype == np.uint8
    np.testing.assert_allclose(got.rows, pack(expected.hand), atol=2e-3)
    pictures = expected.picture.permute(0, 2, 3, 1).numpy()
    apart = np.abs(got.pictures.astype(np.float32) - pictures)
    assert apart.mean() < 0.1 and (apart > 2).mean() < 0.001


def test_the_same_photographs_are_read_once(home, images, graph, nowhere):
    first = read_photographs(images, graph, "read")
    again = read_photographs(images.copy(), nowhere, "read")
    np.testing.assert_array_equal(again.rows, first.rows)
    np.testing.assert_array_equal(again.pictures, first.pictures)
    assert len(list(home.iterdir())) == 1


def test_other_photographs_and_other_graphs_are_read_anew(
    home, images, graph, nowhere, tmp_path
):
    read_photographs(images[:2], graph, "read")
    for other in (images[1:], images[:1], images[1::-1]):
        with pytest.raises(Exception, match=graph.name):  # it wanted to read
            read_photographs(other, nowhere, "read")
    with pytest.raises(Exception, match="reader-of-another-day"):
        read_photographs(images[:2], tmp_path / "reader-of-another-day.onnx", "read")
    assert len(list(home.iterdir())) == 1  # what failed has left nothing


def test_a_killed_reading_is_no_reading_and_the_next_one_clears_up(home, images, graph):
    code = (
        "import sys; import numpy as np; from pathlib import Path;"
        "from training.hands.readings import read_photographs;"
        "images = np.zeros((400, 256, 256, 3), np.uint8);"
        "read_photographs(images, Path(sys.argv[1]), 'read')"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(graph)],
        cwd=ROOT,
        env=os.environ,
        stderr=subprocess.DEVNULL,
    )
    while not home.exists() or not list(home.glob(".*/pictures.npy")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (left,) = home.iterdir()
    assert left.name.startswith(".")
    read_photographs(images[:1], graph, "read")
    (kept,) = home.iterdir()
    assert kept != left and not kept.name.startswith(".")


def test_the_readings_of_the_last_trainings_are_kept(home, images, graph):
    now = time.time()
    for number in range(KEPT + 3):
        folder = home / f"old{number:02}"
        folder.mkdir(parents=True)
        os.utime(folder, (now - 100 + number,) * 2)
    read_photographs(images[:1], graph, "read")
    left = {path.name for path in home.iterdir()}
    assert len(left) == KEPT
    assert {name for name in left if name.startswith("old")} == {
        f"old{number:02}" for number in range(4, KEPT + 3)
    }


def test_a_used_reading_counts_as_new(home, images, graph, nowhere):
    read_photographs(images[:1], graph, "read")
    (folder,) = home.iterdir()
    os.utime(folder, (1, 1))
    read_photographs(images[:1], nowhere, "read")
    assert folder.stat().st_mtime > 1
