"""Leases that one node has granted: the resources and workers that they hold, until they come back."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence

from thornback.core.config import Config
from thornback.core.gcs_client import GcsClient
from thornback.core.ids import GCS, Address, JobId, LeaseId, NodeId, WorkerId
from thornback.core.messages import (
    AcquireCpu,
    CpuAcquired,
    KillWorker,
    LeaseGranted,
    LeaseLost,
    ReclaimLeases,
    ReleaseCpu,
    RequestLease,
    ReturnLease,
)
from thornback.core.ports import Ports
from thornback.core.raylet.pool import Worker, WorkerPool
from thornback.core.raylet.promises import Promises
from thornback.core.resources import CPU, Resources, add, subtract
from thornback.core.scheduling.fair_queue import shape_of
from thornback.core.scheduling.pools import GpuParts, ResourcePool
from thornback.core.scheduling.shares import Shares


class Grant:
    """A request that has its resources, and its worker as soon as there is one."""

    __slots__ = (
        "asked",
        "closing",
        "drained",
        "ends",
        "gpus",
        "group_removed",
        "held",
        "pool",
        "promised_to",
        "request",
        "shape",
        "short",
        "since",
        "worker",
    )

    def __init__(self, request: RequestLease, since: int, pool: ResourcePool) -> None:
        self.request = request
        self.shape = shape_of(request)
        self.pool = pool
        """The node, or the bundle of a placement group."""
        self.held: Resources = dict(request.resources)
        """Taken from the pool now; without the CPU while the worker blocks."""
        self.gpus: GpuParts = pool.take(self.held)
        self.asked = False
        """The holder knows that others want the worker when it is idle."""
        self.closing = False
        """The holder was told to give the worker back after what runs on it now."""
        self.ends: int | None = None
        """When it is expected back since it was asked for, in nanoseconds."""
        self.promised_to: JobId = 0
        """The job for which it was asked back; 0 for none."""
        self.short = False
        """It went ahead of a reservation since it is over soon."""
        self.group_removed = False
        self.drained = False
        """Its worker is ended since the node leaves."""
        self.worker: Worker | None = None
        self.since = since

    @property
    def has_task(self) -> bool:
        """Whether it is a worker for tasks, with resources that could serve others."""
        return self.worker is not None and not self.request.actor_id and bool(self.held)


class RayletGrants:
    """Who holds the node's resources and workers. What is held never exceeds what the node has.

    Attributes:
        table: by lease.
        free: what no lease and no bundle holds.
        shares: what each job holds.
        promises: what is kept for jobs that have less than their share.
        lasting: what actors and bundles hold: it does not come back when it is asked for.
        changed: resources or queue have changed since the last report.
        dirty: something has come back, or wants a worker, since the last end of a turn.
    """

    def __init__(
        self, node_id: NodeId, ports: Ports, gcs: GcsClient, pool: WorkerPool, total: Resources, config: Config
    ) -> None:
        self.node_id = node_id
        self.gcs = gcs
        self.clock = ports.clock
        self.transport = ports.transport
        self.trace = ports.trace
        self.pool = pool
        self.free = ResourcePool(total)
        self.shares = Shares(total)
        self.lasting: Resources = {}
        self.promises = Promises(ports.clock, config.view_period)
        self.table: dict[LeaseId, Grant] = {}
        self.waiting_workers: deque[Grant] = deque()
        self.waiting_cpu: dict[LeaseId, Grant] = {}
        self.changed = True
        self.dirty = False

    # --- Begin and end

    def grant(self, request: RequestLease, pool: ResourcePool) -> Grant:
        """Give a request its resources, which the pool has; a worker follows."""
        grant = Grant(request, self.clock.now(), pool)
        self.table[request.lease_id] = grant
        if pool is self.free:
            self.shares.take(request.job_id, grant.held)
            self.promises.taken(request.job_id, grant.held)
            self.changed = True
            if request.actor_id:
                add(self.lasting, grant.held)
        if self.trace.enabled:
            what = (dict(grant.held), dict(grant.gpus), request.strategy.group, pool.bundle)
            self.trace.event("lease.granted", request.lease_id, (self.node_id, *what, request.holder))
        self.waiting_workers.append(grant)
        self.dirty = True
        return grant

    def assign_workers(self) -> None:
        """Give idle workers to the grants that have none, and start those that are missing."""
        missing: deque[Grant] = deque()
        for grant in self.waiting_workers:
            request = grant.request
            worker = self.pool.take(request)
            if worker is None:
                missing.append(grant)
                continue
            grant.worker = worker
            grant.since = self.clock.now()
            through = max(0, self.pool.processes.started_through(worker.worker_id) or 0)
            granted = LeaseGranted(request.lease_id, worker.worker_id, tuple(sorted(grant.gpus)), through)
            self.gcs.tell(request.holder, granted)
        self.waiting_workers = missing
        wanted: dict[int, int] = {}
        for grant in missing:
            wanted[grant.request.job_id] = wanted.get(grant.request.job_id, 0) + 1
        for job_id, count in wanted.items():
            for _ in range(count - self.pool.count_starting(job_id)):
                self.pool.start(job_id)

    def workers_ready(self) -> None:
        """A worker became idle."""
        self.dirty = True

    def _end(self, grant: Grant) -> None:
        self._give(grant, grant.held, grant.gpus)
        if grant.promised_to:
            self.promises.make(grant.promised_to, grant.held)
        grant.held = {}
        del self.table[grant.request.lease_id]
        self.waiting_cpu.pop(grant.request.lease_id, None)
        self.changed = True
        self.dirty = True
        if self.trace.enabled:
            self.trace.event("lease.ended", grant.request.lease_id, self.node_id)

    def _give(self, grant: Grant, amounts: Resources, gpus: GpuParts) -> None:
        grant.pool.give(amounts, gpus)
        if grant.pool is self.free and not grant.group_removed:
            self.shares.give(grant.request.job_id, amounts)
            if grant.request.actor_id:
                subtract(self.lasting, amounts)

    def withdraw(self, lease_id: LeaseId) -> None:
        """Nobody wants the lease any more; one that has its worker is returned by its holder."""
        grant = self.table.get(lease_id)
        if grant is not None and grant.worker is None:
            self.waiting_workers.remove(grant)
            self._end(grant)

    def on_return_lease(self, sender: Address, message: ReturnLease) -> None:
        """The holder is done with the worker."""
        grant = self.table.get(message.lease_id)
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

    # --- Ends of processes and groups

    def on_kill_worker(self, sender: Address, message: KillWorker) -> None:
        """A worker of ours must end now."""
        worker = self.pool.workers.get(message.worker_id)
        if worker is not None:
            self.pool.kill(worker, message.reason)

    def worker_exited(self, worker: Worker, reason: str, started_through: int | None) -> None:
        """A worker has ended; its holder is told."""
        grant = self.table.get(worker.lease_id)
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
                drained=grant.drained,
            )
            self.gcs.tell(grant.request.holder, lost)
        self.dirty = True

    def holder_died(self, address: Address) -> None:
        """A process or node has ended: workers that ran its tasks end too."""
        for grant in list(self.table.values()):
            if grant.request.holder.startswith(address) and grant.request.holder != GCS:
                self._end_early(grant, "the process whose task it ran has ended")

    def bundle_removed(self, pool: ResourcePool, reason: str) -> None:
        """A bundle has ended: so do the workers that use it; what they hold goes to the node when they are gone."""
        self.dirty = True
        self.changed = True
        for grant in list(self.table.values()):
            if grant.pool is pool:
                grant.pool = self.free
                grant.group_removed = True
                self._end_early(grant, reason)

    def _end_early(self, grant: Grant, reason: str) -> None:
        if grant.worker is None:
            self.waiting_workers.remove(grant)
            self._end(grant)
        else:
            self.pool.kill(grant.worker, reason)

    # --- Nodes that leave

    def begin_draining(self) -> None:
        """This node leaves: leases of tasks are to come back after what runs on them now."""
        for lease_id, grant in self.table.items():
            if grant.worker is not None and not grant.request.actor_id:
                grant.closing = True
                self.transport.send(grant.request.holder, ReclaimLeases((lease_id,)))

    def give_up_unstarted(self) -> list[RequestLease]:
        """End the grants that have no worker yet; returns their requests."""
        waiting, self.waiting_workers = self.waiting_workers, deque()
        for grant in waiting:
            self._end(grant)
        return [grant.request for grant in waiting]

    # --- Bundles

    def set_aside(self, job_id: JobId, demands: Sequence[Mapping[str, int]]) -> None:
        """Bundles have been taken from what is free."""
        for demand in demands:
            self.shares.take(job_id, demand)
            add(self.lasting, demand)
        self.changed = True

    def no_longer_aside(self, job_id: JobId, demand: Mapping[str, int]) -> None:
        """A bundle is given back."""
        self.shares.give(job_id, demand)
        subtract(self.lasting, demand)

    # --- Blocked workers

    def of_worker(self, worker_id: WorkerId) -> Grant | None:
        """The lease under which a worker of this node runs."""
        worker = self.pool.workers.get(worker_id)
        return None if worker is None else self.table.get(worker.lease_id)

    def is_blocked(self, holder: Address) -> bool:
        """Whether the holder of a request is a task of this node that waits, without its CPU."""
        grant = self.of_worker(holder)
        return grant is not None and CPU not in grant.held

    def on_release_cpu(self, sender: Address, message: ReleaseCpu) -> None:
        """A worker's task waits; others may use its CPU. If one before it was to have it back, that one has ended."""
        grant = self.of_worker(sender)
        if grant is None:
            return
        if self.waiting_cpu.pop(grant.request.lease_id, None) is not None:
            self.transport.send(sender, CpuAcquired())
        self.pool.prepare(grant.request.job_id)
        cpu = grant.held.pop(CPU, 0)
        if cpu:
            self._give(grant, {CPU: cpu}, {})
            self.changed = True
            self.dirty = True
            if self.trace.enabled:
                self.trace.event("lease.cpu", grant.request.lease_id, (self.node_id, -cpu))

    def on_acquire_cpu(self, sender: Address, message: AcquireCpu) -> None:
        """A worker's task can go on."""
        grant = self.of_worker(sender)
        if grant is None:
            self.transport.send(sender, CpuAcquired())
            return
        self.waiting_cpu[grant.request.lease_id] = grant
        if grant.request.terms.quota:
            self.dirty = True
            return
        self.resume_blocked(lambda request, demand: not request.terms.quota)
        if self.waiting_cpu:
            self.dirty = True

    def resume_blocked(self, admit: Callable[[RequestLease, Mapping[str, int]], bool]) -> None:
        """Let tasks go on that have waited, as far as there are CPUs for them and their job may hold them."""
        for lease_id, grant in list(self.waiting_cpu.items()):
            cpu = grant.request.resources.get(CPU, 0)
            if grant.pool.available.get(CPU, 0) < cpu:
                if not self._only_actors_hold_cpu(grant.pool):
                    continue
                cpu = 0
            if cpu and grant.pool is self.free and not admit(grant.request, {CPU: cpu}):
                continue
            if cpu:
                grant.pool.take({CPU: cpu})
                if grant.pool is self.free and not grant.group_removed:
                    self.shares.take(grant.request.job_id, {CPU: cpu})
                    if grant.request.actor_id:
                        add(self.lasting, {CPU: cpu})
                grant.held[CPU] = cpu
                self.changed = True
                if self.trace.enabled:
                    self.trace.event("lease.cpu", lease_id, (self.node_id, cpu))
            del self.waiting_cpu[lease_id]
            assert grant.worker is not None
            self.transport.send(grant.worker.worker_id, CpuAcquired())

    def _only_actors_hold_cpu(self, pool: ResourcePool) -> bool:
        """Then no CPU comes free before the actors end, perhaps by the very task that waits: it goes on without one."""
        holders = (grant for grant in self.table.values() if grant.pool is pool)
        return all(grant.request.actor_id or not grant.held.get(CPU) for grant in holders)
