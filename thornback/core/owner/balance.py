"""Balance between the workers of a scheduling class: tasks that are queued on one go to another that can start them
sooner."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thornback.core.config import MILLISECOND
from thornback.core.ids import Address
from thornback.core.messages import StealTasks, TasksReturned
from thornback.core.owner.scheduling_classes import SchedulingClass

if TYPE_CHECKING:
    from thornback.core.owner.leases import Leases
    from thornback.core.owner.owner import Owner

STALL = 10 * MILLISECOND
"""A worker that has not answered for this long runs a long task: what is queued behind it goes elsewhere."""


class Balance:
    """Takes queued tasks back from loaded workers."""

    def __init__(self, owner: Owner, leases: Leases) -> None:
        self.owner = owner
        self.leases = leases
        self.clock = owner.ports.clock
        self.transport = owner.ports.transport

    def share(self, group: SchedulingClass) -> None:
        """Workers without work take some from those that have most."""
        for lease_id in [key for key, lease in group.deep.items() if len(lease.in_flight) <= 1]:
            del group.deep[lease_id]
        loaded = [lease for lease in group.deep.values() if not lease.stealing]
        if not loaded:
            return
        loaded.sort(key=lambda lease: -len(lease.in_flight))
        for lease in loaded[: len(group.idle)]:
            left = len(lease.in_flight)
            last = next(reversed(lease.in_flight.values()))
            run_time = self.leases.run_times.get(last.template.key, 0)
            extra = self.leases.stealing.least_extra(group, last) if group.bound else 0
            if left * run_time >= max(MILLISECOND, 2 * extra):
                lease.stealing = True
                self.transport.send(lease.worker_id, StealTasks(lease.lease_id, left // 2))

    def watch(self, group: SchedulingClass) -> None:
        """Look again after a while whether a long task keeps others waiting."""
        group.stall_timer = True
        self.clock.call_after(STALL, lambda: self._check_stalls(group))

    def _check_stalls(self, group: SchedulingClass) -> None:
        now = self.clock.now()
        working = False
        for lease in group.deep.values():
            if lease.blocked:
                continue
            working = working or len(lease.in_flight) > 1
            if len(lease.in_flight) > 1 and not lease.stealing and now - lease.progress >= STALL:
                lease.stealing = True
                group.open.pop(lease.lease_id, None)
                self.transport.send(lease.worker_id, StealTasks(lease.lease_id, len(lease.in_flight) - 1))
        group.stall_timer = False
        if working:
            self.watch(group)

    def on_tasks_returned(self, sender: Address, message: TasksReturned) -> None:
        """A worker gives tasks back that it has not started."""
        lease = self.leases.by_id.get(message.lease_id)
        if lease is None:
            return
        lease.stealing = False
        returned = [lease.in_flight.pop(task_id) for task_id in message.task_ids if task_id in lease.in_flight]
        for task in returned:
            self.owner.tasks.returned(task)
        if not lease.in_flight and not lease.blocked:
            self.leases.set_idle(lease)
        self.leases.touch(lease.group)
