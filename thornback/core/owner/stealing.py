"""Stealing between nodes: idle workers take tasks that wait for another node, where that is worth moving their
arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thornback.core.config import Config
from thornback.core.ids import NodeId, node_of
from thornback.core.owner.scheduling_classes import Lease, SchedulingClass, Shape
from thornback.core.owner.task import Task
from thornback.core.scheduling.stealing import moving_time, patience, should_move, waiting_time

if TYPE_CHECKING:
    from thornback.core.owner.leases import Leases
    from thornback.core.owner.owner import Owner

LOOK_AHEAD = 32
"""Tasks of a queue among which a worker elsewhere finds the one that it has most arguments of."""


class Stealing:
    """Decides which of this process's workers take tasks of classes that prefer another node."""

    def __init__(self, owner: Owner, leases: Leases, config: Config) -> None:
        self.leases = leases
        self.classes = leases.classes
        self.clock = owner.ports.clock
        self.bandwidth = config.link_bandwidth
        self._links: dict[NodeId, int] = {}
        """Until when the outgoing link of a node is expected to be busy with arguments of our tasks."""

    # --- One class

    def extra_time(self, group: SchedulingClass, task: Task, node: NodeId) -> int:
        """How much longer a task of the class takes on that node than on the one that it prefers."""
        if node == group.node or not group.bound:
            return 0
        size = self.classes.missing_bytes(task, node)
        return moving_time(size, self.bandwidth, max(0, self._links.get(group.node, 0) - self.clock.now()))

    def least_extra(self, group: SchedulingClass, task: Task) -> int:
        """The extra time of a task on the best of the class's workers without work; there is one."""
        return min(self.extra_time(group, task, node_of(lease.worker_id)) for lease in group.idle.values())

    def _waiting_time(self, group: SchedulingClass) -> int:
        run_time = self.leases.run_times.get(group.queue[0].template.key, 0)
        return waiting_time(len(group.queue), run_time, len(group.leases) - len(group.idle))

    def patience(self, group: SchedulingClass) -> int:
        """How long a request of the class, which has tasks, waits at the node that it prefers."""
        if not group.bound:
            return 0
        size = self.classes.missing_bytes(group.queue[0], b"")
        return patience(moving_time(size, self.bandwidth), self._waiting_time(group))

    def in_order(self, group: SchedulingClass) -> list[Lease]:
        """The workers of the class without work, those on the preferred node first."""
        return sorted(group.idle.values(), key=lambda lease: node_of(lease.worker_id) != group.node)

    def may_take(self, group: SchedulingClass, lease: Lease) -> bool:
        """Whether a worker of the class takes the first task that waits."""
        node = node_of(lease.worker_id)
        if node == group.node:
            group.held_since = 0
            return True
        now = self.clock.now()
        task = self._nearest_first(group, node)
        extra = self.extra_time(group, task, node)
        group.held_since = group.held_since or now
        if not should_move(extra, self._waiting_time(group), now - group.held_since):
            self._look_again(group, extra - (now - group.held_since))
            return False
        size = self.classes.missing_bytes(task, node)
        if size:
            self._links[group.node] = max(now, self._links.get(group.node, 0)) + moving_time(size, self.bandwidth)
        return True

    def _nearest_first(self, group: SchedulingClass, node: NodeId) -> Task:
        """The first task of the queue, after the one among the next few that has most of its arguments on the node was
        put there. None is passed over for ever."""
        queue = group.queue
        least = self.classes.missing_bytes(queue[0], node)
        best = 0
        if group.passed_over < LOOK_AHEAD:
            for index in range(1, min(len(queue), LOOK_AHEAD)):
                if not least or queue[index].template.priority != queue[0].template.priority:
                    break
                size = self.classes.missing_bytes(queue[index], node)
                if size < least:
                    best, least = index, size
        if best:
            task = queue[best]
            queue.remove(task)
            queue.appendleft(task)
            group.passed_over += 1
        else:
            group.passed_over = 0
        return queue[0]

    def _look_again(self, group: SchedulingClass, delay: int) -> None:
        if not group.hold_timer:
            group.hold_timer = True
            self.clock.call_after(max(1, delay), lambda: self._held_enough(group))

    def _held_enough(self, group: SchedulingClass) -> None:
        group.hold_timer = False
        if group.queue and group.idle:
            self.leases.touch(group)

    # --- Between the classes of one shape

    def lend(self, group: SchedulingClass) -> None:
        """Note what the class has too much or too little of, and bring idle workers to tasks that wait."""
        shape = group.shape
        if group.queue:
            shape.loaded[group] = None
            if group.avoid:
                shape.copies[group] = None
        else:
            shape.copies.pop(group, None)
            shape.loaded.pop(group, None)
            group.held_since = 0
        if group.idle and not group.queue:
            shape.spare[group] = None
        else:
            shape.spare.pop(group, None)
        if shape.loaded and shape.spare:
            self._match(shape)

    def serve_copies(self, group: SchedulingClass) -> None:
        """Workers without work do second runs first, which are few and late."""
        if group.avoid:
            return
        for copies in list(group.shape.copies):
            wanted = len(copies.queue) - len(copies.idle)
            usable = [lease for lease in group.idle.values() if node_of(lease.worker_id) != copies.avoid]
            for lease in usable[: max(0, wanted)]:
                self._give(lease, copies)

    def _match(self, shape: Shape) -> None:
        open_tasks = {group: len(group.queue) - len(group.idle) for group in shape.loaded if group.queue}
        for spare in list(shape.spare):
            for lease in list(spare.idle.values()):
                target = self._best_use(lease, open_tasks)
                if target is not None:
                    open_tasks[target] -= 1
                    self._give(lease, target)
            if not spare.idle:
                shape.spare.pop(spare, None)

    def _best_use(self, lease: Lease, open_tasks: dict[SchedulingClass, int]) -> SchedulingClass | None:
        node = node_of(lease.worker_id)
        best: SchedulingClass | None = None
        most = -1
        for group, count in open_tasks.items():
            if count <= 0 or group.avoid == node:
                continue
            gain = self._waiting_time(group) - self.extra_time(group, group.queue[0], node)
            if group.bound and group.node == node:
                return group
            if gain > most:
                best, most = group, gain
        return best

    def _give(self, lease: Lease, target: SchedulingClass) -> None:
        source = lease.group
        del source.leases[lease.lease_id]
        del source.idle[lease.lease_id]
        source.deep.pop(lease.lease_id, None)
        lease.group = target
        target.leases[lease.lease_id] = lease
        target.idle[lease.lease_id] = lease
        self.leases.touch(source)
        self.leases.touch(target)

    def node_died(self, node: NodeId) -> None:
        """Nothing is moved from there any more."""
        self._links.pop(node, None)
