"""What checkers may look up in a simulated cluster, whoever believes what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thornback.core.ids import WORKER_ID_SIZE, Address, NodeId, ObjectId
from thornback.core.owner.references import Reference
from thornback.simulator.process import UserProcess

if TYPE_CHECKING:
    from thornback.simulator.world import World


_PROCESSES = ("process.start", "process.end")


class GroundTruth:
    """Bytes and references as they really are."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._tables: list[tuple[UserProcess, dict[ObjectId, Reference]]] | None = None
        world.trace.listeners.append(self._event)

    def _event(self, time: int, kind: str, subject: bytes, detail: Any) -> None:
        if kind in _PROCESSES:
            self._tables = None

    def peek(self, node_id: NodeId, offset: int, size: int) -> bytes | None:
        """The bytes in a node's memory; None if they cannot be read, or that incarnation of the node is gone."""
        for node in self._world.nodes:
            if node.node_id == node_id:
                return node.memory.peek(offset, size)
        return None

    def holders(self, object_id: ObjectId) -> list[Address]:
        """The live processes in which user code has a reference to the object, or the engine uses it (for an argument,
        a value, a registration under way); without its owner, and those that the owner was told to be dead."""
        tables = self._tables
        if tables is None:
            tables = self._tables = self._live_tables()
        owner = object_id[:WORKER_ID_SIZE]
        found = []
        for process, table in tables:
            reference = table.get(object_id)
            if reference is None or process.address == owner or process.ended:
                continue
            if reference.local > 0 or reference.holds > 0:
                found.append(process.address)
        return [address for address in found if self.counts(object_id, address)]

    def counts(self, object_id: ObjectId, address: Address) -> bool:
        """Whether the object's owner lives, and does not take a process for dead."""
        owner = self._world.network.directory.get(object_id[:WORKER_ID_SIZE])
        return isinstance(owner, UserProcess) and not owner.core.owner.references.is_dead(address)

    def _live_tables(self) -> list[tuple[UserProcess, dict[ObjectId, Reference]]]:
        return [
            (process, process.core.owner.references.table)
            for node in self._world.nodes
            for process in (*node.workers.values(), *node.drivers.values())
            if process is not None and not process.ended
        ]
