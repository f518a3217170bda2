"""A component's picture of the cluster: nodes by id, kept up to date with versioned changes."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from thornback.core.ids import NodeId
from thornback.core.messages import NodeView


class ClusterView:
    """Nodes as last heard of. A stale picture costs a retry elsewhere, never an over-allocation."""

    def __init__(self) -> None:
        self.nodes: dict[NodeId, NodeView] = {}
        self._alive: list[NodeView] | None = None

    def apply(self, node: NodeView) -> bool:
        """Take over what is known of a node; False if it is not news."""
        known = self.nodes.get(node.node_id)
        if known is not None and (known.version > node.version or not known.alive):
            return False
        self.nodes[node.node_id] = node
        self._alive = None
        return True

    def alive(self) -> list[NodeView]:
        """Nodes alive, in the order in which they appeared."""
        if self._alive is None:
            self._alive = [node for node in self.nodes.values() if node.alive]
        return self._alive

    def debit(self, node_id: NodeId, demand: Mapping[str, int]) -> None:
        """Expect a demand to be placed there, until the node itself reports."""
        node = self.nodes.get(node_id)
        if node is None:
            return
        available = {name: count - demand.get(name, 0) for name, count in node.available.items()}
        changed = msgspec.structs.replace(node, available=available)
        self.nodes[node_id] = changed
        if self._alive is not None:
            for index, known in enumerate(self._alive):
                if known is node:
                    self._alive[index] = changed
                    break

    def died(self, node_id: NodeId) -> None:
        """The node is dead for good."""
        node = self.nodes.get(node_id)
        if node is not None and node.alive:
            self.nodes[node_id] = msgspec.structs.replace(node, alive=False, available={}, version=node.version + 1)
            self._alive = None
