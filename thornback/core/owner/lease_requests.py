"""Requests for workers: which raylet is asked, how often, and what it answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thornback.core import errors
from thornback.core.config import Config
from thornback.core.ids import Address, LeaseId, NodeId, node_of, short, task_id
from thornback.core.messages import (
    CancelLease,
    GroupUpdate,
    LeaseGranted,
    LeaseInfeasible,
    LeaseSpilled,
    RequestLease,
    ReturnLease,
    TaskTemplate,
)
from thornback.core.owner.groups import CREATED, REMOVED
from thornback.core.owner.scheduling_classes import Lease, SchedulingClass
from thornback.core.resources import describe, fits

if TYPE_CHECKING:
    from thornback.core.owner.owner import Owner


class LeaseRequests:
    """All requests of one process that wait for an answer."""

    def __init__(self, owner: Owner, config: Config) -> None:
        self.owner = owner
        self.config = config
        self.transport = owner.ports.transport
        self.node_id = node_of(owner.worker_id)
        self._class_of: dict[LeaseId, SchedulingClass] = {}

    def ask_for_more(self, group: SchedulingClass) -> None:
        """Ask for as many workers as the queue can use."""
        if group.template.strategy.group and not self._usable(group):
            return
        queue = group.queue
        wanted = len(queue)
        run_time = self.owner.leases.run_times.get(queue[0].template.key)
        if run_time is not None and run_time < self.config.pipeline_target:
            wanted = min(wanted, -(-wanted * max(run_time, 1) // self.config.pipeline_target))
        wanted = min(wanted, max(self.config.lease_requests_floor, len(group.leases)))
        urgency = queue[0].template.priority
        if urgency > group.urgency:
            for lease_id, node in list(group.requests.items()):
                self._ask(group, lease_id, node, 0)
        group.urgency = urgency
        for _ in range(wanted - len(group.requests) - len(group.idle)):
            self._request(group)

    def _request(self, group: SchedulingClass) -> None:
        owner = self.owner
        owner.counter += 1
        lease_id = task_id(owner.worker_id, owner.counter)
        group.requests[lease_id] = group.node
        self._class_of[lease_id] = group
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
        first = group.queue[0].template if group.queue else template
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
            avoid=group.avoid,
            patience=self.owner.leases.stealing.patience(group) if group.queue else 0,
            priority=first.priority,
            run_time=self.owner.leases.run_times.get(first.key, -1),
            terms=self.owner.terms,
        )
        self.transport.send(node, request)

    def cancel_all(self, group: SchedulingClass) -> None:
        """Nothing waits for them any more."""
        for lease_id, node in group.requests.items():
            del self._class_of[lease_id]
            self.transport.send(node, CancelLease(lease_id))
        group.requests.clear()

    def node_died(self, node: NodeId) -> None:
        """Requests that wait there are made anew."""
        leases = self.owner.leases
        for group in leases.classes:
            for lease_id in [lease_id for lease_id, asked in group.requests.items() if asked == node]:
                del group.requests[lease_id]
                del self._class_of[lease_id]
                leases.touch(group)

    # --- Placement groups

    def _usable(self, group: SchedulingClass) -> bool:
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
            tasks = list(group.queue)
            group.queue.clear()
            for task in tasks:
                self.owner.tasks.fail(task, error)
            return False
        return update.state == CREATED and bool(self.owner.groups.nodes_of(update, strategy.bundle))

    def group_changed(self, update: GroupUpdate) -> None:
        """A placement group has its place, or another one, or has ended: its tasks are sent there, or fail."""
        for group in self.owner.leases.classes:
            if group.template.strategy.group != update.group_id:
                continue
            self.owner.leases.touch(group)
            for lease_id, node in list(group.requests.items()):
                if node not in update.nodes:
                    del group.requests[lease_id]
                    del self._class_of[lease_id]
                    self.transport.send(node, CancelLease(lease_id))

    # --- Answers of raylets

    def on_lease_granted(self, sender: Address, message: LeaseGranted) -> None:
        """We may use a worker."""
        group = self._class_of.pop(message.lease_id, None)
        if group is None:
            self.transport.send(sender, ReturnLease(message.lease_id))
            return
        del group.requests[message.lease_id]
        group.infeasible = ""
        lease = Lease(message.lease_id, message.worker_id, group, self.owner.ports.clock.now())
        lease.gpu_ids = message.gpu_ids
        lease.next_sequence = message.started_through
        self.owner.leases.add(lease)

    def on_lease_spilled(self, sender: Address, message: LeaseSpilled) -> None:
        """Another node is the better one to ask."""
        group = self._class_of.get(message.lease_id)
        if group is not None:
            self._ask(group, message.lease_id, message.node_id, message.hops)

    def on_lease_infeasible(self, sender: Address, message: LeaseInfeasible) -> None:
        """No node could ever run these tasks."""
        group = self._class_of.get(message.lease_id)
        if group is None:
            return
        if group.template.fail_infeasible:
            for task in list(group.queue):
                self.owner.tasks.fail(task, errors.TaskUnschedulableError(message.reason))
            group.queue.clear()
            self.owner.leases.touch(group)
        elif group.infeasible != message.reason:
            group.infeasible = message.reason
            self.owner.warn(message.reason)


def _misfit(template: TaskTemplate, update: GroupUpdate) -> BaseException | None:
    """The error for a task that no bundle that it may use could ever hold."""
    bundle = template.strategy.bundle
    usable = [each for index, each in enumerate(update.bundles) if bundle in (-1, index)]
    if any(fits(template.resources, each) for each in usable):
        return None
    held = ", ".join(dict.fromkeys(map(describe, usable))) or f"none of index {bundle}"
    text = f"{template.name} needs {describe(template.resources)}, more than its placement group's bundle has: {held}"
    return errors.TaskUnschedulableError(text)
