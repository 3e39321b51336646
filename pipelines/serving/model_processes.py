"""The Python processes of an embedded server's models, as this machine shows them.

Triton starts one for each instance of a part, and does not notice when one has ended.
"""

import os
import time
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
    found = []
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
        ended, session = fields[0] == "Z", int(fields[3])
        if ended or session != server or not program.endswith(STUB):
            continue
        # <repository>/<part>/<version>/<file of the model>
        part = Path(arguments.partition("\0")[0]).parent.parent.name
        found.append(ModelProcess(int(folder.name), int(fields[19]), part))
    return found


def now() -> int:
    """The time as processes' starts are counted: ticks since this machine started."""
    ticks = os.sysconf("SC_CLK_TCK")
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * ticks)
