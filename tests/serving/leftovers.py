"""What a server consists of while it runs, and must not leave behind."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    pid: int
    parent: int
    session: int
    command: str


def processes() -> Iterator[Process]:
    """All that run on this machine, zombies excluded."""
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            stat = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_text().replace("\0", " ")
        except (FileNotFoundError, ProcessLookupError):  # has ended meanwhile
            continue
        if stat[0] != "Z":
            yield Process(int(folder.name), int(stat[1]), int(stat[3]), command)


def running_in_session(leader: int) -> list[Process]:
    return [process for process in processes() if process.session == leader]


def children_of(parent: int) -> list[Process]:
    return [process for process in processes() if process.parent == parent]


def shared_memory_of(starter: int, server: int | None = None) -> list[str]:
    """List what lies in /dev/shm, as everybody sees it, or a running server does."""
    folder = f"/proc/{server}/root/dev/shm" if server else "/dev/shm"
    return [x for x in os.listdir(folder) if x.startswith(f"asl_triton_{starter}_")]
