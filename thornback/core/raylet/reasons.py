"""What lease requests and objects of this node wait for, and who holds its resources."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from thornback.core.ids import GCS, WORKER_ID_SIZE, Address, NodeId, ObjectId, short
from thornback.core.messages import AskReasons, NodeView, ReasonsGiven, RequestLease
from thornback.core.messages.waits import (
    BUNDLE,
    COPY,
    HOLDER,
    LEASE,
    NODE,
    CopyComing,
    Holding,
    Infeasible,
    NodeInUse,
    QuotaUsedUp,
    Reason,
    ResourcesMissing,
    Subject,
    Unknown,
    WorkerStarting,
)
from thornback.core.objects.entry import IN
from thornback.core.objects.pulls import Pulls
from thornback.core.objects.store import NodeStore
from thornback.core.ports import Ports
from thornback.core.raylet.bundles import RayletBundles
from thornback.core.raylet.grants import Grant
from thornback.core.raylet.leases import RayletLeases
from thornback.core.resources import CPU, add, fits, total
from thornback.core.scheduling.fair_queue import Waiting, shape_of
from thornback.core.scheduling.feasibility import allowed, why_infeasible
from thornback.core.scheduling.pools import ResourcePool

MOST_NODES = 200
"""Nodes that could serve a request, up to which all are looked at for a cycle; beyond that none is looked for."""


class RayletReasons:
    """The part of the graph of waits that one node knows. Reads the node's tables; changes nothing."""

    def __init__(
        self,
        node_id: NodeId,
        ports: Ports,
        leases: RayletLeases,
        bundles: RayletBundles,
        store: NodeStore,
        pulls: Pulls,
    ) -> None:
        self.node_id = node_id
        self.clock = ports.clock
        self.transport = ports.transport
        self.leases = leases
        self.bundles = bundles
        self.store = store
        self.pulls = pulls

    def on_ask_reasons(self, sender: Address, message: AskReasons) -> None:
        """Somebody wants to know why something waits."""
        reasons: Any = tuple(self.reason_for(subject) for subject in message.subjects)
        self.transport.send(sender, ReasonsGiven(message.request, self.clock.now(), reasons))

    def reason_for(self, subject: Subject) -> Reason:
        """What one subject of this node waits for."""
        if subject.kind == LEASE:
            return self._lease(subject.identifier)
        if subject.kind == NODE:
            return self._node()
        if subject.kind == COPY:
            return self._copy(subject.identifier)
        return Unknown(why=f"is not known: {subject.kind!r} is nothing that a node has")

    # --- Leases

    def _lease(self, identifier: bytes) -> Reason:
        leases = self.leases
        if len(identifier) == WORKER_ID_SIZE:
            worker = leases.grants.pool.workers.get(identifier)
            identifier = b"" if worker is None else worker.lease_id
        request = leases.infeasible.get(identifier)
        if request is not None:
            why = why_infeasible(request.name, request.resources, leases.view.alive(), request.strategy)
            return Infeasible(name=request.name, why=why)
        waiting = leases.queue.get(identifier)
        if waiting is not None:
            return self._waiting(waiting)
        grant = leases.grants.table.get(identifier)
        if grant is None:
            return Unknown(why="is not in the queue of that node any more")
        if grant.worker is None:
            return WorkerStarting(name=grant.request.name, node=self.node_id, since=grant.since)
        if identifier in leases.grants.waiting_cpu:
            cpu = grant.request.resources.get(CPU, 0)
            return self._missing(grant.request, {CPU: cpu}, grant.pool.available, grant.pool.total, 0)
        return Unknown(why="has just got a worker")

    def _waiting(self, waiting: Waiting) -> Reason:
        request = waiting.request
        free = self.leases.grants.free
        shape = shape_of(request)
        ahead = sum(each.number < waiting.number and shape_of(each.request) == shape for each in self.leases.queue)
        if not request.strategy.group:
            if free.fits(request.resources) and self.leases.quotas.lacks(request):
                quota = dict(request.terms.quota)
                return QuotaUsedUp(name=request.name, demand=dict(request.resources), quota=quota)
            return self._missing(request, request.resources, free.available, free.total, ahead)
        pools = self.bundles.pools_of(request)
        if not pools:
            return Unknown(why="waits until that node knows the place of its placement group")
        best = max(pools, key=lambda pool: sum(pool.available.get(name, 0) for name in request.resources))
        return self._missing(request, request.resources, best.available, best.total, ahead)

    def _missing(
        self,
        request: RequestLease,
        demand: Mapping[str, int],
        free: Mapping[str, int],
        have: Mapping[str, int],
        ahead: int,
    ) -> Reason:
        lacking = [name for name, amount in demand.items() if free.get(name, 0) < amount]
        grants = self._grants_with(lacking, self.bundles.pools_of(request) if request.strategy.group else None)
        groups = [] if request.strategy.group else self._groups_with(lacking)
        needs: tuple[Subject, ...] = ()
        others = self._other_nodes(request, demand)
        if lacking and others is not None:
            held = [self._holder(grant) for grant in grants] + [Subject(GCS, BUNDLE, group) for group in groups]
            needs = (*held, *(Subject(node.node_id, NODE, node.node_id) for node in others))
        freest = _freest(others or [], lacking)
        return ResourcesMissing(
            name=request.name,
            needs=needs,
            needed=min(1, len(needs)),
            demand=dict(demand),
            node=self.node_id,
            free={name: free.get(name, 0) for name in demand},
            total={name: have.get(name, 0) for name in demand},
            holdings=(*_summed(grants), *self._bundle_holdings(groups)),
            ahead=ahead,
            others=0 if others is None else len(others),
            freest=b"" if freest is None else freest.node_id,
            freest_has={} if freest is None else {name: freest.available.get(name, 0) for name in demand},
            kept_for="" if lacking or request.strategy.group else self._kept_for(request),
        )

    def _kept_for(self, request: RequestLease) -> str:
        """Who has waited so long that the request must leave the free room to it."""
        reservations = self.leases.reservations
        if reservations.current is None or reservations.admits(
            request.lease_id, (request.resources,), request.run_time
        ):
            return ""
        waiting = self.leases.queue.get(reservations.current.key)
        return "a placement group" if waiting is None else waiting.request.name

    def _grants_with(self, names: list[str], pools: list[ResourcePool] | None) -> list[Grant]:
        """Grants that hold some of these resources, from these bundles or from the node itself."""
        from_pools = [self.leases.grants.free] if pools is None else pools
        return [
            grant
            for grant in self.leases.grants.table.values()
            if any(grant.pool is pool for pool in from_pools) and any(grant.held.get(name) for name in names)
        ]

    def _groups_with(self, names: list[str]) -> list[bytes]:
        return [
            group_id
            for group_id, group in self.bundles.groups.items()
            if any(bundle.pool.total.get(name) for bundle in group.bundles.values() for name in names)
        ]

    def _bundle_holdings(self, groups: list[bytes]) -> list[Holding]:
        found = []
        for group_id in groups:
            here = total(bundle.pool.total for bundle in self.bundles.groups[group_id].bundles.values())
            found.append(Holding(short(group_id), 0, here, is_group=True))
        return found

    def _holder(self, grant: Grant) -> Subject:
        lease_id = grant.request.lease_id
        if grant.worker is None:
            return Subject(self.node_id, LEASE, lease_id)
        return Subject(grant.worker.worker_id, HOLDER, lease_id)

    def _other_nodes(self, request: RequestLease, demand: Mapping[str, int]) -> list[NodeView] | None:
        """Other nodes that the request could go to once they have room; None if one has room now or may have, so that
        nobody can say that it is stuck."""
        if demand is not request.resources:
            return []
        if request.strategy.group:
            return [] if request.strategy.bundle >= 0 or self.bundles.is_alone(request.strategy.group) else None
        nodes = [
            node
            for node in self.leases.view.alive()
            if node.node_id != self.node_id and allowed(node, request.strategy) and fits(demand, node.total)
        ]
        if len(nodes) > MOST_NODES or any(fits(demand, node.available) for node in nodes):
            return None
        return nodes

    def _node(self) -> Reason:
        grants = [self._holder(grant) for grant in self.leases.grants.table.values() if grant.held]
        groups = [Subject(GCS, BUNDLE, group_id) for group_id in self.bundles.groups]
        return NodeInUse(needs=(*grants, *groups), needed=min(1, len(grants) + len(groups)))

    # --- Objects

    def _copy(self, object_id: ObjectId) -> Reason:
        pull = self.pulls.active.get(object_id)
        entry = self.store.entries.get(object_id)
        capacity = self.store.allocator.capacity
        if pull is not None:
            step = "room" if pull.reserving else "pulling"
            return CopyComing(step=step, size=pull.size, received=sum(pull.received.values()), capacity=capacity)
        if entry is None:
            size = self.store.room.size_for(object_id)
            if size is None:
                return Unknown(why="is not on that node")
            return CopyComing(step="room", size=size, received=0, capacity=capacity)
        if not entry.sealed:
            return CopyComing(step="writing", size=entry.size, received=0, capacity=capacity)
        if entry.in_memory:
            return Unknown(why="is in the memory of that node")
        step = "restoring" if entry.moving == IN else "room"
        return CopyComing(step=step, size=entry.size, received=0, capacity=capacity)


def _freest(nodes: list[NodeView], names: list[str]) -> NodeView | None:
    """The node with the largest free share of the resource that it lacks most."""

    def share(node: NodeView) -> float:
        return min((node.available.get(name, 0) / (node.total.get(name) or 1) for name in names), default=0.0)

    return max(nodes, key=share, default=None)


def _summed(grants: list[Grant]) -> list[Holding]:
    """What each function or actor class of each job holds."""
    sums: dict[tuple[str, int, bool], dict[str, int]] = {}
    for grant in grants:
        request = grant.request
        add(sums.setdefault((request.name, request.job_id, bool(request.actor_id)), {}), grant.held)
    return [Holding(name, job_id, held, is_actor) for (name, job_id, is_actor), held in sums.items()]
