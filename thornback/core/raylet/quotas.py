"""Quotas of jobs on one node: leases are granted only within what the GCS has given to this node."""

from __future__ import annotations

from collections.abc import Mapping

from thornback.core.ids import GCS, Address, JobId
from thornback.core.messages import AskQuota, QuotaGiven, RequestLease
from thornback.core.ports import Transport
from thornback.core.raylet.grants import RayletGrants
from thornback.core.resources import Resources, add, describe, fits, total

AT_ONCE = 16
"""Most leases of a job for which a node asks at a time."""


class _Job:
    """A job that has a quota.

    Attributes:
        allowed: what its leases may hold here; never more than the GCS has counted for this node.
        wanted: demands that fitted this node in this turn but not into ``allowed``.
        told: what the GCS was last told: held, and wanted besides.
        number: of the last request to the GCS; an answer to an earlier one is void.
    """

    __slots__ = ("allowed", "number", "quota", "told", "wanted")

    def __init__(self, quota: Mapping[str, int]) -> None:
        self.quota = quota
        self.allowed: Resources = {}
        self.wanted: list[Resources] = []
        self.told: tuple[Resources, tuple[Resources, ...]] = ({}, ())
        self.number = 0


class RayletQuotas:
    """The quotas of the jobs that have one, as far as they concern this node."""

    def __init__(self, transport: Transport, grants: RayletGrants) -> None:
        self.transport = transport
        self.grants = grants
        self._jobs: dict[JobId, _Job] = {}
        self._numbers = 0

    def admit(self, request: RequestLease, demand: Mapping[str, int], count: int = 1) -> bool:
        """Whether a job may hold this besides what it has; if not, the GCS is asked at the end of the turn.

        Args:
            count: how many wait for the same.
        """
        quota = request.terms.quota
        if not quota:
            return True
        job = self._jobs.get(request.job_id)
        if job is None:
            job = self._jobs[request.job_id] = _Job(quota)
        counted = {name: amount for name, amount in demand.items() if name in quota}
        if fits(total((self._held(request.job_id, job), counted)), job.allowed):
            return True
        job.wanted += [counted] * min(count, AT_ONCE - len(job.wanted))
        return False

    def lacks(self, request: RequestLease) -> bool:
        """Whether a request waits for its job's quota."""
        job = self._jobs.get(request.job_id)
        return job is not None and not fits(
            total((self._held(request.job_id, job), {name: request.resources.get(name, 0) for name in job.quota})),
            job.allowed,
        )

    def _held(self, job_id: JobId, job: _Job) -> Resources:
        held: Resources = {}
        for grant in self.grants.table.values():
            if grant.request.job_id == job_id and grant.pool is self.grants.free and not grant.group_removed:
                add(held, grant.held)
        return {name: held[name] for name in job.quota if held.get(name)}

    def settle(self) -> None:
        """Tell the GCS what is held and wanted, where that has changed; what is not needed here is given back."""
        for job_id, job in list(self._jobs.items()):
            held, wanted = self._held(job_id, job), tuple(job.wanted)
            job.wanted = []
            if (held, wanted) != job.told or (not wanted and held != job.allowed):
                self._numbers += 1
                job.number, job.allowed, job.told = self._numbers, held, (held, wanted)
                self.transport.send(GCS, AskQuota(job_id, job.number, dict(job.quota), held, wanted))
            if not held and not wanted:
                del self._jobs[job_id]

    def tell_again(self) -> None:
        """The GCS is a new one: it must know what is held here before it gives anything to others, which it does as
        soon as it knows what else this node holds."""
        for job in self._jobs.values():
            job.told = ({}, ())
        self.grants.dirty = True
        self.settle()

    def on_quota_given(self, sender: Address, message: QuotaGiven) -> None:
        """More may be held here."""
        job = self._jobs.get(message.job_id)
        if job is not None and job.number == message.number:
            job.allowed = dict(message.allowed)
            job.told = (dict(message.allowed), ())
            self.grants.dirty = True


def why_never(request: RequestLease) -> str:
    """One sentence for a request that is larger than its job's quota; empty if it is not."""
    quota = request.terms.quota
    over = {name: most for name, most in quota.items() if request.resources.get(name, 0) > most}
    if not over:
        return ""
    return (
        f"{request.name} needs {describe(request.resources)}, more than the quota of its job, {describe(over)}; "
        "ask for less, or start the program with a larger quota in init(job_config=JobConfig(quota=...))"
    )
