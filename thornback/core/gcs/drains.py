"""Nodes that leave with notice: drained by an operator, or about to be taken away."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from thornback.core.ids import Address, NodeId, short
from thornback.core.messages import DrainAnswered, DrainNode, LeaveCluster, NodeDrained, NodeRemoved

if TYPE_CHECKING:
    from thornback.core.gcs.store import GlobalControlStore

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[str, int]).decode


class DrainTable:
    """A node that leaves gets nothing new; its actors and bundles move, its tasks end or move, its objects are copied.

    What follows on the node itself: :mod:`thornback.core.raylet.draining`.
    """

    name = "drains"

    def __init__(self, gcs: GlobalControlStore) -> None:
        self.gcs = gcs
        self.transport = gcs.ports.transport
        self.leaving: dict[NodeId, str] = {}
        """Why nodes leave that are alive."""
        self._timeouts: dict[NodeId, int] = {}

    def load(self, key: bytes, value: bytes) -> None:
        """Take over a committed row."""
        self.leaving[key], self._timeouts[key] = _decode(value)

    def loaded(self) -> None:
        """All rows are here: nodes and actors may not have heard that they are to leave."""
        for node_id in self.leaving:
            self._tell(node_id)

    def on_drain_node(self, sender: Address, message: DrainNode) -> None:
        """Somebody wants a node to leave."""
        refusal = self._refusal(message.node_id)
        if not refusal and message.node_id not in self.leaving and not self.gcs.nodes.is_dead(message.node_id):
            self._begin(message)
        self.transport.send(sender, DrainAnswered(message.request, refusal))

    def _refusal(self, node_id: NodeId) -> str:
        nodes = self.gcs.nodes
        if nodes.is_dead(node_id):
            return ""  # As was wanted; who asks may not have had the first answer.
        alive = nodes.alive()
        if node_id not in alive:
            known = ", ".join(node.hex() for node in alive[:20])
            return f"there is no node {node_id.hex()} that is alive; alive are {known}"
        if nodes.is_head(node_id):
            return f"node {node_id.hex()} is the head, which holds the cluster's tables and cannot leave"
        return ""

    def _begin(self, message: DrainNode) -> None:
        node_id = message.node_id
        reason = self.leaving[node_id] = message.reason or "no reason was given"
        self._timeouts[node_id] = message.timeout
        self.gcs.journal.write(self.name, node_id, _encode((reason, message.timeout)))
        if self.gcs.ports.trace.enabled:
            self.gcs.ports.trace.event("node.draining", node_id, message.timeout)
        self._tell(node_id)

    def _tell(self, node_id: NodeId) -> None:
        self.gcs.nodes.begin_draining(node_id)
        self.transport.send(node_id, LeaveCluster(self.leaving[node_id], self._timeouts[node_id]))
        self.gcs.groups.node_leaves(node_id, f"node {short(node_id)} leaves with some of its bundles")
        self.gcs.actors.restarts.node_leaves(node_id)

    def on_node_drained(self, sender: Address, message: NodeDrained) -> None:
        """A node has nothing left, or no more time."""
        if sender not in self.gcs.nodes.alive():
            self.transport.send(sender, NodeRemoved())
        elif sender in self.leaving:
            self.gcs.nodes.declare_dead(sender, f"it was drained: {self.leaving[sender]}")
            self.transport.send(sender, NodeRemoved())

    def node_died(self, node_id: NodeId) -> None:
        """It is gone, in whatever way."""
        if self.leaving.pop(node_id, None) is not None:
            del self._timeouts[node_id]
            self.gcs.journal.write(self.name, node_id, None)
