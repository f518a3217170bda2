"""A component's picture of the cluster: nodes by id, kept up to date with versioned changes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from thornback.core.ids import NodeId
from thornback.core.messages import NodeView
from thornback.core.resources import Resources, add
from thornback.core.scheduling.index import NodeIndex


class NodeList(Sequence[NodeView]):
    """The nodes alive, in the order in which they appeared, with an index for policies. Changes with the view."""

    __slots__ = ("_changed", "_index", "_nodes", "steady")

    def __init__(self, nodes: dict[NodeId, NodeView], index: NodeIndex) -> None:
        self._nodes = nodes
        self._index = index
        self._changed: dict[NodeId, NodeView] = {}
        """What the index has not taken over: most components hear far more news than they place."""
        self.steady: NodeList | None = None
        """The nodes that are not slow, if some are."""

    def note(self, node: NodeView) -> None:
        """A node has changed, or is new."""
        self._changed[node.node_id] = node

    @property
    def by_use(self) -> NodeIndex:
        """The index, as of now."""
        if self._changed:
            for node in self._changed.values():
                self._index.update(node)
            self._changed.clear()
        return self._index

    def __len__(self) -> int:
        return len(self._nodes)

    def __iter__(self) -> Iterator[NodeView]:
        return iter(self._nodes.values())

    def __getitem__(self, position: Any) -> Any:
        return list(self._nodes.values())[position]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


def index_of(nodes: Sequence[NodeView]) -> NodeIndex:
    """The index of a view's nodes; made anew for a plain list."""
    return nodes.by_use if isinstance(nodes, NodeList) else NodeIndex(nodes)


class Expected:
    """A demand that was sent to a node and that the node's reports may not show yet."""

    __slots__ = ("demand", "node_id", "settled", "since")

    def __init__(self, node_id: NodeId, demand: Mapping[str, int], since: int) -> None:
        self.node_id = node_id
        self.demand = demand
        self.since = since
        self.settled = False
        """A report came that must show it."""


class ClusterView:
    """Nodes as last heard of, less what was sent there since. A stale picture costs a retry elsewhere, never an
    over-allocation.

    Args:
        now: the time in nanoseconds.
        delay: a report that arrives within this time after a demand was sent may have been made before the node knew of
            it: the demand is deducted from that report too.
        patience: a demand that no report has shown by then has gone elsewhere.
    """

    def __init__(self, now: Callable[[], int] = lambda: 0, delay: int = 0, patience: int = 0) -> None:
        self.nodes: dict[NodeId, NodeView] = {}
        """Dead ones included."""
        self._now = now
        self._delay = delay
        self._patience = patience
        self._expected: deque[Expected] = deque()
        self._expected_of: dict[NodeId, list[Expected]] = {}
        self._live: dict[NodeId, NodeView] = {}
        self._alive = NodeList(self._live, NodeIndex())
        self.slow: dict[NodeId, float] = {}
        """Nodes on which tasks take so many times longer than on others."""
        self._steady: dict[NodeId, NodeView] = {}

    def apply(self, node: NodeView, is_own: bool = False) -> bool:
        """Take over what is known of a node (``is_own``: by this node itself, so that nothing is missing in it); False
        if it is not news."""
        known = self.nodes.get(node.node_id)
        if known is not None and (known.version > node.version or not known.alive):
            return False
        self._set(self._less_expected(node, is_own))
        return True

    def _less_expected(self, node: NodeView, is_own: bool) -> NodeView:
        expected = self._expected_of.pop(node.node_id, None)
        if not expected:
            return node
        deadline = self._now() - self._delay
        missing: Resources = {}
        for each in expected:
            each.settled = is_own or not node.alive or each.since <= deadline
            if not each.settled:
                add(missing, each.demand)
                self._expected_of.setdefault(node.node_id, []).append(each)
        return _minus(node, missing) if missing else node

    def _set(self, node: NodeView) -> None:
        self.nodes[node.node_id] = node
        if node.alive:
            self._live[node.node_id] = node
        else:
            self._live.pop(node.node_id, None)
        self._alive.note(node)
        if self._alive.steady is not None and node.node_id not in self.slow:
            if node.alive:
                self._steady[node.node_id] = node
            else:
                self._steady.pop(node.node_id, None)
            self._alive.steady.note(node)

    def set_slow(self, slow: Mapping[NodeId, float]) -> None:
        """From now on, policies choose one of these nodes only where no other has room."""
        self.slow = dict(slow)
        self._steady = {node_id: node for node_id, node in self._live.items() if node_id not in slow} if slow else {}
        self._alive.steady = NodeList(self._steady, NodeIndex(tuple(self._steady.values()))) if slow else None

    def alive(self) -> NodeList:
        """Nodes alive, in the order in which they appeared."""
        if self._expected:
            self._give_up()
        return self._alive

    def _give_up(self) -> None:
        deadline = self._now() - self._patience
        while self._expected and (self._expected[0].settled or self._expected[0].since < deadline):
            each = self._expected.popleft()
            if each.settled:
                continue
            self._expected_of[each.node_id].remove(each)
            node = self.nodes[each.node_id]
            if node.alive:
                self._set(_plus(node, each.demand))

    def debit(self, node_id: NodeId, demand: Mapping[str, int]) -> None:
        """Expect a demand to be placed there, until the node reports."""
        node = self.nodes.get(node_id)
        if node is None or not node.alive:
            return
        expected = Expected(node_id, dict(demand), self._now())
        self._expected.append(expected)
        self._expected_of.setdefault(node_id, []).append(expected)
        self._set(_minus(node, demand))

    def credit(self, node_id: NodeId, amounts: Mapping[str, int]) -> None:
        """Expect that these amounts come free there. The next report says whether they have: unlike a demand that it
        does not show, what is free and does not show must not be counted twice."""
        node = self.nodes.get(node_id)
        if node is None or not node.alive:
            return
        expected = self._expected_of.get(node_id, [])
        for each in expected:
            if each.demand == amounts:
                each.settled = True
                expected.remove(each)
                break
        self._set(_plus(node, amounts))

    def died(self, node_id: NodeId) -> None:
        """The node is dead for good."""
        node = self.nodes.get(node_id)
        if node is not None and node.alive:
            self.apply(msgspec.structs.replace(node, alive=False, available={}, version=node.version + 1))


def _minus(node: NodeView, demand: Mapping[str, int]) -> NodeView:
    available = {name: count - demand.get(name, 0) for name, count in node.available.items()}
    return msgspec.structs.replace(node, available=available)


def _plus(node: NodeView, amounts: Mapping[str, int]) -> NodeView:
    return _minus(node, {name: -amount for name, amount in amounts.items()})
