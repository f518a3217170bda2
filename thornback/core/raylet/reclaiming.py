"""Which leases a node asks back, so that those that wait get their part."""

from __future__ import annotations

from thornback.core.config import MILLISECOND, Config
from thornback.core.ids import Address, JobId, LeaseId, TaskId
from thornback.core.messages import ReclaimLeases, TakeBack
from thornback.core.ports import Ports
from thornback.core.raylet.grants import Grant, RayletGrants
from thornback.core.resources import Resources, add, subtract
from thornback.core.scheduling.fair_queue import FairQueue, Shape


class Reclaiming:
    """Takes leases back while others wait: at once those without work, and those in use by turns.

    Between jobs, the one with the largest weighted dominant share gives, as long as that brings the shares nearer to
    each other. Within a job, lower priorities give to higher ones, and among equals whoever has most.
    """

    def __init__(self, ports: Ports, grants: RayletGrants, queue: FairQueue, config: Config) -> None:
        self.clock = ports.clock
        self.transport = ports.transport
        self.grants = grants
        self.queue = queue
        self.config = config
        self._timer = False

    def end_turn(self) -> None:
        """While something waits, those who hold workers are asked for them."""
        if not self._may_win():
            return
        self._ask_for_idle()
        if not self._timer:
            self._timer = True
            self.clock.call_after(self.config.lease_quantum, self._reclaim)

    def ask_for_all(self) -> None:
        """All holders of workers for tasks are asked to return them as soon as what runs now has ended."""
        asked: dict[Address, list[LeaseId]] = {}
        for lease_id, grant in self.grants.table.items():
            if grant.worker is not None and not grant.request.actor_id and not grant.request.strategy.group:
                asked.setdefault(grant.request.holder, []).append(lease_id)
        for holder, lease_ids in asked.items():
            self.transport.send(holder, ReclaimLeases(tuple(lease_ids)))

    def _ask_for_idle(self) -> None:
        """Holders that keep workers without work are told, once, that others want them."""
        asked: dict[Address, list[LeaseId]] = {}
        only = self._only_shape()
        for lease_id, grant in self.grants.table.items():
            if grant.asked or grant.shape == only or not grant.has_task:
                continue
            grant.asked = True
            asked.setdefault(grant.request.holder, []).append(lease_id)
        for holder, lease_ids in asked.items():
            self.transport.send(holder, ReclaimLeases(tuple(lease_ids), when_idle=True))

    def _may_win(self) -> bool:
        """Whether something waits that could get a lease of others. The leases held change only in turns that end here,
        so that nothing has to be looked at again before."""
        if not self.queue and not self.grants.waiting_cpu:
            return False
        only = self._only_shape()
        return any(grant.shape != only for grant in self.grants.table.values())

    def _only_shape(self) -> Shape | None:
        """The shape of all that waits, if it is one: nothing is won by taking a lease of that shape for it."""
        shapes = self.queue.shapes()
        return shapes[0][0] if len(shapes) == 1 and not self.grants.waiting_cpu else None

    def _reclaim(self) -> None:
        self._timer = False
        if not self._may_win():
            return
        self._take_turns()
        self._timer = True
        self.clock.call_after(max(self.config.lease_quantum, MILLISECOND), self._reclaim)

    def _take_turns(self) -> None:
        round_ = _Round(self.grants)
        for grant in self.grants.waiting_cpu.values():
            victim = round_.from_largest(grant.request.strategy.group)
            if victim is not None:
                self.ask_back(victim)
        for shape, count, first in self.queue.shapes():
            quota = first.request.terms.quota
            if self.grants.shares.is_used_up(quota, shape.job_id, first.request.resources):
                continue
            for _ in range(count):
                victim = round_.for_one(shape)
                if victim is None:
                    break
                self.ask_back(victim)

    def on_take_back(self, sender: Address, message: TakeBack) -> None:
        """A job has more than its part of the cluster."""
        missing = dict(message.amounts)
        for grant in reversed(self.grants.table.values()):
            if not any(amount > 0 for amount in missing.values()):
                break
            if grant.request.job_id != message.from_job or grant.closing or not may_return(grant, self.grants):
                continue
            if not any(missing.get(name, 0) > 0 for name in grant.held):
                continue
            self.ask_back(grant)
            if grant.closing:
                grant.promised_to = message.for_job
                subtract(missing, grant.held)
        self.grants.changed = True

    def ask_back(self, grant: Grant) -> None:
        """Have a lease returned after what runs on it now, unless it has only begun."""
        now = self.clock.now()
        if grant.closing or grant.worker is None or now - grant.since < self.config.lease_quantum:
            return
        grant.closing = True
        run_time = grant.request.run_time
        grant.ends = now + run_time if run_time >= 0 else None
        self.transport.send(grant.request.holder, ReclaimLeases((grant.request.lease_id,)))


def may_return(grant: Grant, grants: RayletGrants) -> bool:
    """Whether the lease comes back to the node when its holder is asked for it."""
    return grant.pool is grants.free and grant.has_task


class _Round:
    """One look at who holds what, as it will be when the leases have come back that were asked for."""

    def __init__(self, grants: RayletGrants) -> None:
        self.shares = grants.shares
        self.free = grants.free.available
        self.change: dict[JobId, Resources] = {}
        """What jobs win and lose in this round."""
        self.gained: dict[Shape, int] = {}
        self.held: dict[TaskId, dict[Shape, list[Grant]]] = {}
        """Leases of tasks by placement group (empty: the node itself) and shape; those first that come back anyway."""
        for grant in sorted(grants.table.values(), key=lambda grant: not grant.closing):
            if grant.has_task:
                here = self.held.setdefault(grant.request.strategy.group, {})
                here.setdefault(grant.shape, []).append(grant)

    def from_largest(self, group: TaskId) -> Grant | None:
        """A lease of whoever has most."""
        here = self.held.get(group)
        return self._pop(here, max(here, key=lambda shape: len(here[shape]))) if here else None

    def for_one(self, shape: Shape) -> Grant | None:
        """A lease to make room for one request of the shape; None if nobody should give one."""
        here = self.held.get(shape.strategy.group)
        if not here:
            return None
        victim = self._richer_job(here, shape) or self._within_job(here, shape)
        if victim is None or not self._is_enough(here[victim][0], shape):
            return None
        self.gained[shape] = self.gained.get(shape, 0) + 1
        add(self.change.setdefault(shape.job_id, {}), dict(shape.resources))
        return self._pop(here, victim)

    def _richer_job(self, here: dict[Shape, list[Grant]], waiting: Shape) -> Shape | None:
        """The job with the largest share gives if it would not fall behind by that."""
        jobs = {shape.job_id: None for shape in here if shape.job_id != waiting.job_id}
        if not jobs:
            return None
        richest = max(jobs, key=self._share)
        gain = dict(self.change.get(waiting.job_id, {}))
        add(gain, dict(waiting.resources))
        if self._share(richest) < self.shares.of(waiting.job_id, gain):
            return None
        return max((shape for shape in here if shape.job_id == richest), key=lambda shape: len(here[shape]))

    def _is_enough(self, victim: Grant, waiting: Shape) -> bool:
        """One lease makes room. For what needs several, a reservation collects them."""
        if waiting.strategy.group:
            return True
        return all(self.free.get(name, 0) + victim.held.get(name, 0) >= amount for name, amount in waiting.resources)

    def _share(self, job: JobId) -> float:
        return self.shares.of(job, self.change.get(job))

    def _within_job(self, here: dict[Shape, list[Grant]], waiting: Shape) -> Shape | None:
        """Lower priorities give first; else the holder with most, if that is more than the waiting one has."""
        same = [shape for shape in here if shape.job_id == waiting.job_id and shape != waiting]
        same = [shape for shape in same if shape.priority <= waiting.priority]
        if not same:
            return None
        victim = min(same, key=lambda shape: (shape.priority, -len(here[shape])))
        mine = len(here.get(waiting, ())) + self.gained.get(waiting, 0)
        return victim if victim.priority < waiting.priority or len(here[victim]) > mine else None

    def _pop(self, here: dict[Shape, list[Grant]], shape: Shape) -> Grant:
        grant = here[shape].pop(0)
        if not here[shape]:
            del here[shape]
        subtract(self.change.setdefault(shape.job_id, {}), grant.held)
        return grant
