"""Leased workers and the tasks queued for them: how tasks of this process get to run.

Tasks queue by *scheduling class* (resources, strategy, runtime environment, preferred node). For each class the owner
leases workers from raylets and keeps each one's queue as deep as its tasks are short, so that a microsecond task never
waits for a message round trip and a long one never waits behind another. Workers without work get some back from loaded
ones.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from thornback.core import errors
from thornback.core.config import MILLISECOND, Config
from thornback.core.ids import Address, LeaseId, NodeId, TaskId, WorkerId, node_of, short, task_id
from thornback.core.messages import (
    CancelLease,
    GroupUpdate,
    LeaseBlocked,
    LeaseGranted,
    LeaseInfeasible,
    LeaseLost,
    LeaseSpilled,
    LeaseUnblocked,
    PushTasks,
    ReclaimLeases,
    RequestLease,
    ReturnLease,
    StealTasks,
    Stored,
    TaskCall,
    TaskReplies,
    TasksReturned,
    TaskTemplate,
)
from thornback.core.owner.groups import CREATED, REMOVED
from thornback.core.owner.tasks import PUSHED, QUEUED, Task
from thornback.core.resources import describe, fits

if TYPE_CHECKING:
    from thornback.core.owner.owner import Owner

STALL = 10 * MILLISECOND
"""A worker that has not answered for this long runs a long task: what is queued behind it goes elsewhere."""


class Lease:
    """A worker that this process may send tasks to."""

    __slots__ = (
        "blocked",
        "closing",
        "functions",
        "gpu_ids",
        "group",
        "in_flight",
        "lease_id",
        "next_sequence",
        "progress",
        "stealing",
        "templates",
        "wanted",
        "worker_id",
    )

    def __init__(self, lease_id: LeaseId, worker_id: WorkerId, group: SchedulingClass, now: int) -> None:
        self.lease_id = lease_id
        self.worker_id = worker_id
        self.group = group
        self.gpu_ids: tuple[int, ...] = ()
        self.in_flight: dict[TaskId, Task] = {}
        self.next_sequence = 0
        self.blocked = False
        self.closing = False
        """The raylet wants it back: nothing more is sent to it."""
        self.wanted = False
        """The raylet wants it back as soon as there is no work for it."""
        self.stealing = False
        self.progress = now
        """Time of the last reply, or of the first push after being idle."""
        self.templates: set[bytes] = set()
        self.functions: set[bytes] = set()


class SchedulingClass:
    """Tasks that can use the same workers."""

    __slots__ = (
        "deep",
        "idle",
        "infeasible",
        "key",
        "leases",
        "node",
        "open",
        "queue",
        "requests",
        "stall_timer",
        "stopping",
        "template",
    )

    def __init__(self, key: tuple[object, ...], template: TaskTemplate, node: NodeId) -> None:
        self.key = key
        self.template = template
        self.node = node
        self.queue: deque[Task] = deque()
        self.leases: dict[LeaseId, Lease] = {}
        self.idle: dict[LeaseId, Lease] = {}
        """Leases without work."""
        self.deep: dict[LeaseId, Lease] = {}
        """Leases that had several tasks when they were last looked at."""
        self.open: dict[LeaseId, Lease] = {}
        """Leases with work that may have room for more."""
        self.requests: dict[LeaseId, NodeId] = {}
        self.infeasible = ""
        self.stall_timer = False
        self.stopping = False


class Leases:
    """All leases of one process, by scheduling class."""

    def __init__(self, owner: Owner, config: Config) -> None:
        self.owner = owner
        self.config = config
        self.clock = owner.ports.clock
        self.transport = owner.ports.transport
        self.node_id = node_of(owner.worker_id)
        self.classes: dict[tuple[object, ...], SchedulingClass] = {}
        self.by_id: dict[LeaseId, Lease] = {}
        self.request_class: dict[LeaseId, SchedulingClass] = {}
        self.run_times: dict[bytes, int] = {}
        """Recent run time by template, nanoseconds."""
        self._class_of_template: dict[bytes, tuple[object, ...]] = {}
        self.urgent = False
        """Whether an idle worker could start something that waits here, or a first worker has to be asked for."""
        self._dirty: dict[SchedulingClass, None] = {}

    # --- Queueing

    def enqueue(self, task: Task) -> None:
        """The task may run; it is sent at the end of the turn."""
        group = self._class_for(task)
        group.queue.append(task)
        self._dirty[group] = None
        if group.idle or not (group.leases or group.requests):
            self.urgent = True

    def _class_for(self, task: Task) -> SchedulingClass:
        template = task.template
        shape = self._class_of_template.get(template.key)
        if shape is None:
            resources = tuple(sorted(template.resources.items()))
            shape = (resources, template.strategy, template.runtime_env, template.fail_infeasible)
            self._class_of_template[template.key] = shape
        node = self._preferred_node(task) if task.dependencies and not template.strategy.group else b""
        key = (shape, node)
        group = self.classes.get(key)
        if group is None:
            group = self.classes[key] = SchedulingClass(key, template, node or self.node_id)
        return group

    def _preferred_node(self, task: Task) -> NodeId:
        sizes: dict[NodeId, int] = {}
        for object_id in task.dependencies:
            content = self.owner.references.lookup(object_id).content
            if isinstance(content, Stored):
                for node in content.nodes:
                    sizes[node] = sizes.get(node, 0) + content.size
        if not sizes:
            return b""
        best = max(sizes.values())
        if sizes.get(self.node_id, 0) == best:
            return b""
        return min(node for node, size in sizes.items() if size == best)

    def withdraw(self, task: Task) -> None:
        """The task was cancelled before it was sent."""
        if task.state == QUEUED and not task.actor_id:
            group = self._class_for(task)
            if task in group.queue:
                group.queue.remove(task)
                self._dirty[group] = None

    # --- Dispatch

    def end_turn(self) -> None:
        """Send what can be sent, ask for workers, give back those without work."""
        self.urgent = False
        while self._dirty:
            dirty, self._dirty = self._dirty, {}
            for group in dirty:
                self._dispatch(group)

    def _dispatch(self, group: SchedulingClass) -> None:
        if group.queue and group.leases:
            self._fill(group)
        if group.queue:
            self._request_more(group)
        elif group.requests:
            self._cancel_requests(group)
        if group.idle:
            if not group.queue:
                self._steal(group)
                for lease in [lease for lease in group.idle.values() if lease.wanted]:
                    self._return(lease)
            self._schedule_return(group)
        if not group.stall_timer and group.deep:
            group.stall_timer = True
            self.clock.call_after(STALL, lambda: self._check_stalls(group))
        if not (group.queue or group.leases or group.requests):
            self.classes.pop(group.key, None)

    def _depth(self, template: TaskTemplate) -> int:
        run_time = self.run_times.get(template.key)
        if run_time is None or template.max_calls == 1:
            return 1
        return max(1, min(self.config.pipeline_depth, self.config.pipeline_target // max(run_time, 1)))

    def _fill(self, group: SchedulingClass) -> None:
        queue = group.queue
        share = max(1, -(-len(queue) // (len(group.leases) + len(group.requests))))
        for lease in list(group.idle.values()):
            if not queue:
                return
            self._push(lease, min(share, self._depth(queue[0].template)))
        for lease in list(group.open.values()):
            if not queue:
                return
            room = self._depth(queue[0].template) - len(lease.in_flight)
            if room > 0 and not lease.blocked and not lease.closing:
                self._push(lease, min(share, room))
            if room <= share:
                group.open.pop(lease.lease_id, None)

    def _push(self, lease: Lease, count: int) -> None:
        group = lease.group
        queue = group.queue
        if not lease.in_flight:
            lease.progress = self.clock.now()
            group.idle.pop(lease.lease_id, None)
            group.open[lease.lease_id] = lease
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
        if len(lease.in_flight) > 1:
            group.deep[lease.lease_id] = lease
        elif not lease.in_flight:
            self._set_idle(lease)

    def _set_idle(self, lease: Lease) -> None:
        lease.group.open.pop(lease.lease_id, None)
        if lease.closing:
            self._return(lease)
        else:
            lease.group.idle[lease.lease_id] = lease

    def _send(self, lease: Lease, functions: list[bytes], templates: list[TaskTemplate], batch: list[TaskCall]) -> None:
        known = self.owner.tasks.definitions
        definitions = tuple(known[function_id] for function_id in functions)
        push = PushTasks(lease.lease_id, definitions, tuple(templates), tuple(batch), lease.gpu_ids)
        self.transport.send(lease.worker_id, push)

    def _request_more(self, group: SchedulingClass) -> None:
        if group.template.strategy.group and not self._group_usable(group):
            return
        queue = group.queue
        wanted = len(queue)
        run_time = self.run_times.get(queue[0].template.key)
        if run_time is not None and run_time < self.config.pipeline_target:
            wanted = min(wanted, -(-wanted * max(run_time, 1) // self.config.pipeline_target))
        wanted = min(wanted, max(self.config.lease_requests_floor, len(group.leases)))
        for _ in range(wanted - len(group.requests)):
            self._request(group)

    def _request(self, group: SchedulingClass) -> None:
        owner = self.owner
        owner.counter += 1
        lease_id = task_id(owner.worker_id, owner.counter)
        group.requests[lease_id] = group.node
        self.request_class[lease_id] = group
        node = group.node
        strategy = group.template.strategy
        if strategy.group:
            places = owner.groups.nodes_of(owner.groups.known[strategy.group], strategy.bundle)
            node = places[owner.counter % len(places)]
        self._ask(group, lease_id, node, 0)

    def _ask(self, group: SchedulingClass, lease_id: LeaseId, node: NodeId, hops: int) -> None:
        template = group.template
        if self.owner.references.is_dead(node):
            node = self.node_id
        group.requests[lease_id] = node
        request = RequestLease(
            lease_id,
            self.owner.worker_id,
            template.resources,
            template.strategy,
            template.job_id,
            template.runtime_env,
            template.name,
            hops,
            backlog=len(group.queue),
            namespace=self.owner.namespace,
            retriable=template.max_retries != 0,
        )
        self.transport.send(node, request)

    # --- Placement groups

    def _group_usable(self, group: SchedulingClass) -> bool:
        """Whether the class's placement group has a place now; tasks that never can run in it are failed."""
        template = group.template
        strategy = template.strategy
        update = self.owner.groups.lookup(strategy.group)
        if update is None:
            return False
        error: BaseException | None = None
        if update.state == REMOVED:
            text = f"{template.name} was to run in placement group {short(strategy.group)}, which has ended"
            error = errors.TaskPlacementGroupRemoved(f"{text}: {update.reason}")
        else:
            error = _misfit(template, update)
        if error is not None:
            queue, group.queue = group.queue, deque()
            for task in queue:
                self.owner.tasks.fail(task, error)
            return False
        return update.state == CREATED and bool(self.owner.groups.nodes_of(update, strategy.bundle))

    def group_changed(self, update: GroupUpdate) -> None:
        """A placement group has its place, or another one, or has ended: its tasks are sent there, or fail."""
        for group in self.classes.values():
            if group.template.strategy.group != update.group_id:
                continue
            self._dirty[group] = None
            for lease_id, node in list(group.requests.items()):
                if node not in update.nodes:
                    del group.requests[lease_id]
                    del self.request_class[lease_id]
                    self.transport.send(node, CancelLease(lease_id))

    def _cancel_requests(self, group: SchedulingClass) -> None:
        for lease_id, node in group.requests.items():
            del self.request_class[lease_id]
            self.transport.send(node, CancelLease(lease_id))
        group.requests.clear()

    # --- Answers of raylets

    def on_lease_granted(self, sender: Address, message: LeaseGranted) -> None:
        """We may use a worker."""
        group = self.request_class.pop(message.lease_id, None)
        if group is None:
            self.transport.send(sender, ReturnLease(message.lease_id))
            return
        del group.requests[message.lease_id]
        group.infeasible = ""
        lease = Lease(message.lease_id, message.worker_id, group, self.clock.now())
        lease.gpu_ids = message.gpu_ids
        self.by_id[lease.lease_id] = lease
        group.leases[lease.lease_id] = lease
        group.idle[lease.lease_id] = lease
        self._dirty[group] = None

    def on_lease_spilled(self, sender: Address, message: LeaseSpilled) -> None:
        """Another node is the better one to ask."""
        group = self.request_class.get(message.lease_id)
        if group is not None:
            self._ask(group, message.lease_id, message.node_id, message.hops)

    def on_lease_infeasible(self, sender: Address, message: LeaseInfeasible) -> None:
        """No node could ever run these tasks."""
        group = self.request_class.get(message.lease_id)
        if group is None:
            return
        if group.template.fail_infeasible:
            for task in list(group.queue):
                self.owner.tasks.fail(task, errors.TaskUnschedulableError(message.reason))
            group.queue.clear()
            self._dirty[group] = None
        elif group.infeasible != message.reason:
            group.infeasible = message.reason
            self.owner.warn(message.reason)

    def on_reclaim_leases(self, sender: Address, message: ReclaimLeases) -> None:
        """Others wait for these workers: they go back when idle, or as soon as what runs on them now has ended."""
        for lease_id in message.lease_ids:
            lease = self.by_id.get(lease_id)
            if lease is None or lease.closing:
                continue
            if message.when_idle:
                lease.wanted = True
                self._dirty[lease.group] = None
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
        error_type = errors.OutOfMemoryError if message.out_of_memory else errors.WorkerCrashedError
        lease = self.by_id.get(message.lease_id)
        if lease is None:
            return
        if message.group_removed:
            self._lost_with_group(lease)
        else:
            self._lost(lease, error_type, message.reason, message.started_through)

    def _lost_with_group(self, lease: Lease) -> None:
        self._remove(lease)
        group_id = short(lease.group.template.strategy.group)
        for task in lease.in_flight.values():
            text = f"{task.template.name} ran in placement group {group_id}, which was removed"
            self.owner.tasks.fail(task, errors.TaskPlacementGroupRemoved(text))

    def _lost(
        self, lease: Lease, error_type: type[errors.WorkerCrashedError], reason: str, through: int | None
    ) -> None:
        self._remove(lease)
        for task in lease.in_flight.values():
            started = through is None or task.sequence <= through
            text = f"the worker {short(lease.worker_id)} that ran {task.template.name} ended: {reason}"
            self.owner.tasks.lost(task, error_type(text), started)

    def _remove(self, lease: Lease) -> None:
        del self.by_id[lease.lease_id]
        del lease.group.leases[lease.lease_id]
        lease.group.idle.pop(lease.lease_id, None)
        lease.group.open.pop(lease.lease_id, None)
        lease.group.deep.pop(lease.lease_id, None)
        self._dirty[lease.group] = None

    def process_died(self, address: Address, reason: str) -> None:
        """A node has died: its workers are gone, and requests that wait there are made anew."""
        for lease in [lease for lease in self.by_id.values() if node_of(lease.worker_id) == address]:
            self._lost(lease, errors.NodeDiedError, reason, None)
        for group in self.classes.values():
            for lease_id in [lease_id for lease_id, node in group.requests.items() if node == address]:
                del group.requests[lease_id]
                del self.request_class[lease_id]
                self._dirty[group] = None

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
            if task is not None:
                lease.in_flight.pop(reply.task_id, None)
                key = task.template.key
                known = run_times.get(key)
                run_times[key] = reply.run_time if known is None else known + (reply.run_time - known) // 4
        lease.progress = self.clock.now()
        if message.ending:
            self._remove(lease)
            self.transport.send(node_of(lease.worker_id), ReturnLease(lease.lease_id, True, "max_calls"))
            for task in lease.in_flight.values():
                tasks.returned(task)
        elif not lease.blocked:
            if not lease.in_flight:
                self._set_idle(lease)
            elif not lease.closing:
                group.open[lease.lease_id] = lease
        self._dirty[group] = None

    def on_tasks_returned(self, sender: Address, message: TasksReturned) -> None:
        """A worker gives tasks back that it has not started."""
        lease = self.by_id.get(message.lease_id)
        if lease is None:
            return
        lease.stealing = False
        returned = [lease.in_flight.pop(task_id) for task_id in message.task_ids if task_id in lease.in_flight]
        for task in returned:
            self.owner.tasks.returned(task)
        if not lease.in_flight and not lease.blocked:
            self._set_idle(lease)
        self._dirty[lease.group] = None

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
                self._set_idle(lease)
            self._dirty[lease.group] = None

    # --- Balance

    def _steal(self, group: SchedulingClass) -> None:
        for lease_id in [key for key, lease in group.deep.items() if len(lease.in_flight) <= 1]:
            del group.deep[lease_id]
        loaded = [lease for lease in group.deep.values() if not lease.stealing]
        if not loaded:
            return
        loaded.sort(key=lambda lease: -len(lease.in_flight))
        for lease in loaded[: len(group.idle)]:
            left = len(lease.in_flight)
            run_time = self.run_times.get(next(iter(lease.in_flight.values())).template.key, 0)
            if left * run_time >= MILLISECOND:
                lease.stealing = True
                self.transport.send(lease.worker_id, StealTasks(lease.lease_id, left // 2))

    def _check_stalls(self, group: SchedulingClass) -> None:
        now = self.clock.now()
        working = False
        for lease in group.deep.values():
            if lease.blocked:
                continue
            working = working or len(lease.in_flight) > 1
            if len(lease.in_flight) > 1 and not lease.stealing and now - lease.progress >= STALL:
                lease.stealing = True
                self.transport.send(lease.worker_id, StealTasks(lease.lease_id, len(lease.in_flight) - 1))
        group.stall_timer = working
        if working:
            self.clock.call_after(STALL, lambda: self._check_stalls(group))

    # --- Giving back

    def return_idle_here(self) -> None:
        """Give back the workers of this node that have nothing to do: this process is about to need a CPU itself."""
        for group in list(self.classes.values()):
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


def _misfit(template: TaskTemplate, update: GroupUpdate) -> BaseException | None:
    """The error for a task that no bundle that it may use could ever hold."""
    bundle = template.strategy.bundle
    usable = [each for index, each in enumerate(update.bundles) if bundle in (-1, index)]
    if any(fits(template.resources, each) for each in usable):
        return None
    held = ", ".join(dict.fromkeys(map(describe, usable))) or f"none of index {bundle}"
    text = f"{template.name} needs {describe(template.resources)}, more than its placement group's bundle has: {held}"
    return errors.TaskUnschedulableError(text)
