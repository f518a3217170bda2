"""The books of the nodes themselves: what a node believes to be free is what its leases and bundles leave."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from thornback.core.ids import JobId, NodeId
from thornback.core.messages import Heartbeat
from thornback.core.resources import Resources, add, describe, subtract
from thornback.core.scheduling.pools import GpuParts, ResourcePool, whole_gpus
from thornback.faults.invariants.base import Checker

if TYPE_CHECKING:
    from thornback.core.raylet import Raylet
    from thornback.core.raylet.grants import Grant


class Ledgers(Checker):
    """Adds up what the leases and bundles of a node hold, between turns, whenever the node sends a heartbeat.

    :class:`~thornback.faults.invariants.resources.Capacity` follows what was handed out; this one compares it with what
    the node believes: too little that is believed to be free is nowhere handed out, and never seen by the other.
    """

    name = "ledgers"
    promise = "what is free on a node, and what its jobs hold, is exactly what its leases and bundles say"

    def __init__(self) -> None:
        super().__init__()
        self._told: dict[tuple[NodeId, str], None] = {}

    def saw_heartbeat(self, time: int, sender: bytes, to: bytes, message: Heartbeat) -> None:
        """A node is between two turns."""
        node = next((node for node in self.world.nodes if node.alive and node.node_id == sender), None)
        if node is None or node.process is None:
            return
        for where, text in wrong_books(node.process.core.raylet):
            if (sender, where) not in self._told:
                self._told[sender, where] = None
                self.fail(sender, where, f"{node.name}: {text}")


def wrong_books(raylet: Raylet) -> Iterator[tuple[str, str]]:
    """What does not add up: in words without amounts, and with them."""
    grants = raylet.grants
    bundles = [bundle for group in raylet.bundles.groups.values() for bundle in group.bundles.values()]
    own = _of_pool(raylet, grants.free)
    taken: list[tuple[Mapping[str, int], GpuParts]] = [(grant.held, grant.gpus) for grant in own]
    taken += [(bundle.pool.total, bundle.gpus) for bundle in bundles]
    yield from _wrong_pool("the node", grants.free, whole_gpus(grants.free.total), taken)
    for bundle in bundles:
        held = [(grant.held, grant.gpus) for grant in _of_pool(raylet, bundle.pool)]
        yield from _wrong_pool("a bundle", bundle.pool, bundle.gpus, held)
    held_by_job: dict[JobId, Resources] = {}
    lasting: Resources = {}
    for grant in own:
        if not grant.group_removed:
            add(held_by_job.setdefault(grant.request.job_id, {}), grant.held)
            if grant.request.actor_id:
                add(lasting, grant.held)
    for bundle in bundles:
        add(held_by_job.setdefault(bundle.job_id, {}), bundle.pool.total)
        add(lasting, bundle.pool.total)
    believed = grants.shares.here()
    for job in sorted({*held_by_job, *believed}):
        yield from _differ(f"what a job holds (job {job})", held_by_job.get(job, {}), believed.get(job, {}))
    yield from _differ("what actors and bundles hold", lasting, grants.lasting)


def _of_pool(raylet: Raylet, pool: ResourcePool) -> list[Grant]:
    return [grant for grant in raylet.grants.table.values() if grant.pool is pool]


def _wrong_pool(
    what: str, pool: ResourcePool, gpus: GpuParts, taken: Iterable[tuple[Mapping[str, int], GpuParts]]
) -> Iterator[tuple[str, str]]:
    left, parts = dict(pool.total), dict(gpus)
    for amounts, used in taken:
        subtract(left, amounts)
        for gpu, units in used.items():
            parts[gpu] = parts.get(gpu, 0) - units
    yield from _differ(f"what is free on {what}", left, pool.available)
    if any(parts.get(gpu, 0) != pool.gpus.get(gpu, 0) for gpu in (*parts, *pool.gpus)):
        yield f"the GPUs of {what}: counted wrongly", f"{parts} of the GPUs of {what} is free, counted is {pool.gpus}"


def _differ(what: str, right: Mapping[str, int], believed: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    right, believed = ({name: amount for name, amount in each.items() if amount} for each in (right, believed))
    if right != believed:
        where = f"{what.partition(' (')[0]}: counted wrongly"
        yield where, f"{what} is {describe(right)}, and is counted as {describe(believed)}"
