"""Nodes that leave with notice: they have time to see to it that nothing is lost, and use it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thornback.core.ids import Address, NodeId, owner_of, short
from thornback.core.messages import LeaveCluster, Message, NodeDrained
from thornback.faults.invariants.base import Checker

if TYPE_CHECKING:
    from thornback.core.raylet import Raylet
    from thornback.simulator.process import Process
    from thornback.simulator.world import World


class Leaving(Checker):
    """Looks at a node when it says that it is done, as long as less than half of its notice is over.

    After that, what still runs is ended, and objects that could not be copied out in time go with the node.
    """

    name = "leaving nodes"
    promise = "a node that has time left does not leave while a task runs on it, or an object is there that nobody took"

    def __init__(self) -> None:
        super().__init__()
        self._ends: dict[NodeId, int | None] = {}
        """The middle of each node's notice; None: it has all the time that it needs."""

    def begin(self, world: World) -> None:
        """See what is sent, in the turn in which it is decided."""
        super().begin(world)
        world.network.post_listeners.append(self._posted)

    def saw_leave_cluster(self, time: int, sender: bytes, to: bytes, message: LeaveCluster) -> None:
        """A node is to leave; it may be told so again."""
        self._ends.setdefault(to, None if message.timeout < 0 else time + message.timeout // 2)

    def _posted(self, source: Process, to: Address, messages: list[Message]) -> None:
        if any(isinstance(message, NodeDrained) for message in messages):
            self.time = self.world.engine._now
            self.done(source.address, source.core.raylet)  # type: ignore[attr-defined]

    def done(self, node: NodeId, raylet: Raylet) -> None:
        """A node says that nothing is left there."""
        end = self._ends.get(node)
        if end is not None and self.time >= end:
            return
        if any(grant.worker is not None for grant in raylet.grants.table.values()):
            self.fail(node, "it leaves while a task runs", f"{raylet.name} leaves while it has leases, with time left")
        if not any(not other.draining for other in raylet.view.alive() if other.node_id != node):
            return
        for entry in raylet.store.entries.values():
            if entry.primary and entry.sealed and not entry.doomed and self._lives(raylet, owner_of(entry.object_id)):
                text = f"{raylet.name} leaves with the primary copy of {short(entry.object_id)}, with time left"
                self.fail(entry.object_id, "it leaves with an object", text)
                return

    def _lives(self, raylet: Raylet, owner: Address) -> bool:
        return owner in self.world.network.directory and not raylet.store.is_dead(owner)
