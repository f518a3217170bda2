"""Room kept for whoever would starve otherwise, and what may go ahead meanwhile (EASY backfilling: Lifka, "The
ANL/IBM SP Scheduling System", JSSPP 1995)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from thornback.core.ids import LeaseId
from thornback.core.resources import GPU, Resources, fits, subtract, total
from thornback.core.scheduling.pools import GpuParts, ResourcePool


class Running(NamedTuple):
    """A lease that comes back when it is asked for."""

    lease_id: LeaseId
    held: Mapping[str, int]
    gpus: GpuParts
    ends: int | None
    """When that is expected, in nanoseconds; None if nobody knows."""


class Reservation:
    """What is kept free on a node.

    Attributes:
        key: for whom.
        back: leases that have to come back for that.
        ends: when the last of them is expected back; None if nobody knows.
        spare: what will be free besides at that time: others may have it in the meantime.
    """

    __slots__ = ("back", "ends", "key", "spare")

    def __init__(self, key: bytes, back: tuple[LeaseId, ...], ends: int | None, spare: Resources) -> None:
        self.key = key
        self.back = back
        self.ends = ends
        self.spare = spare

    def admits(self, demand: Mapping[str, int], until: int | None) -> bool:
        """Whether something else may start although it came later: it takes only what is spare, or is over before the
        reserved room is complete (``until``: when it ends, None if unknown)."""
        if fits(demand, self.spare):
            return True
        return until is not None and self.ends is not None and until <= self.ends

    def started(self, demand: Mapping[str, int], until: int | None) -> bool:
        """Something else has started; True if it counts on being over in time, so that it must be asked back."""
        if fits(demand, self.spare):
            subtract(self.spare, demand)
            return False
        return True


def reserve(
    key: bytes, demands: Sequence[Mapping[str, int]], pool: ResourcePool, running: Sequence[Running], now: int
) -> Reservation | None:
    """The reservation under which the demands fit soonest; None if they do not, even if all that runs came back."""
    scratch = ResourcePool(pool.total, pool.gpus)
    scratch.available.clear()
    scratch.available.update(pool.available)
    wanted = total(demands)
    back: list[LeaseId] = []
    ends: int | None = now
    for lease in sorted(running, key=lambda lease: (lease.ends is None, lease.ends or 0)):
        if _fit(demands, scratch):
            break
        if not _helps(lease, wanted, scratch):
            continue
        scratch.give(lease.held, lease.gpus)
        back.append(lease.lease_id)
        ends = None if lease.ends is None or ends is None else max(ends, lease.ends)
    if not _fit(demands, scratch):
        return None
    for demand in demands:
        scratch.take(demand)
    return Reservation(key, tuple(back), ends, dict(scratch.available))


def _helps(lease: Running, wanted: Mapping[str, int], pool: ResourcePool) -> bool:
    """Whether the lease holds something that is short."""
    for name, amount in wanted.items():
        if lease.held.get(name) and (name == GPU or pool.available.get(name, 0) < amount):
            return True
    return False


def _fit(demands: Sequence[Mapping[str, int]], pool: ResourcePool) -> bool:
    """Whether all fit at the same time, GPU by GPU."""
    taken: list[tuple[Mapping[str, int], GpuParts]] = []
    for demand in demands:
        if not pool.fits(demand):
            break
        taken.append((demand, pool.take(demand)))
    for demand, gpus in taken:
        pool.give(demand, gpus)
    return len(taken) == len(demands)
