"""A component's picture of the cluster: nodes by id, kept up to date with versioned changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from thornback.core.ids import NodeId
from thornback.core.messages import NodeView
from thornback.core.scheduling.index import NodeIndex


class NodeList(Sequence[NodeView]):
    """The nodes alive, in the order in which they appeared, with an index for policies. Changes with the view."""

    __slots__ = ("_nodes", "by_use", "steady")

    def __init__(self, nodes: dict[NodeId, NodeView], index: NodeIndex) -> None:
        self._nodes = nodes
        self.by_use = index
        self.steady: NodeList | None = None
        """The nodes that are not slow, if some are."""

    def __len__(self) -> int:
        return len(self._nodes)

    def __iter__(self) -> Iterator[NodeView]:
        return iter(self._nodes.values())

    def __getitem__(self, position: Any) -> Any:
        return list(self._nodes.values())[position]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


class ClusterView:
    """Nodes as last heard of. A stale picture costs a retry elsewhere, never an over-allocation."""

    def __init__(self) -> None:
        self.nodes: dict[NodeId, NodeView] = {}
        """Dead ones included."""
        self._live: dict[NodeId, NodeView] = {}
        self._alive = NodeList(self._live, NodeIndex())
        self.slow: dict[NodeId, float] = {}
        """Nodes on which tasks take so many times longer than on others."""
        self._steady: dict[NodeId, NodeView] = {}

    def apply(self, node: NodeView) -> bool:
        """Take over what is known of a node; False if it is not news."""
        known = self.nodes.get(node.node_id)
        if known is not None and (known.version > node.version or not known.alive):
            return False
        self._set(node)
        return True

    def _set(self, node: NodeView) -> None:
        self.nodes[node.node_id] = node
        if node.alive:
            self._live[node.node_id] = node
        else:
            self._live.pop(node.node_id, None)
        self._alive.by_use.update(node)
        if self._alive.steady is not None and node.node_id not in self.slow:
            if node.alive:
                self._steady[node.node_id] = node
            else:
                self._steady.pop(node.node_id, None)
            self._alive.steady.by_use.update(node)

    def set_slow(self, slow: Mapping[NodeId, float]) -> None:
        """From now on, policies choose one of these nodes only where no other has room."""
        self.slow = dict(slow)
        self._steady = {node_id: node for node_id, node in self._live.items() if node_id not in slow} if slow else {}
        self._alive.steady = NodeList(self._steady, NodeIndex(tuple(self._steady.values()))) if slow else None

    def alive(self) -> NodeList:
        """Nodes alive, in the order in which they appeared."""
        return self._alive

    def debit(self, node_id: NodeId, demand: Mapping[str, int]) -> None:
        """Expect a demand to be placed there, until the node itself reports."""
        node = self.nodes.get(node_id)
        if node is None or not node.alive:
            return
        available = {name: count - demand.get(name, 0) for name, count in node.available.items()}
        self._set(msgspec.structs.replace(node, available=available))

    def died(self, node_id: NodeId) -> None:
        """The node is dead for good."""
        node = self.nodes.get(node_id)
        if node is not None and node.alive:
            self._set(msgspec.structs.replace(node, alive=False, available={}, version=node.version + 1))
