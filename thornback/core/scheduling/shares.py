"""How much of the cluster each job has: the measure by which jobs are treated fairly."""

from __future__ import annotations

from collections.abc import Mapping

from thornback.core.ids import JobId
from thornback.core.resources import Resources, add, subtract


def dominant_share(held: Mapping[str, int], total: Mapping[str, int]) -> float:
    """The largest share of any resource of the cluster (Ghodsi et al., NSDI 2011, section 4)."""
    return max((amount / total[name] for name, amount in held.items() if amount > 0 and total.get(name)), default=0.0)


class Shares:
    """What each job holds, here and elsewhere, against what there is.

    Attributes:
        total: of the cluster, as far as known.
        weights: of the jobs that have another one than 1.
    """

    def __init__(self, total: Mapping[str, int]) -> None:
        self.total: Resources = dict(total)
        self.weights: dict[JobId, float] = {}
        self._here: dict[JobId, Resources] = {}
        self._elsewhere: dict[JobId, Resources] = {}

    def take(self, job: JobId, amounts: Mapping[str, int]) -> None:
        """A job got these here."""
        add(self._here.setdefault(job, {}), amounts)

    def give(self, job: JobId, amounts: Mapping[str, int]) -> None:
        """A job gave these back here."""
        held = self._here.get(job)
        if held is None:
            return
        subtract(held, amounts)
        if not any(held.values()):
            del self._here[job]

    def set_elsewhere(self, held: Mapping[JobId, Mapping[str, int]], total: Mapping[str, int]) -> None:
        """What jobs hold on other nodes, and what the cluster has."""
        self._elsewhere = {job: dict(amounts) for job, amounts in held.items()}
        self.total = dict(total)

    def held(self, job: JobId) -> Resources:
        """What the job has, here and elsewhere."""
        amounts = dict(self._here.get(job, {}))
        add(amounts, self._elsewhere.get(job, {}))
        return amounts

    def is_used_up(self, quota: Mapping[str, int], job: JobId, demand: Mapping[str, int]) -> bool:
        """Whether a job would be above its quota with the demand, as far as known here."""
        if not quota:
            return False
        held = self.held(job)
        return any(held.get(name, 0) + demand.get(name, 0) > most for name, most in quota.items())

    def here(self) -> Mapping[JobId, Resources]:
        """What each job has on this node."""
        return self._here

    def of(self, job: JobId, more: Mapping[str, int] | None = None) -> float:
        """Weighted dominant share of a job, with ``more`` on top of what it has (amounts may be negative)."""
        amounts = self.held(job)
        if more:
            add(amounts, more)
        return dominant_share(amounts, self.total) / self.weights.get(job, 1.0)
