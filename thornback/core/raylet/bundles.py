"""Bundles of placement groups on one node: set aside all or none, used by leases, given back."""

from __future__ import annotations

from collections.abc import Mapping

from thornback.core.config import Config
from thornback.core.gcs_client import GcsClient
from thornback.core.ids import Address, NodeId, TaskId
from thornback.core.messages import (
    BundlesReserved,
    CommitBundles,
    HeldBundles,
    LeaseSpilled,
    ReleaseBundles,
    RequestLease,
    ReserveBundles,
)
from thornback.core.ports import Ports
from thornback.core.raylet.leases import RayletLeases
from thornback.core.scheduling.pools import GpuParts, ResourcePool

GROUP_REMOVED = "its placement group was removed"
ALL = -1


class Bundle:
    """One bundle on this node."""

    __slots__ = ("attempt", "gpus", "group_id", "index", "job_id", "pool")

    def __init__(self, message: ReserveBundles, index: int, demand: Mapping[str, int], gpus: GpuParts) -> None:
        self.group_id = message.group_id
        self.index = index
        self.attempt = message.attempt
        self.job_id = message.job_id
        self.gpus = gpus
        self.pool = ResourcePool(demand, gpus, bundle=index)


class Group:
    """The bundles of one group on this node."""

    __slots__ = ("bundles", "committed", "nodes")

    def __init__(self) -> None:
        self.bundles: dict[int, Bundle] = {}
        self.committed = False
        self.nodes: tuple[NodeId, ...] = ()
        """Where all bundles of the group are, by index; known once committed."""


class RayletBundles:
    """Every bundle's promise: what was set aside is there for the group's tasks and for nobody else."""

    def __init__(self, node_id: NodeId, ports: Ports, gcs: GcsClient, leases: RayletLeases, config: Config) -> None:
        self.node_id = node_id
        self.gcs = gcs
        self.transport = ports.transport
        self.trace = ports.trace
        self.leases = leases
        self.config = config
        self.groups: dict[TaskId, Group] = {}
        self._released: dict[TaskId, int] = {}
        """Highest attempt that was given back, so that a late reservation is refused; ALL for removed groups."""
        self._waiting: dict[TaskId, ReserveBundles] = {}
        """Reservations for which room is kept until they can be made."""

    # --- Two-phase reservation

    def on_reserve_bundles(self, sender: Address, message: ReserveBundles) -> None:
        """First phase: all of these bundles are set aside, or none."""
        granted = self._reserve(message)
        if granted or not message.keep_room or self._is_released(message):
            self.gcs.send(BundlesReserved(message.group_id, message.attempt, granted))
            return
        self._waiting[message.group_id] = message
        self.leases.reservations.bundles[message.group_id] = [demand for _, demand in message.bundles]
        self.leases.grants.dirty = True

    def reserve_waiting(self) -> None:
        """Make the reservations for which room was kept, as far as it is there; refuse those for which actors and other
        groups leave none."""
        reservations = self.leases.reservations
        for group_id, message in list(self._waiting.items()):
            granted = self._reserve(message)
            hopeless = reservations.current is None or reservations.current.key not in self._waiting
            if granted or hopeless:
                self._wait_no_more(group_id)
                self.gcs.send(BundlesReserved(group_id, message.attempt, granted))

    def _wait_no_more(self, group_id: TaskId) -> None:
        if self._waiting.pop(group_id, None) is not None:
            del self.leases.reservations.bundles[group_id]
            self.leases.reservations.released(group_id)

    def _is_released(self, message: ReserveBundles) -> bool:
        released = self._released.get(message.group_id)
        return released is not None and (released == ALL or released >= message.attempt)

    def _reserve(self, message: ReserveBundles) -> bool:
        if self._is_released(message):
            return False
        group = self.groups.get(message.group_id) or Group()
        known = [group.bundles.get(index) for index, _ in message.bundles]
        if any(bundle is not None for bundle in known):
            return all(bundle is not None and bundle.attempt == message.attempt for bundle in known)
        demands = [demand for _, demand in message.bundles]
        if not self.leases.reservations.admits(message.group_id, demands):
            return False
        taken: dict[int, Bundle] = {}
        pool = self.leases.grants.free
        for index, demand in message.bundles:
            if not pool.fits(demand):
                for bundle in taken.values():
                    pool.give(bundle.pool.total, bundle.gpus)
                return False
            gpus = pool.take(demand)
            taken[index] = Bundle(message, index, demand, gpus)
        group.bundles.update(taken)
        self.groups[message.group_id] = group
        self.leases.reservations.taken(message.group_id, demands)
        self.leases.grants.set_aside(message.job_id, demands)
        if self.trace.enabled:
            for bundle in taken.values():
                detail = (self.node_id, bundle.index, message.attempt, dict(bundle.pool.total), dict(bundle.gpus))
                self.trace.event("bundle.reserved", message.group_id, detail)
        if message.committed:
            group.committed = True
            group.nodes = (self.node_id,) * len(group.bundles)
            self.leases.bundles_changed()
        return True

    def on_commit_bundles(self, sender: Address, message: CommitBundles) -> None:
        """Second phase: the whole group has its place."""
        group = self.groups.get(message.group_id)
        if group is None:
            return
        group.committed = True
        group.nodes = message.nodes
        self.leases.bundles_changed()

    def on_release_bundles(self, sender: Address, message: ReleaseBundles) -> None:
        """The attempt failed elsewhere, or the group has ended."""
        self._note_released(message.group_id, message.attempt)
        waiting = self._waiting.get(message.group_id)
        if waiting is not None and message.attempt in (ALL, waiting.attempt):
            self._wait_no_more(message.group_id)
        group = self.groups.get(message.group_id)
        if group is None:
            return
        for bundle in list(group.bundles.values()):
            if message.attempt in (ALL, bundle.attempt):
                del group.bundles[bundle.index]
                self._give_back(bundle)
        if not group.bundles:
            del self.groups[message.group_id]

    def _note_released(self, group_id: TaskId, attempt: int) -> None:
        known = self._released.pop(group_id, 0)
        self._released[group_id] = ALL if ALL in (known, attempt) else max(known, attempt)
        if len(self._released) > self.config.removed_groups:
            del self._released[next(iter(self._released))]

    def _give_back(self, bundle: Bundle) -> None:
        """What is free in the bundle is free on the node at once; what its tasks hold, when their workers end."""
        self.leases.grants.free.give(
            bundle.pool.available, {key: units for key, units in bundle.pool.gpus.items() if units}
        )
        self.leases.grants.no_longer_aside(bundle.job_id, bundle.pool.total)
        if self.trace.enabled:
            self.trace.event("bundle.released", bundle.group_id, (self.node_id, bundle.index, bundle.attempt))
        self.leases.grants.bundle_removed(bundle.pool, GROUP_REMOVED)

    # --- Leases in bundles

    def pool_for(self, request: RequestLease) -> ResourcePool | None:
        """The bundle that the request may use now; None if there is none with room."""
        group = self.groups.get(request.strategy.group)
        if group is None or not group.committed:
            return None
        wanted = request.strategy.bundle
        for index, bundle in group.bundles.items():
            if wanted in (-1, index) and bundle.pool.fits(request.resources):
                return bundle.pool
        return None

    def pools_of(self, request: RequestLease) -> list[ResourcePool]:
        """The bundles of this node that the request may use, with room or without."""
        group = self.groups.get(request.strategy.group)
        if group is None or not group.committed:
            return []
        wanted = request.strategy.bundle
        return [bundle.pool for index, bundle in group.bundles.items() if wanted in (-1, index)]

    def is_alone(self, group_id: TaskId) -> bool:
        """Whether all bundles of a group are on this node."""
        group = self.groups.get(group_id)
        return group is not None and all(node == self.node_id for node in group.nodes)

    def elsewhere(self, request: RequestLease) -> NodeId | None:
        """The next node of the group to ask for a request that may use any bundle and found this node full; None when
        it has been to all of them."""
        nodes = self._nodes_for(request)
        return None if not nodes or (request.hops + 1) % len(nodes) == 0 else self._following(nodes)

    def rounds(self, request: RequestLease) -> int:
        """How often a request that may use any bundle has been to all nodes of its group."""
        nodes = self._nodes_for(request)
        return (request.hops + 1) // len(nodes) if nodes else 0

    def go_round(self, request: RequestLease) -> bool:
        """Send a request that waited here for a while round the group's nodes once more; False if it may only be
        served here."""
        nodes = self._nodes_for(request)
        if len(nodes) < 2:
            return False
        self.gcs.tell(request.holder, LeaseSpilled(request.lease_id, self._following(nodes), request.hops + 1))
        return True

    def _nodes_for(self, request: RequestLease) -> list[NodeId]:
        """The nodes among which a request that may use any bundle can choose, if this is one of them."""
        group = self.groups.get(request.strategy.group)
        if group is None or not group.committed or request.strategy.bundle != -1:
            return []
        nodes = list(dict.fromkeys(group.nodes))
        return nodes if self.node_id in nodes else []

    def _following(self, nodes: list[NodeId]) -> NodeId:
        return nodes[(nodes.index(self.node_id) + 1) % len(nodes)]

    def held(self) -> tuple[HeldBundles, ...]:
        """What is set aside here, for a GCS that has come back; what waits for room it asks for anew."""
        for group_id in list(self._waiting):
            self._wait_no_more(group_id)
        return tuple(
            HeldBundles(group_id, tuple(bundle.attempt for bundle in group.bundles.values()))
            for group_id, group in self.groups.items()
        )
