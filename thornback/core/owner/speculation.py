"""``@remote(speculative=True)``: stragglers run a second time elsewhere, and the first result counts.

The second run of a task is a :class:`Task` of its own, the *copy*, with the same id and an attempt number of its own.
The task in the owner's table always stands for the run that counts, and the copy for the other: when the copy turns out
to be the better of the two, they exchange their places. Each is in the queue of the worker that it was sent to, so
that the end of either worker is noticed by the one that ran there.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from thornback.core.config import MILLISECOND
from thornback.core.ids import Address, node_of
from thornback.core.messages import CancelTask, TaskReply
from thornback.core.owner.scheduling_classes import Lease, SchedulingClass
from thornback.core.owner.task import DONE, PUSHED, QUEUED, SUPERSEDED, Task
from thornback.core.scheduling.speculation import may_run_twice, straggler_after

if TYPE_CHECKING:
    from thornback.core.owner.owner import Owner

WINDOW = 100
"""Run times of a function that are remembered."""
FUNCTIONS = 1000
"""Functions whose run times are remembered."""
LEAST_PERIOD = 2 * MILLISECOND
MOST_PERIOD = 100 * MILLISECOND
"""Between two looks for stragglers."""


class _Peers:
    """Finished runs of one template."""

    __slots__ = ("copies", "finished", "run_times")

    def __init__(self) -> None:
        self.run_times: deque[int] = deque(maxlen=WINDOW)
        self.finished = 0
        self.copies = 0


class Speculation:
    """Finds stragglers among the speculative tasks of this process, and sees to it that one of two runs counts."""

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.clock = owner.ports.clock
        self.transport = owner.ports.transport
        self.trace = owner.ports.trace
        self._peers: dict[bytes, _Peers] = {}
        self._watched: dict[SchedulingClass, None] = {}
        """Classes whose workers have speculative tasks."""
        self._timer = False

    # --- Stragglers

    def sent(self, group: SchedulingClass) -> None:
        """Workers of a class of speculative tasks have got some."""
        self._watched[group] = None
        if not self._timer:
            self._look_after(LEAST_PERIOD)

    def replied(self, lease: Lease, task: Task, alone: bool, run_time: int) -> None:
        """A run has ended.

        Args:
            alone: it is the only one that its message tells of: what has passed since the worker's last sign of life
                is then how long it took with everything, as this process sees it.
        """
        peers = self._peers.get(task.template.key)
        if peers is None:
            if len(self._peers) >= FUNCTIONS:
                del self._peers[next(iter(self._peers))]
            peers = self._peers[task.template.key] = _Peers()
        peers.finished += 1
        peers.run_times.append(max(run_time, self.clock.now() - lease.since) if alone else run_time)

    def _look_after(self, delay: int) -> None:
        self._timer = True
        self.clock.call_after(delay, self._look)

    def _look(self) -> None:
        self._timer = False
        period = MOST_PERIOD
        limits = {key: straggler_after(peers.run_times) for key, peers in self._peers.items()}
        for group in list(self._watched):
            running = [lease for lease in group.leases.values() if lease.in_flight]
            if not running:
                del self._watched[group]
            for lease in running:
                task = next(iter(lease.in_flight.values()))
                limit = limits.get(task.template.key)
                if limit is not None:
                    period = min(period, limit // 8)
                    if not lease.blocked and self.clock.now() - lease.since > limit:
                        self._run_twice(task)
        if self._watched:
            self._look_after(max(LEAST_PERIOD, period))

    def _run_twice(self, task: Task) -> None:
        peers = self._peers[task.template.key]
        if task.state != PUSHED or task.twin is not None or task.cancelled or task.failed_once:
            return
        if not may_run_twice(peers.finished, peers.copies):
            return
        peers.copies += 1
        copy = Task(
            task.task_id, task.template, task.arguments, task.dependencies, task.parent, task.actor_id, 0, state=QUEUED
        )
        copy.attempt = task.last_attempt = task.next_attempt()
        copy.twin, task.twin = task, copy
        if self.trace.enabled:
            self.trace.event("task.speculated", task.task_id, copy.attempt)
        leases = self.owner.leases
        group = leases.classes.away_from(node_of(task.worker), task.template)
        group.queue.append(copy)
        leases.touch(group)

    # --- One of two counts

    def is_copy(self, task: Task) -> bool:
        """Whether this is the run that does not count (any more)."""
        return task.state == SUPERSEDED or (
            task.twin is not None and self.owner.tasks.table.get(task.task_id) is not task
        )

    def reply_of_copy(self, task: Task, sender: Address, reply: TaskReply) -> bool:
        """Whether a reply that is not from the present run of the task is from its copy, which counts from now on."""
        copy = task.twin
        if copy is None or copy.state != PUSHED or copy.attempt != reply.attempt or copy.worker != sender:
            return False
        self._exchange(task, copy)
        return True

    def _exchange(self, task: Task, copy: Task) -> None:
        leases = self.owner.leases.by_id
        for run in (task, copy):
            lease = leases.get(run.lease_id)
            if lease is not None and lease.in_flight.get(run.task_id) is run:
                lease.in_flight[run.task_id] = copy if run is task else task
        task.worker, copy.worker = copy.worker, task.worker
        task.lease_id, copy.lease_id = copy.lease_id, task.lease_id
        task.sequence, copy.sequence = copy.sequence, task.sequence
        task.attempt, copy.attempt = copy.attempt, task.attempt
        task.state, copy.state = copy.state, task.state

    def other_goes_on(self, task: Task) -> Task | None:
        """A run has ended without a result. If another run of the task goes on, that counts from now on, and the ended
        one is returned; otherwise a copy that has not begun is withdrawn."""
        copy = task.twin
        if copy is None:
            return None
        if copy.state != PUSHED or task.cancelled:
            self.settle(task)
            return None
        self._exchange(task, copy)
        self._sever(task, copy)
        copy.state = DONE
        return copy

    def run_failed(self, task: Task) -> Task | None:
        """The present run has ended with an error of its own. If another run goes on, that decides what becomes of the
        task, and the ended one is returned."""
        ended = self.other_goes_on(task)
        task.failed_once = ended is not None
        return ended

    def copy_ended(self, copy: Task) -> None:
        """The run that does not count has ended without a result, or has not begun and cannot."""
        if copy.twin is not None:
            self._sever(copy.twin, copy)
        copy.state = DONE

    def settle(self, task: Task, force: bool = False) -> None:
        """The task has ended, or is about to: stop its copy."""
        copy = task.twin
        if copy is None:
            return
        self._sever(task, copy)
        if copy.state == PUSHED:
            copy.state = SUPERSEDED
            self.transport.send(copy.worker, CancelTask(copy.task_id, force, True))
        else:
            copy.state = DONE
            self._withdraw(copy)

    def _withdraw(self, copy: Task) -> None:
        for group in self.owner.leases.classes.of_copies(copy.template):
            if copy in group.queue:
                group.queue.remove(copy)
                self.owner.leases.touch(group)

    @staticmethod
    def _sever(task: Task, copy: Task) -> None:
        task.twin = copy.twin = None

    def loser_replied(self, lease: Lease, reply: TaskReply) -> None:
        """A reply came whose result nobody wants: its worker is free again if it was from the loser of two runs."""
        loser = lease.in_flight.get(reply.task_id)
        if loser is not None and loser.state == SUPERSEDED and loser.attempt == reply.attempt:
            del lease.in_flight[reply.task_id]
            loser.state = DONE
