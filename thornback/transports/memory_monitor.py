"""How much memory the machine, or the control group of this process, still has. Page cache does not count as used."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from thornback.core.raylet.memory_guard import MemoryReport
from thornback.transports.loop import EventLoop

MEMINFO = Path("/proc/meminfo")
CGROUPS = Path("/sys/fs/cgroup")
KIB = 1024


def machine(meminfo: Path = MEMINFO) -> tuple[int, int]:
    """Used and total bytes of the machine."""
    values = {}
    for line in meminfo.read_text().splitlines():
        name, _, rest = line.partition(":")
        values[name] = int(rest.split()[0]) * KIB
    return values["MemTotal"] - values["MemAvailable"], values["MemTotal"]


def control_groups(root: Path = CGROUPS, membership: Path = Path("/proc/self/cgroup")) -> list[Path]:
    """Directories of the control groups (version 1 or 2) that may limit this process, innermost first."""
    found = []
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            base = root
        elif "memory" in controllers.split(","):
            base = root / "memory"
        else:
            continue
        group = base / path.lstrip("/")
        while True:
            found.append(group)
            if group == base or base not in group.parents:
                break
            group = group.parent
    return found


def control_group(group: Path) -> tuple[int, int] | None:
    """Used bytes and limit of a control group; None if it has no limit. Shared memory counts, as it cannot be dropped;
    the kernel lists it with anonymous pages, not with the cached files left out here."""
    for limit_name, used_name, prefix in (
        ("memory.max", "memory.current", ""),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
    ):
        try:
            limit = (group / limit_name).read_text().strip()
            if not limit.isdigit() or int(limit) > 1 << 60:
                continue
            used = int((group / used_name).read_text())
            for line in (group / "memory.stat").read_text().splitlines():
                name, _, value = line.partition(" ")
                if name in (f"{prefix}inactive_file", f"{prefix}active_file"):
                    used -= int(value)
            return max(0, used), int(limit)
        except (OSError, ValueError):
            continue
    return None


def private_bytes(pid: int) -> int:
    """Anonymous memory of a process; 0 if it is gone."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * KIB
    except (OSError, ValueError):
        pass
    return 0


def tightest(groups: Iterable[Path], meminfo: Path = MEMINFO) -> tuple[int, int]:
    """Used bytes and limit where least is left."""
    readings = [machine(meminfo), *filter(None, map(control_group, groups))]
    return max(readings, key=lambda reading: reading[0] / max(1, reading[1]))


class MemoryMonitor:
    """Looks at the memory every ``period`` nanoseconds.

    Args:
        pids: of the workers.
        look: called, in a turn, at every look.
        report: called instead when more than ``threshold`` of the memory is in use.
    """

    def __init__(
        self,
        loop: EventLoop,
        period: int,
        threshold: float,
        pids: Callable[[], list[int]],
        look: Callable[[], object],
        report: Callable[[MemoryReport], object],
    ) -> None:
        self._loop = loop
        self._period = period
        self._threshold = threshold
        self._pids = pids
        self._look_only = look
        self._report = report
        self._groups = control_groups()
        if period > 0:
            loop.call_after(period, self._look)

    def _look(self) -> None:
        self._loop.call_after(self._period, self._look)
        try:
            used, limit = tightest(self._groups)
        except (OSError, KeyError, ValueError):
            return
        if used > self._threshold * limit:
            self._report(MemoryReport(used, limit, {pid: private_bytes(pid) for pid in self._pids()}))
        else:
            self._look_only()
