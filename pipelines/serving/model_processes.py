"""The Python processes of an embedded server's models, as this machine shows them.

Triton starts one for each instance of a part, and does not notice when one has ended.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

STUB = "triton_python_backend_stub"


class ModelProcess(NamedTuple):
    """One instance of a part.

    Attributes:
        pid: Of the process.
        started: When, as `now` counts; numbers of processes are used again.
        part: Name of the model, such as ``asl_fused_7``.
    """

    pid: int
    started: int
    part: str


def of_server(server: int) -> list[ModelProcess]:
    """List the model processes that run in a server's session, by its process id."""
    return [process for session, _, process in running() if session == server]


def end_orphans(backends: Path) -> None:
    """End the model processes of servers that have gone.

    They mostly end by themselves, but not where the server was killed as it started.

    Args:
        backends: Folder under which the programs of the processes lie: only of these is
            known that nobody else looks after them.
    """
    for server, program, process in running():
        if program.is_relative_to(backends) and not Path("/proc", str(server)).exists():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process.pid, signal.SIGKILL)


def running() -> Iterator[tuple[int, Path, ModelProcess]]:
    """All model processes of this machine: server's id, program, process."""
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            # behind the name, which may contain anything: state, parent, group, session
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_bytes().decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):  # has ended meanwhile
            continue
        program, _, arguments = command.partition("\0")
        if fields[0] == "Z" or not program.endswith(STUB):
            continue
        # <repository>/<part>/<version>/<file of the model>
        part = Path(arguments.partition("\0")[0]).parent.parent.name
        process = ModelProcess(int(folder.name), int(fields[19]), part)
        yield int(fields[3]), Path(program), process


def now() -> int:
    """The time as processes' starts are counted: ticks since this machine started."""
    ticks = os.sysconf("SC_CLK_TCK")
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * ticks)
