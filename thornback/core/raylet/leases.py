"""Lease requests of one node: granted, passed on to a better node, or queued until resources are free."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from thornback.core.config import MILLISECOND, Config
from thornback.core.ids import GCS, Address, LeaseId, NodeId, WorkerId
from thornback.core.messages import (
    AcquireCpu,
    CancelLease,
    CpuAcquired,
    KillWorker,
    LeaseGranted,
    LeaseInfeasible,
    LeaseLost,
    LeaseSpilled,
    ReclaimLeases,
    ReleaseCpu,
    RequestLease,
    ReturnLease,
)
from thornback.core.ports import Ports
from thornback.core.raylet.pool import Worker, WorkerPool
from thornback.core.resources import CPU, Resources, fits
from thornback.core.scheduling.policies import allowed, is_feasible, may_stay, place, why_infeasible
from thornback.core.scheduling.pools import GpuParts, ResourcePool
from thornback.core.scheduling.view import ClusterView

if TYPE_CHECKING:
    from thornback.core.raylet.bundles import RayletBundles

Shape = tuple[object, ...]


class Grant:
    """A request that has its resources, and its worker as soon as there is one."""

    __slots__ = ("asked", "gpus", "group_removed", "held", "pool", "request", "since", "worker")

    def __init__(self, request: RequestLease, since: int, pool: ResourcePool) -> None:
        self.request = request
        self.pool = pool
        """The node, or the bundle of a placement group."""
        self.held: Resources = dict(request.resources)
        """Taken from the pool now; without the CPU while the worker blocks."""
        self.gpus: GpuParts = pool.take(self.held)
        self.asked = False
        """The holder knows that others want the worker when it is idle."""
        self.group_removed = False
        self.worker: Worker | None = None
        self.since = since


class RayletLeases:
    """Who may use the node's resources. What is held never exceeds what the node has."""

    def __init__(
        self, node_id: NodeId, ports: Ports, pool: WorkerPool, view: ClusterView, config: Config, total: Resources
    ) -> None:
        self.node_id = node_id
        self.clock = ports.clock
        self.transport = ports.transport
        self.trace = ports.trace
        self.random = ports.random.stream("placement")
        self.pool = pool
        self.view = view
        self.config = config
        self.total = total
        self.free = ResourcePool(total)
        self.available: Resources = self.free.available
        self.bundles: RayletBundles
        self.queues: dict[Shape, dict[LeaseId, RequestLease]] = {}
        """Waiting requests by what they need, oldest first."""
        self.infeasible: dict[LeaseId, RequestLease] = {}
        self._untold: dict[LeaseId, None] = {}
        """Infeasible as far as this node knows; their holders are told when the GCS knows no more."""
        self.grants: dict[LeaseId, Grant] = {}
        self.waiting_workers: deque[Grant] = deque()
        self.waiting_cpu: dict[LeaseId, Grant] = {}
        self.changed = True
        """Resources or queue have changed since the last report."""
        self.wants_view = False
        self._shape_of: dict[LeaseId, Shape] = {}
        self._dirty = False
        self._quantum_timer = False

    @property
    def waiting(self) -> int:
        """Requests that are not granted."""
        return len(self._shape_of) + len(self.infeasible)

    # --- Requests

    def on_request_lease(self, sender: Address, message: RequestLease) -> None:
        """An owner wants a worker."""
        if message.lease_id in self.grants or message.lease_id in self._shape_of:
            return
        if message.strategy.group:
            self._place_in_group(message)
            return
        local = self.view.nodes[self.node_id]
        here = message.hops > 0 or may_stay(local, message.strategy)
        free = self.free.fits(message.resources) and not self._behind(message)
        if here and free and allowed(local, message.strategy):
            self._grant(message, self.free)
        elif here or self.view_seen:
            self._place(message)
        else:
            self._set_infeasible(message)

    def _behind(self, request: RequestLease) -> bool:
        return bool(self.queues.get(_shape(request)))

    def _place(self, request: RequestLease) -> None:
        self.wants_view = True
        nodes = self.view.alive()
        if not is_feasible(request.resources, nodes, request.strategy):
            self._set_infeasible(request)
            return
        if request.hops < self.config.spill_hops:
            chosen = place(request.resources, nodes, self.node_id, request.strategy, self.config, self.random)
            if chosen is None and not fits(request.resources, self.total):
                chosen = self._could_ever(request)
            if chosen is not None and chosen != self.node_id:
                self._spill(request, chosen)
                return
        if not fits(request.resources, self.total):
            self._spill(request, self._could_ever(request))
            return
        self._enqueue(request)
        self.wants_view = True

    def _enqueue(self, request: RequestLease) -> None:
        shape = _shape(request)
        self.queues.setdefault(shape, {})[request.lease_id] = request
        self._shape_of[request.lease_id] = shape
        self._dirty = True
        self.changed = True

    def _place_in_group(self, request: RequestLease) -> None:
        pool = None if self._behind(request) else self.bundles.pool_for(request)
        if pool is not None:
            self._grant(request, pool)
            return
        elsewhere = self.bundles.elsewhere(request)
        if elsewhere is not None:
            self.transport.send(request.holder, LeaseSpilled(request.lease_id, elsewhere, request.hops + 1))
            return
        self._enqueue(request)
        if request.strategy.bundle == -1:
            self.clock.call_after(self.config.view_period, lambda: self._go_round(request))

    def _go_round(self, request: RequestLease) -> None:
        shape = self._shape_of.get(request.lease_id)
        if shape is not None and self.bundles.go_round(request):
            self._forget(shape, request.lease_id)

    def bundles_changed(self) -> None:
        """A group's bundles have come: tasks may wait for them."""
        self._dirty = True

    def bundle_removed(self, pool: ResourcePool, reason: str) -> None:
        """A bundle has ended: so do the workers that use it; what they hold goes to the node when they are gone."""
        self._dirty = True
        self.changed = True
        for grant in list(self.grants.values()):
            if grant.pool is not pool:
                continue
            grant.pool = self.free
            grant.group_removed = True
            if grant.worker is None:
                self.waiting_workers.remove(grant)
                self._end(grant)
            else:
                self.pool.kill(grant.worker, reason)

    def _could_ever(self, request: RequestLease) -> NodeId:
        permitted = [node for node in self.view.alive() if allowed(node, request.strategy)]
        nodes = [node for node in permitted if fits(request.resources, node.total)]
        return nodes[self.random.randrange(len(nodes))].node_id

    def _spill(self, request: RequestLease, node: NodeId) -> None:
        self.view.debit(node, request.resources)
        self.transport.send(request.holder, LeaseSpilled(request.lease_id, node, request.hops + 1))

    def _set_infeasible(self, request: RequestLease) -> None:
        self.infeasible[request.lease_id] = request
        self.changed = True
        self.wants_view = True
        self._untold[request.lease_id] = None

    view_seen = False
    """Whether the GCS has ever told of the other nodes: a policy that compares nodes waits for that."""

    def _tell_infeasible(self, request: RequestLease) -> None:
        reason = why_infeasible(request.name, request.resources, self.view.alive(), request.strategy)
        self.transport.send(request.holder, LeaseInfeasible(request.lease_id, reason))

    def view_changed(self) -> None:
        """News of other nodes: some requests may go there, or have become possible."""
        self.view_seen = True
        for request in list(self.infeasible.values()):
            if is_feasible(request.resources, self.view.alive(), request.strategy):
                del self.infeasible[request.lease_id]
                self._place(request)
            elif request.lease_id in self._untold:
                self._tell_infeasible(request)
        self._untold.clear()
        for shape, queue in list(self.queues.items()):
            for request in list(queue.values()):
                if request.strategy.group:
                    break
                if request.hops >= self.config.spill_hops:
                    continue
                chosen = place(
                    request.resources, self.view.alive(), self.node_id, request.strategy, self.config, self.random
                )
                if chosen is None:
                    break
                if chosen == self.node_id:
                    continue
                self._forget(shape, request.lease_id)
                self._spill(request, chosen)
        self._dirty = True

    def _forget(self, shape: Shape, lease_id: LeaseId) -> None:
        queue = self.queues[shape]
        del queue[lease_id]
        del self._shape_of[lease_id]
        self.changed = True
        if not queue:
            del self.queues[shape]

    def on_cancel_lease(self, sender: Address, message: CancelLease) -> None:
        """The request is not needed any more."""
        shape = self._shape_of.get(message.lease_id)
        if shape is not None:
            self._forget(shape, message.lease_id)
        elif self.infeasible.pop(message.lease_id, None) is not None:
            self.changed = True
        else:
            grant = self.grants.get(message.lease_id)
            if grant is not None and grant.worker is None:
                self.waiting_workers.remove(grant)
                self._end(grant)

    # --- Grants

    def _grant(self, request: RequestLease, pool: ResourcePool) -> None:
        grant = Grant(request, self.clock.now(), pool)
        self.grants[request.lease_id] = grant
        self.changed = self.changed or pool is self.free
        if self.trace.enabled:
            held = {} if request.strategy.group else dict(grant.held)
            self.trace.event("lease.granted", request.lease_id, (self.node_id, held))
        self.waiting_workers.append(grant)
        self._dirty = True

    def end_turn(self) -> None:
        """Use what has become free."""
        if not self._dirty:
            return
        self._dirty = False
        self._resume_blocked()
        for shape in self._service_order():
            queue = self.queues[shape]
            local = self.view.nodes[self.node_id]
            for request in list(queue.values()):
                if request.strategy.group:
                    pool = self.bundles.pool_for(request)
                else:
                    pool = self.free if self.free.fits(request.resources) else None
                    pool = pool if allowed(local, request.strategy) else None
                if pool is None:
                    break
                self._forget(shape, request.lease_id)
                self._grant(request, pool)
        self._assign_workers()
        self._dirty = False
        if self.queues or self.waiting_cpu:
            self._ask_for_idle()
            if not self._quantum_timer:
                self._quantum_timer = True
                self.clock.call_after(self.config.lease_quantum, self._reclaim)

    def _service_order(self) -> list[Shape]:
        """Requests of tasks that wait for their own subtasks first, the newest before: so that few wait at a time."""
        waiting: list[Shape] = []
        others: list[Shape] = []
        for shape, queue in self.queues.items():
            grant = self._grant_of(next(iter(queue.values())).holder)
            (others if grant is None or CPU in grant.held else waiting).append(shape)
        return waiting[::-1] + others

    def _ask_for_idle(self) -> None:
        """Holders that keep workers without work are told, once, that others want them."""
        asked: dict[Address, list[LeaseId]] = {}
        for lease_id, grant in self.grants.items():
            request = grant.request
            if grant.asked or grant.worker is None or request.actor_id or not grant.held:
                continue
            waits_itself = _shape(request) in self.queues
            if waits_itself and len(self.queues) == 1 and not self.waiting_cpu:
                continue
            grant.asked = True
            asked.setdefault(request.holder, []).append(lease_id)
        for holder, lease_ids in asked.items():
            self.transport.send(holder, ReclaimLeases(tuple(lease_ids), when_idle=True))

    def _assign_workers(self) -> None:
        missing: deque[Grant] = deque()
        for grant in self.waiting_workers:
            request = grant.request
            worker = self.pool.take(request.job_id, request.namespace, request.lease_id, request.name)
            if worker is None:
                missing.append(grant)
                continue
            grant.worker = worker
            grant.since = self.clock.now()
            granted = LeaseGranted(request.lease_id, worker.worker_id, tuple(sorted(grant.gpus)))
            self.transport.send(request.holder, granted)
        self.waiting_workers = missing
        wanted: dict[int, int] = {}
        for grant in missing:
            wanted[grant.request.job_id] = wanted.get(grant.request.job_id, 0) + 1
        for job_id, count in wanted.items():
            for _ in range(count - self.pool.count_starting(job_id)):
                self.pool.start(job_id)

    def workers_ready(self) -> None:
        """A worker became idle."""
        self._dirty = True

    def _end(self, grant: Grant) -> None:
        grant.pool.give(grant.held, grant.gpus)
        grant.held = {}
        del self.grants[grant.request.lease_id]
        self.waiting_cpu.pop(grant.request.lease_id, None)
        self.changed = True
        self._dirty = True
        if self.trace.enabled:
            self.trace.event("lease.ended", grant.request.lease_id, self.node_id)

    def on_return_lease(self, sender: Address, message: ReturnLease) -> None:
        """The holder is done with the worker."""
        grant = self.grants.get(message.lease_id)
        if grant is None or grant.request.holder != sender:
            return
        worker = grant.worker
        self._end(grant)
        if worker is None:
            self.waiting_workers.remove(grant)
        elif message.end_worker:
            worker.lease_id = b""
            self.pool.kill(worker, message.reason)
        else:
            self.pool.give_back(worker)

    def on_kill_worker(self, sender: Address, message: KillWorker) -> None:
        """A worker of ours must end now."""
        worker = self.pool.workers.get(message.worker_id)
        if worker is not None:
            self.pool.kill(worker, message.reason)

    def worker_exited(self, worker: Worker, reason: str, started_through: int | None) -> None:
        """A worker has ended; its holder is told."""
        grant = self.grants.get(worker.lease_id)
        if grant is not None and grant.worker is worker:
            self._end(grant)
            removed = grant.group_removed
            lost = LeaseLost(
                grant.request.lease_id,
                worker.worker_id,
                started_through,
                reason,
                worker.out_of_memory,
                group_removed=removed,
            )
            self.transport.send(grant.request.holder, lost)
        self._dirty = True

    def holder_died(self, address: Address) -> None:
        """A process or node has ended: what it asked for is void, and workers that ran its tasks end too."""
        for lease_id, shape in list(self._shape_of.items()):
            if self.queues[shape][lease_id].holder.startswith(address):
                self._forget(shape, lease_id)
        for lease_id in [key for key, request in self.infeasible.items() if request.holder.startswith(address)]:
            del self.infeasible[lease_id]
        for grant in list(self.grants.values()):
            if not grant.request.holder.startswith(address) or grant.request.holder == GCS:
                continue
            if grant.worker is None:
                self.waiting_workers.remove(grant)
                self._end(grant)
            else:
                self.pool.kill(grant.worker, "the process whose task it ran has ended")

    # --- Blocked workers

    def _grant_of(self, worker_id: WorkerId) -> Grant | None:
        worker = self.pool.workers.get(worker_id)
        return None if worker is None else self.grants.get(worker.lease_id)

    def on_release_cpu(self, sender: Address, message: ReleaseCpu) -> None:
        """A worker's task waits; others may use its CPU."""
        grant = self._grant_of(sender)
        if grant is None:
            return
        self.pool.prepare(grant.request.job_id)
        cpu = grant.held.pop(CPU, 0)
        if cpu:
            grant.pool.give({CPU: cpu}, {})
            self.changed = True
            self._dirty = True

    def on_acquire_cpu(self, sender: Address, message: AcquireCpu) -> None:
        """A worker's task can go on."""
        grant = self._grant_of(sender)
        if grant is None:
            self.transport.send(sender, CpuAcquired())
            return
        self.waiting_cpu[grant.request.lease_id] = grant
        self._resume_blocked()
        if self.waiting_cpu:
            self._dirty = True

    def _resume_blocked(self) -> None:
        for lease_id, grant in list(self.waiting_cpu.items()):
            cpu = grant.request.resources.get(CPU, 0)
            if grant.pool.available.get(CPU, 0) < cpu:
                if not self._only_actors_hold_cpu(grant.pool):
                    continue
                cpu = 0
            if cpu:
                grant.pool.take({CPU: cpu})
                grant.held[CPU] = cpu
                self.changed = True
            del self.waiting_cpu[lease_id]
            assert grant.worker is not None
            self.transport.send(grant.worker.worker_id, CpuAcquired())

    def _only_actors_hold_cpu(self, pool: ResourcePool) -> bool:
        """Then no CPU comes free before the actors end, perhaps by the very task that waits: it goes on without one."""
        holders = (grant for grant in self.grants.values() if grant.pool is pool)
        return all(grant.request.actor_id or not grant.held.get(CPU) for grant in holders)

    # --- Sharing

    def _reclaim(self) -> None:
        """Take leases back for those that wait, from the holders that have most."""
        self._quantum_timer = False
        if not self.queues and not self.waiting_cpu:
            return
        now = self.clock.now()
        held: dict[tuple[Address, Shape], list[Grant]] = {}
        for grant in self.grants.values():
            if grant.worker is not None and not grant.request.actor_id and grant.held:
                held.setdefault((grant.request.holder, _shape(grant.request)), []).append(grant)
        waiting = {(next(iter(queue.values())).holder, shape): len(queue) for shape, queue in self.queues.items()}
        wanted = len(self.waiting_cpu)
        for group, count in waiting.items():
            most = max((len(grants) for other, grants in held.items() if other != group), default=0)
            if most > len(held.get(group, ())):
                wanted += min(count, most - len(held.get(group, ())))
        for _ in range(wanted):
            if not held:
                break
            group = max(held, key=lambda key: len(held[key]))
            grant = held[group].pop(0)
            if not held[group]:
                del held[group]
            if now - grant.since >= self.config.lease_quantum:
                self.transport.send(grant.request.holder, ReclaimLeases((grant.request.lease_id,)))
        self._quantum_timer = True
        self.clock.call_after(max(self.config.lease_quantum, MILLISECOND), self._reclaim)


def _shape(request: RequestLease) -> Shape:
    resources = tuple(sorted(request.resources.items()))
    return (resources, request.strategy, request.runtime_env, request.job_id, request.holder)
