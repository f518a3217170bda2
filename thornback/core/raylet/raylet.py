"""The raylet: one per node, the hub of the parts in this package and of the node's object store."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from thornback.core.config import Config
from thornback.core.gcs_client import GcsClient
from thornback.core.ids import GCS, Address, JobId, NodeId, WorkerId, is_node, node_of
from thornback.core.messages import (
    Death,
    Deaths,
    GcsStarted,
    GetView,
    Heartbeat,
    JobEnded,
    JobStarted,
    NodeFenced,
    NodeHolds,
    NodeRegistered,
    NodeView,
    PolicyRegistered,
    QueryState,
    RegisterNode,
    RegisterWorker,
    ReportResources,
    SlowNodes,
    StateRows,
    ViewDelta,
    WorkerNeeded,
)
from thornback.core.objects import ledger
from thornback.core.objects.arguments import ArgumentRequests
from thornback.core.objects.pulls import Pulls
from thornback.core.objects.store import NodeStore
from thornback.core.ports import Disk, ObjectMemory, Ports, Processes
from thornback.core.raylet.bundles import RayletBundles
from thornback.core.raylet.death_news import DeathNews
from thornback.core.raylet.draining import Draining
from thornback.core.raylet.grants import RayletGrants
from thornback.core.raylet.job_use import job_use
from thornback.core.raylet.leases import RayletLeases
from thornback.core.raylet.memory_guard import MemoryGuard
from thornback.core.raylet.pool import WorkerPool
from thornback.core.raylet.reasons import RayletReasons
from thornback.core.resources import CPU, OBJECT_STORE_MEMORY, UNIT, Resources
from thornback.core.scheduling import registry
from thornback.core.scheduling.view import ClusterView

DEATHS_KEPT = 10_000
"""Ended nodes that a raylet remembers for processes that start later."""


class Raylet:
    """A node's local decisions and its ties to the GCS.

    Attributes:
        parts: the components of this node that take messages, besides the raylet itself.
        fenced: the GCS has declared this node dead; its process must start again under a new id.
    """

    def __init__(
        self,
        node_id: NodeId,
        name: str,
        ports: Ports,
        processes: Processes,
        memory: ObjectMemory,
        config: Config,
        resources: Mapping[str, int],
        labels: Mapping[str, str],
        endpoint: str,
        is_head: bool,
        disk: Disk | None = None,
    ) -> None:
        self.node_id = node_id
        self.name = name
        self.clock = ports.clock
        self.transport = ports.transport
        self.gcs = GcsClient(ports, config)
        self.gcs.greet = self._register
        self.gcs.returned = self._report_held
        self.gcs.settled = self._forget_own_deaths
        self.trace = ports.trace
        self.processes = processes
        self.config = config
        self.labels = dict(labels)
        self.endpoint = endpoint
        self.is_head = is_head
        self.fenced = False
        total: Resources = dict(resources)
        total.setdefault(OBJECT_STORE_MEMORY, memory.capacity)
        cpus = total.get(CPU, 0) // UNIT
        self.view = ClusterView(ports.clock.now, config.view_period, 3 * config.view_period)
        self.view_version = 0
        self.pool = WorkerPool(node_id, ports, processes, config, cpus, lambda: self.grants.workers_ready())
        self.grants = RayletGrants(node_id, ports, self.gcs, self.pool, total, config)
        self.store = NodeStore(node_id, ports, memory, config, disk)
        self.leases = RayletLeases(node_id, ports, self.gcs, self.grants, self.view, config, total, self.store.dead)
        self.memory_guard = MemoryGuard(self.clock, self.pool, self.grants, processes, config)
        self.pulls = Pulls(node_id, ports, self.store, config)
        self.bundles = self.leases.bundles = RayletBundles(node_id, ports, self.gcs, self.leases, config)
        self.arguments = ArgumentRequests(self.store, self.pulls)
        self.reasons = RayletReasons(node_id, ports, self.leases, self.bundles, self.store, self.pulls)
        self.draining = Draining(self)
        self.death_news = DeathNews(node_id, ports.transport, self.store.is_dead, self._lives)
        self.leases.depend_on = self.store.depend_on = self.death_news.depend_on
        own = (self.grants, self.bundles, self.store, self.pulls, self.arguments, self.reasons, self.memory_guard)
        self.parts = (self.gcs, *self.leases.parts, *own, self.draining, self.death_news)
        self.drivers: dict[WorkerId, JobId] = {}
        self._joining: dict[WorkerId, None] = {}
        """Drivers that have an id and are not up yet."""
        self._pids: dict[WorkerId, int] = {}
        self._dead_nodes: dict[NodeId, Death] = {}
        """For processes that start later: they may yet meet references to what died."""
        self._own_deaths: deque[tuple[int, Death]] = deque()
        """Of this node, with the time: lately, and all while the GCS is away."""
        self._version = 0
        self._own: NodeView
        """What this node has, as said last; in ``view`` it lacks what waiting requests will take."""
        self._report_timer = False
        self._view_timer = False
        self.view.apply(self._own_view(), is_own=True)

    def new_worker_id(self) -> WorkerId:
        """An id for a driver that joins this node."""
        driver = self.pool.new_worker_id()
        self._joining[driver] = None
        return driver

    def _lives(self, process: WorkerId) -> bool:
        """Whether a process of this node has not ended."""
        return process in self.pool.workers or process in self.drivers or process in self._joining

    def start(self) -> None:
        """Register with the GCS, start the first workers."""
        if self.trace.enabled:
            self.trace.event("node.up", self.node_id, dict(self.leases.total))
        self.gcs.send(RegisterNode(self._own_view(), self.is_head))
        self.grants.changed = False
        self._beat()
        if self.config.prestart_workers:
            for _ in range(self.pool.cpus):
                self.pool.start(0)

    def _register(self) -> None:
        """There is another GCS: it must know this node before anything else; so must the processes of this node."""
        self.transport.send(GCS, RegisterNode(self._own_view(), self.is_head))
        self.leases.quotas.tell_again()
        self.grants.changed = False
        for process in self._processes():
            self.transport.send(process, GcsStarted(self.gcs.incarnation))

    def _report_held(self) -> None:
        """The new GCS has heard again all that it may have missed: now what is left of what the last one asked for."""
        held = NodeHolds(self.leases.held_for_gcs(), self.bundles.held(), self.pool.jobs(), self.gcs.incarnation)
        self.gcs.send(held)
        for _, death in self._own_deaths:
            self.gcs.send(Deaths((death,)))

    def _forget_own_deaths(self) -> None:
        """The GCS is there, and has heard of all: who has not heard from it of older ends has been given up since."""
        limit = self.clock.now() - self.config.deaths_reported_again
        while self._own_deaths and self._own_deaths[0][0] < limit:
            self._own_deaths.popleft()

    def _processes(self) -> list[WorkerId]:
        """Those of this node that are up."""
        return [*self.drivers, *(worker.worker_id for worker in self.pool.workers.values() if worker.pid)]

    def _own_view(self) -> NodeView:
        self._version += 1
        leases = self.leases
        self._own = NodeView(
            self.node_id,
            self._version,
            self.name,
            dict(leases.total),
            dict(self.grants.free.available),
            self.labels,
            draining=self.draining.active,
            waiting=leases.waiting,
            endpoint=self.endpoint,
            lasting={name: amount for name, amount in self.grants.lasting.items() if amount},
        )
        return self._own

    def refresh_view(self) -> None:
        """What this node knows of itself has changed."""
        self.view.apply(self._own_view(), is_own=True)

    # --- The GCS

    def _beat(self) -> None:
        if not self.fenced:
            self.transport.send(GCS, Heartbeat())
            self.clock.call_after(self.config.heartbeat_period, self._beat)

    def on_node_registered(self, sender: Address, message: NodeRegistered) -> None:
        """The GCS knows this node."""
        if message.nodes > 1:
            self.leases.wants_view = True

    def on_node_fenced(self, sender: Address, message: NodeFenced) -> None:
        """The cluster has given this node up: nothing of it may act any more."""
        if self.fenced:
            return
        self.fenced = True
        if self.trace.enabled:
            self.trace.event("node.fenced", self.node_id)
        for worker in list(self.pool.workers.values()):
            self.pool.kill(worker, "its node was declared dead")

    def on_policy_registered(self, sender: Address, message: PolicyRegistered) -> None:
        """A user has registered a placement policy."""
        registry.register(message.name, registry.load(message.blob))

    def on_view_delta(self, sender: Address, message: ViewDelta) -> None:
        """What has changed in the cluster."""
        self.view_version = max(self.view_version, message.version)
        for node in message.nodes:
            if node.node_id != self.node_id:
                self.view.apply(node)
        self.grants.shares.set_elsewhere({share.job_id: share.elsewhere for share in message.shares}, message.total)
        self.leases.view_changed()

    def on_slow_nodes(self, sender: Address, message: SlowNodes) -> None:
        """The GCS knows which nodes are slow. On one that has become so, tasks are placed anew."""
        was_slow = self.node_id in self.view.slow
        self.view.set_slow({node.node_id: node.factor for node in message.nodes})
        if self.node_id in self.view.slow and not was_slow:
            self.leases.reclaiming.ask_for_all()

    def end_turn(self) -> None:
        """Grant what can be granted, tell the GCS what has changed, ask it for news where that could help."""
        self.leases.end_turn()
        self.pulls.end_turn()
        if self.grants.changed:
            self.grants.changed = False
            self.view.apply(self._own_view(), is_own=True)
            if not self._report_timer:
                self._report_timer = True
                self.clock.call_after(self.config.view_period, self._report)
        if self.leases.wants_view and not self._view_timer:
            self.leases.wants_view = False
            self._view_timer = True
            self.transport.send(GCS, GetView(self.view_version))
            self.clock.call_after(self.config.view_period, self._view_again)

    def _report(self) -> None:
        self._report_timer = False
        self.transport.send(GCS, ReportResources(self._own, job_use(self.grants, self.leases.queue)))

    def _view_again(self) -> None:
        self._view_timer = False
        if self.leases.waiting:
            self.leases.wants_view = True

    # --- Processes

    def on_register_worker(self, sender: Address, message: RegisterWorker) -> None:
        """A process of this node is up."""
        self._pids[sender] = message.pid
        if message.is_driver:
            self._joining.pop(sender, None)
            self.drivers.setdefault(sender, 0)
        else:
            self.pool.registered(sender, message.pid)
        if self._dead_nodes:
            self.transport.send(sender, Deaths(tuple(self._dead_nodes.values())))
        if self.gcs.incarnation > 1:
            self.transport.send(sender, GcsStarted(self.gcs.incarnation))

    def on_worker_needed(self, sender: Address, message: WorkerNeeded) -> None:
        """A worker without work cannot end."""
        self.pool.needed(sender)

    def on_job_started(self, sender: Address, message: JobStarted) -> None:
        """A driver of this node has its job."""
        if sender in self.drivers:
            self.drivers[sender] = message.job_id

    def driver_of_job(self, job_id: JobId) -> WorkerId | None:
        """The driver of a job, if it runs on this node."""
        return next((driver for driver, job in self.drivers.items() if job == job_id), None)

    def job_of_worker(self, worker_id: WorkerId) -> JobId:
        """The job a worker works for; 0 for none yet."""
        worker = self.pool.workers.get(worker_id)
        return 0 if worker is None else worker.job_id

    def peer_down(self, address: Address, reason: str) -> None:
        """A process of this node closed its connection; for a driver that is its end. The GCS may know one that has not
        come up here."""
        if address in self.drivers or address in self._joining:
            self._joining.pop(address, None)
            self.drivers.pop(address, None)
            self._process_ended(address, reason or "the driver has ended")

    def worker_exited(self, worker_id: WorkerId, detail: str) -> None:
        """A worker process has ended."""
        worker = self.pool.exited(worker_id)
        if worker is None:
            return
        reason = f"{worker.reason} ({detail})" if worker.reason else detail
        through = self.processes.started_through(worker_id)
        self.processes.forget(worker_id)
        self.grants.worker_exited(worker, reason, through)
        self._pids.pop(worker_id, None)
        if worker.used or (worker.pid and self.gcs.incarnation > 1):  # A later GCS has met it.
            self._process_ended(worker_id, reason)

    def _process_ended(self, address: Address, reason: str) -> None:
        death = Death(address, reason)
        message = Deaths((death,))
        self._own_deaths.append((self.clock.now(), death))
        self.gcs.send(message)
        self.on_deaths(self.node_id, message)

    def on_deaths(self, sender: Address, message: Deaths) -> None:
        """Processes or nodes have ended, here or elsewhere."""
        news = [death for death in message.deaths if not self.store.is_dead(death.address)]
        for death in news:
            if death.address == self.node_id:
                continue
            if is_node(death.address):
                self.view.died(death.address)
            self.store.process_died(death.address)
            self.pulls.process_died(death.address)
            self.arguments.process_died(death.address)
            self.draining.process_died(death.address)
            self.leases.holder_died(death.address)
            if is_node(death.address):
                self.death_news.node_died(death.address)
                self._dead_nodes[death.address] = death
            else:
                self.death_news.ended(death)
        nodes = tuple(death for death in news if is_node(death.address))
        if nodes:
            while len(self._dead_nodes) > DEATHS_KEPT:
                del self._dead_nodes[next(iter(self._dead_nodes))]
            for process in self._processes():
                self.transport.send(process, Deaths(nodes))

    def on_job_ended(self, sender: Address, message: JobEnded) -> None:
        """A program is over: its workers without a lease end. The GCS ends its actors, and what ran for its driver or
        for them ends with its holder; what runs for a detached actor goes on."""
        for worker in self.pool.of_job(message.job_id):
            if not worker.lease_id:
                self.pool.kill(worker, "its job has ended")

    # --- State

    def on_query_state(self, sender: Address, message: QueryState) -> None:
        """Rows of one of this node's tables."""
        tables: dict[str, Callable[[], list[dict[str, Any]]]] = {
            "workers": self._worker_rows,
            "processes": self._process_rows,
            "objects": lambda: ledger.rows(self.store),
            "store": lambda: [ledger.summary(self.store)],
        }
        rows = tables.get(message.table, list)()
        self.transport.send(sender, StateRows(message.request, json.dumps(rows).encode()))

    def _worker_rows(self) -> list[dict[str, object]]:
        return [
            {
                "worker_id": worker.worker_id.hex(),
                "node_id": node_of(worker.worker_id).hex(),
                "pid": worker.pid,
                "state": worker.state,
                "job_id": worker.job_id,
                "name": worker.name,
            }
            for worker in self.pool.workers.values()
        ]

    def _process_rows(self) -> list[dict[str, object]]:
        """Those that may refer to objects."""
        used = [worker.worker_id for worker in self.pool.workers.values() if worker.used]
        return [{"process": process.hex(), "pid": self._pids.get(process, 0)} for process in (*self.drivers, *used)]
