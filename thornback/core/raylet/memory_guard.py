"""Which worker ends when a node runs out of memory: that of the youngest task that can be run again, so that least work
is lost."""

from __future__ import annotations

from typing import NamedTuple

from thornback.core.config import Config
from thornback.core.ids import Address, WorkerId
from thornback.core.messages import MemoryShort
from thornback.core.ports import Clock, Processes
from thornback.core.raylet.grants import Grant, RayletGrants
from thornback.core.raylet.pool import Worker, WorkerPool


class MemoryReport(NamedTuple):
    """A look at the memory of a machine, or of the control group that limits the node."""

    used: int
    """Bytes that cannot be given to others; without page cache."""
    limit: int
    processes: dict[int, int]
    """Bytes that each worker has for itself, by pid."""


class MemoryGuard:
    """Ends one worker at a time while memory is short, and gives the memory time to come back.

    A worker runs many tasks on one lease. How old its present task is shows from looks at the mark that each worker
    leaves when it starts a task (:meth:`thornback.core.ports.UserCode.mark_started`).
    """

    def __init__(
        self, clock: Clock, pool: WorkerPool, grants: RayletGrants, processes: Processes, config: Config
    ) -> None:
        self._clock = clock
        self._processes = processes
        self._running: dict[WorkerId, tuple[int | None, int]] = {}
        """The task that each worker has started last, and when that was first seen."""
        self._pool = pool
        self._grants = grants
        self._config = config
        self._quiet_until = 0
        self._victim: Worker | None = None

    def look(self) -> None:
        """Note which workers have started new tasks; called regularly, so that ages are known when memory is short."""
        before, self._running = self._running, {}
        for grant in self._grants.table.values():
            if grant.worker is not None:
                worker_id = grant.worker.worker_id
                started = self._processes.started_through(worker_id)
                known = before.get(worker_id)
                seen = self._clock.now() if known is None or known[0] != started else known[1]
                self._running[worker_id] = (started, seen)

    def check(self, report: MemoryReport) -> Worker | None:
        """End a worker if memory is short; returns it."""
        self.look()
        if report.used <= self._config.memory_threshold * report.limit or self._clock.now() < self._quiet_until:
            return None
        if self._victim is not None and self._victim.worker_id in self._pool.workers:
            return None
        grants = [grant for grant in self._grants.table.values() if grant.worker is not None]
        if not grants:
            return None
        worker = max(grants, key=self._preference).worker
        assert worker is not None
        self._victim = worker
        self._quiet_until = self._clock.now() + self._config.memory_kill_pause
        worker.out_of_memory = True
        self._pool.kill(worker, self._reason(worker, report))
        return worker

    def _preference(self, grant: Grant) -> tuple[int, int, int, bytes]:
        """Greatest for what should end first: tasks that can be run again before others, and before actors; among them
        the one that has started last."""
        assert grant.worker is not None
        kind = 0 if grant.request.actor_id else 2 if grant.request.retriable else 1
        _, since = self._running[grant.worker.worker_id]
        return kind, since, grant.since, grant.request.lease_id

    def on_memory_short(self, sender: Address, message: MemoryShort) -> None:
        """A fault is injected."""
        self.check(MemoryReport(1, 1, {}))

    def _reason(self, victim: Worker, report: MemoryReport) -> str:
        sizes = [(report.processes.get(worker.pid, 0), worker) for worker in self._pool.workers.values() if worker.pid]
        largest = sorted(sizes, key=lambda item: (-item[0], item[1].worker_id))[:5]
        others = ", ".join(f"{_name(worker)} {_mib(size)}" for size, worker in largest)
        return (
            f"it was ended to save its node's memory, of which {_mib(report.used)} of {_mib(report.limit)} were in use "
            f"({self._config.memory_threshold:.0%} is the limit); {_name(victim)} used "
            f"{_mib(report.processes.get(victim.pid, 0))}; the largest users were {others}. Give the task "
            "memory=<bytes> so that fewer run at a time"
        )


def _name(worker: Worker) -> str:
    return f"{worker.name or 'an idle worker'} (pid {worker.pid})"


def _mib(size: int) -> str:
    return f"{size / (1 << 20):,.0f} MiB"
