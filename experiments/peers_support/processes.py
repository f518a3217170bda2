"""What the kernel knows of a tree of processes: who belongs to it, memory, threads, CPU time."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import NamedTuple


class Usage(NamedTuple):
    """Of several processes together."""

    processes: int
    threads: int
    proportional: int
    """Bytes, where memory that n processes share counts one n-th for each."""
    cpu: float
    """Seconds since they started."""


def _parents() -> dict[int, int]:
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(entry.name)] = int(fields[1])
    return parents


def descendants(root: int) -> list[int]:
    """Processes that ``root``, or a process that it started, has started; without itself."""
    children: dict[int, list[int]] = {}
    for pid, parent in _parents().items():
        children.setdefault(parent, []).append(pid)
    found, queue = [], [root]
    while queue:
        for pid in children.get(queue.pop(), ()):
            found.append(pid)
            queue.append(pid)
    return found


def usage(pids: list[int]) -> Usage:
    """What these processes use; those that are gone by now are left out."""
    processes = threads = proportional = ticks = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        processes += 1
        ticks += int(fields[11]) + int(fields[12])
        threads += int(fields[17])
        proportional += sum(int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:"))
    return Usage(processes, threads, proportional, ticks / os.sysconf("SC_CLK_TCK"))


def kill(pids: list[int]) -> None:
    """End processes at once."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
