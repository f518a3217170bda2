"""Room that was taken back from one job for another, which may have to come from another node to use it."""

from __future__ import annotations

from collections.abc import Mapping

from thornback.core.ids import JobId
from thornback.core.ports import Clock
from thornback.core.resources import Resources, add, fits

KEPT = 10
"""View periods for which room is kept."""


class Promise:
    """Room for one job, for a while."""

    __slots__ = ("amounts", "until")

    def __init__(self) -> None:
        self.amounts: Resources = {}
        self.until = 0


class Promises:
    """Room of one node that is kept for jobs below their share."""

    def __init__(self, clock: Clock, period: int) -> None:
        self.clock = clock
        self.table: dict[JobId, Promise] = {}
        self._kept = KEPT * period

    def make(self, job_id: JobId, amounts: Mapping[str, int]) -> None:
        """Keep this for the job; it is free now."""
        promise = self.table.setdefault(job_id, Promise())
        add(promise.amounts, amounts)
        promise.until = self.clock.now() + self._kept

    def admit(self, job_id: JobId, demand: Mapping[str, int], available: Mapping[str, int]) -> bool:
        """Whether a job may take this without touching what is kept for others."""
        if not self.table:
            return True
        self._expire()
        needed = dict(demand)
        for other, promise in self.table.items():
            if other != job_id:
                add(needed, promise.amounts)
        return fits(demand, available) and all(
            available.get(name, 0) >= amount for name, amount in needed.items() if demand.get(name)
        )

    def taken(self, job_id: JobId, demand: Mapping[str, int]) -> None:
        """The job has started something: that much less is kept for it."""
        promise = self.table.get(job_id)
        if promise is None:
            return
        for name, amount in demand.items():
            promise.amounts[name] = max(0, promise.amounts.get(name, 0) - amount)
        if not any(promise.amounts.values()):
            del self.table[job_id]

    def _expire(self) -> None:
        now = self.clock.now()
        for job_id in [job_id for job_id, promise in self.table.items() if promise.until <= now]:
            del self.table[job_id]
