"""What checkers may look up in a simulated cluster, whoever believes what."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thornback.core.ids import WORKER_ID_SIZE, Address, NodeId, ObjectId
from thornback.simulator.process import UserProcess

if TYPE_CHECKING:
    from thornback.simulator.world import World


class GroundTruth:
    """Bytes and references as they really are."""

    def __init__(self, world: World) -> None:
        self._world = world

    def peek(self, node_id: NodeId, offset: int, size: int) -> bytes | None:
        """The bytes in a node's memory; None if they cannot be read, or that incarnation of the node is gone."""
        for node in self._world.nodes:
            if node.node_id == node_id:
                return node.memory.peek(offset, size)
        return None

    def holders(self, object_id: ObjectId) -> list[Address]:
        """The live processes in which user code has a reference to the object; without its owner, and those that the
        owner was told to be dead."""
        owner = self._world.network.directory.get(object_id[:WORKER_ID_SIZE])
        if not isinstance(owner, UserProcess):
            return []
        is_dead = owner.core.owner.references.is_dead
        found = []
        for node in self._world.nodes:
            for process in (*node.workers.values(), *node.drivers.values()):
                if process is None or process is owner or process.ended:
                    continue
                reference = process.core.owner.references.table.get(object_id)
                if reference is not None and reference.local > 0 and not is_dead(process.address):
                    found.append(process.address)
        return found
