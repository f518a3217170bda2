"""Whoever waits for room in a node's memory gets it as soon as there is some."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thornback.core.ids import short
from thornback.core.messages import AllocateObject, Heartbeat, PinObject
from thornback.core.objects.room import Key, Rank
from thornback.faults.invariants.base import Checker

if TYPE_CHECKING:
    from thornback.core.objects.store import NodeStore
    from thornback.core.raylet import Raylet


class Room(Checker):
    """Looks at a node's memory with each heartbeat, and whenever something is asked of it.

    What comes free, or can be evicted, is offered in the same turn, so that the first who waits never finds enough.
    Arguments of a task are left out: how much they need changes as others of them come and go.

    Without this checker a lost wake-up would go unnoticed: who waits too long gets a file instead.
    """

    name = "free memory is offered"
    promise = "nobody waits for room in a node's memory while there is enough"

    def __init__(self) -> None:
        super().__init__()
        self._told: dict[Key, None] = {}

    def saw_heartbeat(self, time: int, sender: bytes, to: bytes, message: Heartbeat) -> None:
        """A node says that it is there."""
        self._look(sender)

    def saw_allocate_object(self, time: int, sender: bytes, to: bytes, message: AllocateObject) -> None:
        """Somebody wants to write there."""
        self._look(to)

    def saw_pin_object(self, time: int, sender: bytes, to: bytes, message: PinObject) -> None:
        """Somebody wants to read there."""
        self._look(to)

    def _look(self, node: bytes) -> None:
        """All components are between two turns."""
        process = self.world.network.directory.get(node)
        if process is None:
            return
        raylet: Raylet = process.core.raylet  # type: ignore[attr-defined]
        demand = raylet.store.room.first()
        if demand is None or demand.rank == Rank.ARGUMENTS or demand.key in self._told:
            return
        free = _for_the_taking(raylet.store)
        if demand.size <= free:
            self._told[demand.key] = None
            text = (
                f"{short(demand.key[0])} waits for {demand.size:,} bytes on {raylet.name}, where it could have {free:,}"
            )
            self.fail(node, "it waits for what is free", text)


def _for_the_taking(store: NodeStore) -> int:
    """Bytes of the largest block that is free, or all that is free or can be evicted: an attempt would have used that
    up, even if it had failed since it lay in pieces."""
    ready = store.evictable.ready
    unused = store.allocator.capacity - store.allocator.used
    return max(store.allocator.largest(), unused + ready if ready else 0)
