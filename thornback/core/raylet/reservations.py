"""Who has waited for so long that this node keeps room for it: large requests, and bundles of placement groups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from thornback.core.config import Config
from thornback.core.messages import RequestLease
from thornback.core.ports import Ports
from thornback.core.raylet.grants import Grant, RayletGrants
from thornback.core.raylet.reclaiming import Reclaiming, may_return
from thornback.core.resources import Resources
from thornback.core.scheduling.backfill import Reservation, Running, reserve
from thornback.core.scheduling.fair_queue import FairQueue, Waiting, shape_of


class Reservations:
    """At most one reservation at a time. What comes back is kept for it, and the rest of the queue goes ahead only as
    far as that does not delay it.

    Attributes:
        current: the reservation, if there is one.
        bundles: placement groups that wait for room on this node, with the bundles that they want; they come first.
        stuck: the request whose turn it was but for which no room can be made here.
    """

    def __init__(
        self, ports: Ports, grants: RayletGrants, queue: FairQueue, reclaiming: Reclaiming, config: Config
    ) -> None:
        self.clock = ports.clock
        self.grants = grants
        self.queue = queue
        self.reclaiming = reclaiming
        self.config = config
        self.current: Reservation | None = None
        self.bundles: dict[bytes, Sequence[Resources]] = {}
        self.stuck: Waiting | None = None
        self._latest: int | None = None
        """When the room was first expected to be complete: nothing that ends later may go ahead."""
        self._timer = False

    # --- Making them

    def update(self) -> None:
        """Look who has waited too long, before the queue is served."""
        before = self.current
        self.current = self.stuck = None
        if self.bundles or self.queue:
            self._reserve()
            self._watch()
        current = self.current
        if current is None:
            return
        if before is None or before.key != current.key:
            self._latest = current.ends
        current.ends = None if current.ends is None or self._latest is None else min(current.ends, self._latest)
        for lease_id in current.back:
            self.reclaiming.ask_back(self.grants.table[lease_id])
        for grant in self.grants.table.values():
            if grant.short:
                self.reclaiming.ask_back(grant)

    def _reserve(self) -> None:
        """The next that has waited too long and for which room can be made."""
        now = self.clock.now()
        running: list[Running] | None = None
        for key, demands, waiting in self._candidates(now):
            if running is None:
                running = [
                    _running(grant, now) for grant in self.grants.table.values() if may_return(grant, self.grants)
                ]
            self.current = reserve(key, demands, self.grants.free, running, now)
            if self.current is not None:
                return
            self.stuck = self.stuck or waiting

    def _candidates(self, now: int) -> Iterator[tuple[bytes, Sequence[Mapping[str, int]], Waiting | None]]:
        for group_id, demands in list(self.bundles.items()):
            yield group_id, demands, None
        deadline = now - self.config.reservation_after
        old = [(shape, first) for shape, _, first in self.queue.shapes() if first.since <= deadline]
        if not old:
            return
        served = {shape_of(grant.request) for grant in self.grants.table.values()}
        starved = [
            first
            for shape, first in old
            if not shape.strategy.group
            and not self.grants.shares.is_used_up(first.request.terms.quota, shape.job_id, first.request.resources)
            and (shape not in served or self._is_behind(first.request))
        ]
        shares = self.grants.shares
        starved.sort(key=lambda each: (shares.of(each.request.job_id), -each.request.priority, each.number))
        for waiting in starved:
            yield waiting.request.lease_id, (waiting.request.resources,), waiting

    def _is_behind(self, request: RequestLease) -> bool:
        """Whether another job would keep more than the request's job has with it."""
        shares = self.grants.shares
        mine = shares.of(request.job_id, request.resources)
        return any(shares.of(job) > mine for job in shares.here() if job != request.job_id)

    def _watch(self) -> None:
        if not self._timer:
            self._timer = True
            delay = self.config.reservation_after if self.current is None else self.config.lease_quantum
            self.clock.call_after(delay, self._look_again)

    def _look_again(self) -> None:
        self._timer = False
        if self.bundles or self.queue:
            self.grants.dirty = True

    # --- Keeping them

    def admits(self, key: bytes, demands: Sequence[Mapping[str, int]], run_time: int = -1) -> bool:
        """Whether something that fits now may start."""
        if self.current is None or key == self.current.key:
            return True
        until = self._until(run_time)
        return all(self.current.admits(demand, until) for demand in demands)

    def started(self, grant: Grant) -> None:
        """Something has started."""
        request = grant.request
        if self.current is None:
            return
        if request.lease_id == self.current.key:
            self.current = None
        else:
            grant.short = self.current.started(request.resources, self._until(request.run_time))

    def taken(self, key: bytes, demands: Sequence[Mapping[str, int]]) -> None:
        """Something other than a lease has started, for good."""
        if key == (self.current and self.current.key):
            self.current = None
        if self.current is not None:
            for demand in demands:
                self.current.started(demand, None)

    def released(self, key: bytes) -> None:
        """Nobody waits for the room any more."""
        if self.current is not None and self.current.key == key:
            self.current = None
            self.grants.dirty = True

    def _until(self, run_time: int) -> int | None:
        return None if run_time < 0 else self.clock.now() + self.config.lease_quantum + run_time


def _running(grant: Grant, now: int) -> Running:
    run_time = grant.request.run_time
    ends = now + run_time if run_time >= 0 else None
    if grant.ends is not None:
        ends = max(grant.ends, now)
    return Running(grant.request.lease_id, grant.held, grant.gpus, ends)
