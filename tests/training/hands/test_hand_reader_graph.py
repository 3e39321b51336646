"""The reader's graph is made once, and anew with another version of the code."""

import os
import shutil
from pathlib import Path

from training.hands import reader_graph as module
from training.hands.files import FILES, cache_folder
from training.hands.reader_graph import KEPT, reader_graph


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
    for number in range(KEPT + 2):
        old = kept / f"reader-128-{number}.onnx"
        old.touch()
        os.utime(old, (100 + number,) * 2)
    assert reader_graph() == kept / graph.name
    expected = [f"reader-128-{number}.onnx" for number in range(3, KEPT + 2)]
    expected.append(graph.name)
    assert sorted(path.name for path in kept.glob("*.onnx")) == sorted(expected)
    assert all((kept / name).exists() for name in FILES)


def test_another_version_of_the_export_makes_another_graph(
    graph, networks, tmp_path, monkeypatch
):
    """The name of a graph depends on the file that exports it, too."""
    other = tmp_path / "reader_graph.py"
    other.write_text(Path(module.__file__).read_text() + "\n# changed\n")
    monkeypatch.setattr(module, "__file__", str(other))
    exported = []
    monkeypatch.setattr(
        module, "_export", lambda _, path, size: exported.append(path.touch())
    )
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert reader_graph(networks).name != graph.name
    assert len(exported) == 1
