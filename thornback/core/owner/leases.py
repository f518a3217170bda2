"""Leased workers and the tasks queued for them: how tasks of this process get to run.

Tasks queue by *scheduling class* (resources, strategy, runtime environment, preferred node). For each class the owner
leases workers from raylets and keeps each one's queue as deep as its tasks are short, so that a microsecond task never
waits for a message round trip and a long one never waits behind another. Workers without work get some back from loaded
ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from thornback.core import errors
from thornback.core.config import Config
from thornback.core.ids import Address, LeaseId, node_of, short
from thornback.core.messages import (
    LeaseBlocked,
    LeaseLost,
    LeaseUnblocked,
    PushTasks,
    ReclaimLeases,
    ReturnLease,
    StealTasks,
    TaskCall,
    TaskReplies,
    TaskReply,
    TaskTemplate,
)
from thornback.core.owner.balance import Balance
from thornback.core.owner.lease_requests import LeaseRequests
from thornback.core.owner.scheduling_classes import TEMPLATES, Lease, SchedulingClass, SchedulingClasses
from thornback.core.owner.stealing import Stealing
from thornback.core.owner.task import PUSHED, QUEUED, Task

if TYPE_CHECKING:
    from thornback.core.owner.owner import Owner


class Leases:
    """All leases of one process, by scheduling class."""

    def __init__(self, owner: Owner, config: Config) -> None:
        self.owner = owner
        self.config = config
        self.clock = owner.ports.clock
        self.transport = owner.ports.transport
        self.node_id = node_of(owner.worker_id)
        self.classes = SchedulingClasses(owner)
        self.requests = LeaseRequests(owner, config)
        self.balance = Balance(owner, self)
        self.stealing = Stealing(owner, self, config)
        self.parts = (self, self.requests, self.balance)
        self.by_id: dict[LeaseId, Lease] = {}
        self.run_times: dict[bytes, int] = {}
        """Recent run time by template, nanoseconds."""
        self.urgent = False
        """Whether an idle worker could start something that waits here, or a first worker has to be asked for."""
        self.dirty: dict[SchedulingClass, None] = {}
        self._wanted: dict[LeaseId, Lease] = {}
        """Those that raylets want back as soon as there is no work for them."""

    # --- Queueing

    def enqueue(self, task: Task) -> None:
        """The task may run; it is sent at the end of the turn."""
        group = self.classes.of(task)
        group.queue.append(task)
        self.dirty[group] = None
        if group.idle or not (group.leases or group.requests):
            self.urgent = True

    def withdraw(self, task: Task) -> None:
        """The task was cancelled before it was sent."""
        if task.state == QUEUED and not task.actor_id:
            group = self.classes.of(task)
            if task in group.queue:
                group.queue.remove(task)
                self.dirty[group] = None

    # --- Dispatch

    def end_turn(self) -> None:
        """Send what can be sent, ask for workers, give back those without work."""
        self.urgent = False
        while self.dirty:
            dirty, self.dirty = self.dirty, {}
            for group in dirty:
                self._dispatch(group)

    def _dispatch(self, group: SchedulingClass) -> None:
        if group.idle and group.shape.copies:
            self.stealing.serve_copies(group)
        if group.queue and group.leases:
            self._fill(group)
        if len(group.shape.classes) > 1:
            self.stealing.lend(group)
        if group.queue:
            self.requests.ask_for_more(group)
        elif group.requests:
            self.requests.cancel_all(group)
        if group.idle:
            if not group.queue:
                self.balance.share(group)
                for lease in [lease for lease_id, lease in self._wanted.items() if lease_id in group.idle]:
                    self._return(lease)
            self._schedule_return(group)
        if not group.stall_timer and group.deep:
            self.balance.watch(group)
        self.classes.drop_if_unused(group)

    def _depth(self, template: TaskTemplate) -> int:
        run_time = self.run_times.get(template.key)
        if run_time is None or template.max_calls == 1:
            return 1
        config = self.config
        if run_time > config.pipeline_target:
            return 1
        return max(1, min(config.pipeline_depth, config.pipeline_target // max(run_time, 1)))

    def _fill(self, group: SchedulingClass) -> None:
        queue = group.queue
        share = max(1, -(-len(queue) // (len(group.leases) + len(group.requests))))
        bound = group.bound
        for lease in self.stealing.in_order(group) if bound else list(group.idle.values()):
            if not queue:
                return
            if not bound or self.stealing.may_take(group, lease):
                depth = self._depth(queue[0].template)
                self._push(lease, min(share, depth))
                if depth > 1 and lease.in_flight:
                    group.open[lease.lease_id] = lease
        for lease in list(group.open.values()):
            if not queue:
                return
            room = self._depth(queue[0].template) - len(lease.in_flight)
            if room > 0 and not lease.blocked and not lease.closing:
                if bound and not self.stealing.may_take(group, lease):
                    continue
                self._push(lease, min(share, room))
            if room <= share:
                group.open.pop(lease.lease_id, None)

    def _push(self, lease: Lease, count: int) -> None:
        group = lease.group
        queue = group.queue
        if not lease.in_flight:
            lease.progress = lease.since = self.clock.now()
            group.idle.pop(lease.lease_id, None)
        batch: list[TaskCall] = []
        templates: list[TaskTemplate] = []
        functions: list[bytes] = []
        tasks = self.owner.tasks
        while queue and count > 0:
            task = queue.popleft()
            if task.state != QUEUED or (task.dependencies and not tasks.still_resolved(task)):
                continue
            count -= 1
            lease.next_sequence += 1
            task.sequence = lease.next_sequence
            task.state = PUSHED
            task.worker = lease.worker_id
            task.lease_id = lease.lease_id
            lease.in_flight[task.task_id] = task
            template = task.template
            if template.key not in lease.templates:
                if len(lease.templates) >= TEMPLATES:
                    lease.templates.clear()
                lease.templates.add(template.key)
                templates.append(template)
                if template.function_id not in lease.functions:
                    lease.functions.add(template.function_id)
                    functions.append(template.function_id)
            batch.append(tasks.call_of(task))
            if len(batch) >= self.config.push_batch:
                self._send(lease, functions, templates, batch)
                functions, templates, batch = [], [], []
        if batch:
            self._send(lease, functions, templates, batch)
            if group.speculative:
                self.owner.speculation.sent(group)
        if len(lease.in_flight) > 1:
            group.deep[lease.lease_id] = lease
        elif not lease.in_flight:
            self.set_idle(lease)

    def set_idle(self, lease: Lease) -> None:
        """The worker has nothing to do."""
        lease.group.open.pop(lease.lease_id, None)
        if lease.closing:
            self._return(lease)
        else:
            lease.group.idle[lease.lease_id] = lease

    def _send(self, lease: Lease, functions: list[bytes], templates: list[TaskTemplate], batch: list[TaskCall]) -> None:
        known = self.owner.tasks.definitions
        definitions = tuple(known[function_id] for function_id in functions) if functions else ()
        push = PushTasks(lease.lease_id, definitions, tuple(templates), tuple(batch), lease.gpu_ids)
        self.transport.send(lease.worker_id, push)

    def touch(self, group: SchedulingClass) -> None:
        """Something about the class has changed: it is looked at when the turn ends."""
        self.dirty[group] = None

    def add(self, lease: Lease) -> None:
        """A worker was granted."""
        self.by_id[lease.lease_id] = lease
        lease.group.leases[lease.lease_id] = lease
        lease.group.idle[lease.lease_id] = lease
        self.dirty[lease.group] = None

    # --- Answers of raylets

    def on_reclaim_leases(self, sender: Address, message: ReclaimLeases) -> None:
        """Others wait for these workers: they go back when idle, or as soon as what runs on them now has ended."""
        for lease_id in message.lease_ids:
            lease = self.by_id.get(lease_id)
            if lease is None or lease.closing:
                continue
            if message.when_idle:
                self._wanted[lease_id] = lease
                self.dirty[lease.group] = None
                continue
            lease.closing = True
            lease.group.open.pop(lease_id, None)
            if not lease.in_flight and not lease.blocked:
                self._return(lease)
            elif len(lease.in_flight) > 1 and not lease.stealing:
                lease.stealing = True
                self.transport.send(lease.worker_id, StealTasks(lease_id, len(lease.in_flight)))

    def on_lease_lost(self, sender: Address, message: LeaseLost) -> None:
        """A leased worker ended."""
        lease = self.by_id.get(message.lease_id)
        if lease is None:
            return
        error_type: type[errors.WorkerCrashedError] = errors.WorkerCrashedError
        if message.out_of_memory:
            error_type = errors.OutOfMemoryError
        elif message.drained:
            error_type = errors.NodeDiedError
        if message.group_removed:
            self._lost_with_group(lease)
        else:
            self._lost(lease, error_type, message.reason, message.started_through, message.drained)

    def _lost_with_group(self, lease: Lease) -> None:
        self._remove(lease)
        group_id = short(lease.group.template.strategy.group)
        for task in lease.in_flight.values():
            text = f"{task.template.name} ran in placement group {group_id}, which was removed"
            self.owner.tasks.fail(task, errors.TaskPlacementGroupRemoved(text))

    def _lost(
        self,
        lease: Lease,
        error_type: type[errors.WorkerCrashedError],
        reason: str,
        through: int | None,
        drained: bool = False,
    ) -> None:
        self._remove(lease)
        for task in lease.in_flight.values():
            started = through is None or task.sequence <= through
            text = f"the worker {short(lease.worker_id)} that ran {task.template.name} ended: {reason}"
            self.owner.tasks.lost(task, error_type(text), started, drained)

    def _remove(self, lease: Lease) -> None:
        del self.by_id[lease.lease_id]
        del lease.group.leases[lease.lease_id]
        lease.group.idle.pop(lease.lease_id, None)
        lease.group.open.pop(lease.lease_id, None)
        lease.group.deep.pop(lease.lease_id, None)
        self._wanted.pop(lease.lease_id, None)
        self.dirty[lease.group] = None

    def process_died(self, address: Address, reason: str) -> None:
        """A node has died: its workers are gone, and requests that wait there are made anew."""
        for lease in [lease for lease in self.by_id.values() if node_of(lease.worker_id) == address]:
            self._lost(lease, errors.NodeDiedError, reason, None)
        self.requests.node_died(address)
        self.stealing.node_died(address)

    # --- Answers of workers

    def on_task_replies(self, sender: Address, message: TaskReplies) -> None:
        """Tasks of ours have ended."""
        lease = self.by_id.get(message.source)
        tasks = self.owner.tasks
        if lease is None:
            self.owner.actors.replies(sender, message)
            return
        group = lease.group
        run_times = self.run_times
        for reply in message.replies:
            task = tasks.reply(sender, message.source, reply)
            if group.speculative:
                self._note_speculative(lease, task, reply, len(message.replies) == 1)
            if task is not None:
                lease.in_flight.pop(reply.task_id, None)
                key = task.template.key
                known = run_times.get(key)
                run_times[key] = reply.run_time if known is None else known + (reply.run_time - known) // 4
                if len(run_times) > TEMPLATES:
                    del run_times[next(iter(run_times))]
        lease.progress = lease.since = self.clock.now()
        if message.ending:
            self._remove(lease)
            self.transport.send(node_of(lease.worker_id), ReturnLease(lease.lease_id, True, "max_calls"))
            for task in lease.in_flight.values():
                tasks.returned(task)
        elif not lease.blocked:
            if not lease.in_flight:
                self.set_idle(lease)
            elif not lease.closing:
                group.open[lease.lease_id] = lease
        self.dirty[group] = None

    def _note_speculative(self, lease: Lease, task: Task | None, reply: TaskReply, alone: bool) -> None:
        if task is None:
            self.owner.speculation.loser_replied(lease, reply)
        elif reply.error is None:
            self.owner.speculation.replied(lease, task, alone and len(lease.in_flight) == 1, reply.run_time)

    def on_lease_blocked(self, sender: Address, message: LeaseBlocked) -> None:
        """The worker waits for something; no more work for it now."""
        lease = self.by_id.get(message.lease_id)
        if lease is not None:
            lease.blocked = True
            lease.group.idle.pop(lease.lease_id, None)
            lease.group.open.pop(lease.lease_id, None)

    def on_lease_unblocked(self, sender: Address, message: LeaseUnblocked) -> None:
        """The worker goes on."""
        lease = self.by_id.get(message.lease_id)
        if lease is not None:
            lease.blocked = False
            lease.progress = self.clock.now()
            if lease.in_flight:
                lease.group.open[lease.lease_id] = lease
            else:
                self.set_idle(lease)
            self.dirty[lease.group] = None

    # --- Giving back

    def return_idle_here(self) -> None:
        """Give back the workers of this node that have nothing to do: this process is about to need a CPU itself."""
        for group in list(self.classes):
            for lease in [lease for lease in group.idle.values() if node_of(lease.worker_id) == self.node_id]:
                self._return(lease)

    def _schedule_return(self, group: SchedulingClass) -> None:
        if group.idle and not group.stopping:
            group.stopping = True
            self.clock.call_after(self.config.lease_idle_hold, lambda: self._return_idle(group))

    def _return_idle(self, group: SchedulingClass) -> None:
        group.stopping = False
        deadline = self.clock.now() - self.config.lease_idle_hold
        for lease in list(group.idle.values()):
            if lease.progress <= deadline:
                self._return(lease)
        if group.idle:
            self._schedule_return(group)

    def _return(self, lease: Lease) -> None:
        self._remove(lease)
        self.transport.send(node_of(lease.worker_id), ReturnLease(lease.lease_id))
