"""Large objects that this process writes into its node's memory."""

from __future__ import annotations

from thornback.core.ids import Address, NodeId, ObjectId
from thornback.core.messages import AbortObject, AllocateObject, ObjectAllocated, SealObject
from thornback.core.ports import Transport
from thornback.core.runtime import Waiter


class Writing:
    """Blocks that this process has asked for, or writes."""

    def __init__(self, node_id: NodeId, transport: Transport) -> None:
        self._node_id = node_id
        self._transport = transport
        self._asked: dict[ObjectId, Waiter] = {}

    def allocate(self, object_id: ObjectId, size: int, origin: str = "", pinned: bool = False) -> Waiter:
        """Ask for a block to write to; the result is the ObjectAllocated message."""
        waiter = self._asked[object_id] = Waiter()
        self._transport.send(self._node_id, AllocateObject(object_id, size, origin, pinned))
        return waiter

    def on_object_allocated(self, sender: Address, message: ObjectAllocated) -> None:
        """The raylet has answered."""
        waiter = self._asked.pop(message.object_id, None)
        if waiter is not None:
            waiter.complete(message)

    def seal(self, object_id: ObjectId) -> None:
        """The block is written."""
        self._transport.send(self._node_id, SealObject(object_id, False))

    def abort(self, object_id: ObjectId) -> None:
        """The block that was asked for, or given, will not be written."""
        self._asked.pop(object_id, None)
        self._transport.send(self._node_id, AbortObject(object_id))
