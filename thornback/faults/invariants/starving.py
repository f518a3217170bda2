"""Tasks that wait in the queue of their owner although there is room for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from thornback.core.ids import Address, TaskId, short
from thornback.core.messages import Heartbeat
from thornback.core.owner.scheduling_classes import SchedulingClass
from thornback.core.resources import describe
from thornback.core.scheduling.feasibility import allowed
from thornback.faults.invariants.base import Checker
from thornback.faults.invariants.liveness import raylets, user_processes

if TYPE_CHECKING:
    from thornback.simulator.world import World

LOOK_EVERY = 5_000_000_000
"""Virtual nanoseconds."""
BOUND = 60_000_000_000
"""Virtual nanoseconds for which a task may wait for what is there all the time."""

_Key = tuple[Address, TaskId]


class Starving(Checker):
    """Looks into the queues of all owners while the program runs, every few seconds of virtual time.

    Left out are tasks of placement groups, which wait for bundles, those of jobs with a quota, and second runs.
    """

    name = "nothing starves"
    promise = "no task waits in its owner's queue while some node has had room for it for a minute, faults being over"
    liveness = True

    def __init__(self) -> None:
        super().__init__()
        self._next = 0
        self._since: dict[_Key, int] = {}
        self._told: dict[_Key, None] = {}

    def begin(self, world: World) -> None:
        """Look at this cluster."""
        super().begin(world)
        self._next = round(world.faults_end * 1e9)

    def saw_heartbeat(self, time: int, sender: bytes, to: bytes, message: Heartbeat) -> None:
        """All components are between two turns."""
        if time < self._next:
            return
        self._next = time + LOOK_EVERY
        since: dict[_Key, int] = {}
        for address, group in _waiting(self.world):
            first = group.queue[0]
            key = (address, first.task_id)
            room = _room(self.world, group)
            if not room:
                continue
            since[key] = self._since.get(key, time)
            if time - since[key] >= BOUND and key not in self._told:
                self._told[key] = None
                text = (
                    f"task {first.template.name} ({short(first.task_id)}) has waited in the queue of {short(address)}"
                )
                text += f" for {(time - since[key]) / 1e9:.0f} s, while {room} has {describe(group.template.resources)}"
                self.fail(first.task_id, "a task waits while there is room", text)
        self._since = since


def _waiting(world: World) -> Iterator[tuple[Address, SchedulingClass]]:
    for process in user_processes(world):
        owner = process.core.owner
        for group in owner.leases.classes:
            plain = not (group.avoid or group.stopping or group.template.strategy.group or owner.terms.quota)
            if group.queue and plain and group.template.strategy.kind in ("DEFAULT", "SPREAD", "NODE", "LABELS"):
                yield process.address, group


def _room(world: World, group: SchedulingClass) -> str:
    """The name of a node that could run the first task of a class now; "" if there is none."""
    for node, raylet in raylets(world):
        own = raylet.view.nodes[raylet.node_id]
        reservations, promises = raylet.leases.reservations, raylet.grants.promises
        keeps = reservations.current or reservations.bundles or promises.table or raylet.draining.active
        free = raylet.grants.free.fits(group.template.resources)
        if free and not keeps and allowed(own, group.template.strategy):
            return node.name
    return ""
