"""Imports go one way: data_prep <- training <- pipelines <- demo, benchmarks."""

import ast
import graphlib
from collections import defaultdict
from collections.abc import Iterator

from data_prep.paths import ROOT

FLOORS = {"data_prep": 0, "training": 1, "pipelines": 2, "demo": 3, "benchmarks": 3}
FOUND = [path for name in FLOORS for path in sorted((ROOT / name).rglob("*.py"))]
FILES = [path for path in FOUND if path.read_bytes()]


def module(path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def imports(path) -> Iterator[str]:
    """Dotted names that a file imports, in functions too; but not what it imports only
    as a program, in its last lines: there a command is handed what is above it."""
    tree = ast.parse(path.read_bytes())
    if isinstance(tree.body[-1], ast.If) and "__main__" in ast.dump(tree.body[-1].test):
        del tree.body[-1]
    package = module(path).split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            around = package[: len(package) + 1 - node.level] if node.level else []
            base = [*around, *([node.module] if node.module else [])]
            yield from (".".join([*base, alias.name]) for alias in node.names)


def room(name: str) -> str:
    """``pipelines.serving`` for what lies in it, ``pipelines`` for a command."""
    parts = name.split(".")
    is_room = len(parts) > 1 and (ROOT / parts[0] / parts[1]).is_dir()
    return ".".join(parts[: 1 + is_room])


def test_there_is_something_to_check():
    assert len(FILES) > 100


def test_imports_go_one_way():
    found = [(path, name) for path in FILES for name in imports(path)]
    for path, name in found:
        own, package = module(path).split(".")[0], name.split(".")[0]
        assert FLOORS.get(package, 0) <= FLOORS[own], (path, name)
        assert package == own or FLOORS.get(package, 0) < 3, (path, name)
        assert package != "triton", "triton/ is a folder of deployables, no package"
        if own == "data_prep":
            assert package not in ("torch", "torchvision", "clearml", "tritonclient")
        if own == "training":
            assert package != "tritonclient"
            assert package != "clearml" or module(path) == "training.train"


def test_rooms_of_pipelines_do_not_import_each_other_in_circles():
    rooms = defaultdict(set)
    for path in FILES:
        here = room(module(path))
        if here.startswith("pipelines."):
            rooms[here] |= {room(name) for name in imports(path)} - {here}
    inside = {
        name: {below for below in others if below.startswith("pipelines.")}
        for name, others in rooms.items()
    }
    assert list(graphlib.TopologicalSorter(inside).static_order())
    assert inside["pipelines.repository"] == set()
    assert inside["pipelines.clearml_server"] == set()
    assert inside["pipelines.tracking"] == {"pipelines.clearml_server"}


def test_the_embedded_server_knows_of_us_only_paths_and_how_commands_look_and_end():
    known = {
        name.rpartition(".")[0]
        for path in (ROOT / "pipelines" / "clearml_server").rglob("*.py")
        for name in imports(path)
        if name.split(".")[0] in FLOORS and room(name) != "pipelines.clearml_server"
    }
    allowed = ("command_line", "errors", "paths", "stopping")
    assert known <= {f"data_prep.{name}" for name in allowed}
