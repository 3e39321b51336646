"""Photographs are read once; what is read is kept by content, and never by halves."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hand_photographs import photographs

from data_prep.paths import ROOT
from training.hands import readings
from training.hands.files import FILES, cache_folder
from training.hands.hand import NUMBERS, pack
from training.hands.readings import (
    KEPT,
    KEPT_GRAPHS,
    SIDE,
    read_photographs,
    reader_graph,
)


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


def test_the_graph_is_made_once(graph, networks):
    made = graph.stat()
    assert reader_graph() == reader_graph(networks) == graph
    assert graph.stat().st_ino == made.st_ino
    assert graph.stat().st_mtime_ns >= made.st_mtime_ns  # a used one counts as new


def test_graphs_that_were_not_used_for_long_are_removed(
    graph, networks, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kept = cache_folder()
    kept.mkdir(parents=True)
    for name in FILES:
        shutil.copyfile(networks / name, kept / name)
    shutil.copyfile(graph, kept / graph.name)
    os.utime(kept / graph.name, (1, 1))  # the oldest, until it is used
    for number in range(KEPT_GRAPHS + 2):
        old = kept / f"reader-128-{number}.onnx"
        old.touch()
        os.utime(old, (100 + number,) * 2)
    assert reader_graph() == kept / graph.name
    expected = [f"reader-128-{number}.onnx" for number in range(3, KEPT_GRAPHS + 2)]
    expected.append(graph.name)
    assert sorted(path.name for path in kept.glob("*.onnx")) == sorted(expected)
    assert all((kept / name).exists() for name in FILES)


def test_another_version_of_the_export_makes_another_graph(
    graph, networks, tmp_path, monkeypatch
):
    """The name of a graph depends on the file that exports it, too."""
    other = tmp_path / "readings.py"
    other.write_text(Path(readings.__file__).read_text() + "\n# changed\n")
    monkeypatch.setattr(readings, "__file__", str(other))
    exported = []
    monkeypatch.setattr(
        readings, "_export", lambda _, path, size: exported.append(path.touch())
    )
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert reader_graph(networks).name != graph.name
    assert len(exported) == 1
