"""Which files of ours a program runs: what it imports, and what that imports."""

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGES = ("data_prep", "training", "pipelines")
# A server keeps results; it does not make them.
BEYOND = "pipelines/clearml_server"


def sources(script: str, root: Path) -> list[Path]:
    """Follow the imports of a program.

    Args:
        script: Its path in the repository.
        root: Of the repository.

    Returns:
        The Python files below ``root`` that it can come to run, itself included, and
        the tables beside modules of the same name, in the order of their paths; those
        of the embedded ClearML server left out.
    """
    found: set[Path] = set()
    waiting = [root / script]
    while waiting:
        file = waiting.pop()
        if file in found or file.is_relative_to(root / BEYOND):
            continue
        found.add(file)
        if (table := file.with_suffix(".csv")).is_file():
            found.add(table)
        for name in imported(file, root):
            waiting += files_of(name, root)
    return sorted(found)


def imported(file: Path, root: Path) -> Iterator[str]:
    """Give the dotted names of our modules that a file imports, wherever in it.

    ``from a.b import c`` gives ``a.b.c``, whether c is a module or not.
    """
    package = file.relative_to(root).parent.parts
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) + 1 - node.level] if node.level else ()
            base = ".".join((*start, *([node.module] if node.module else ())))
            names = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] in PACKAGES)


def files_of(name: str, root: Path) -> Iterator[Path]:
    """Give the files that ``import name`` runs; of the packages around it as well."""
    path = root
    for part in name.split("."):
        path = path / part
        for file in (path / "__init__.py", path.with_suffix(".py")):
            if file.is_file():
                yield file
