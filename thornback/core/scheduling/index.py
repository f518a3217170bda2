"""Nodes in order of use, kept up to date one by one, so that a decision looks at a few of them instead of all."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Mapping, Sequence

from thornback.core.ids import NodeId
from thornback.core.messages import NodeView
from thornback.core.resources import GPU, fits
from thornback.core.scheduling.labels import Condition, matches

LOOK_AT = 16
"""Least used nodes of a kind that are tried one by one before those with enough of the scarcest resource."""
CACHED = 256


class Kind:
    """Nodes with equal resources in total and equal labels.

    Attributes:
        by_use: (share in use of the most used resource, order) of each node, ascending.
        by_free: (free amount, order) of each node by resource, ascending.
    """

    __slots__ = ("by_free", "by_use", "labels", "order", "total")

    def __init__(self, node: NodeView, order: int) -> None:
        self.order = order
        self.total = dict(node.total)
        self.labels = dict(node.labels)
        self.by_use: list[tuple[float, int]] = []
        self.by_free: dict[str, list[tuple[int, int]]] = {name: [] for name in self.total}

    def share(self, demand: Mapping[str, int]) -> float:
        """The largest share of any resource of an empty node that the demand takes."""
        return max((amount / self.total[name] for name, amount in demand.items() if amount), default=0.0)


class NodeIndex:
    """All nodes alive that take work."""

    def __init__(self, nodes: Sequence[NodeView] = ()) -> None:
        self.views: dict[int, NodeView] = {}
        """By order of appearance."""
        self._orders: dict[NodeId, int] = {}
        self._kinds: dict[tuple[object, ...], Kind] = {}
        self._kind_of: dict[int, Kind] = {}
        self._suitable: dict[tuple[object, ...], tuple[Kind, ...]] = {}
        self._next = 0
        for node in nodes:
            self.update(node)

    def get(self, node_id: NodeId) -> NodeView | None:
        """The node, if it takes work."""
        order = self._orders.get(node_id)
        return None if order is None else self.views.get(order)

    def update(self, node: NodeView) -> None:
        """Take over what is now known of a node."""
        order = self._orders.get(node.node_id)
        if order is None:
            self._next += 1
            order = self._orders[node.node_id] = self._next
        self._remove(order)
        if not node.alive:
            del self._orders[node.node_id]
        elif not node.draining:
            self._insert(order, node)

    def _insert(self, order: int, node: NodeView) -> None:
        key = (tuple(sorted(node.total.items())), tuple(sorted(node.labels.items())))
        kind = self._kinds.get(key)
        if kind is None:
            kind = self._kinds[key] = Kind(node, order)
            self._suitable.clear()
        self.views[order] = node
        self._kind_of[order] = kind
        insort(kind.by_use, (_use(node), order))
        for name, entries in kind.by_free.items():
            insort(entries, (node.available.get(name, 0), order))

    def _remove(self, order: int) -> None:
        node = self.views.pop(order, None)
        if node is None:
            return
        kind = self._kind_of.pop(order)
        del kind.by_use[bisect_left(kind.by_use, (_use(node), order))]
        for name, entries in kind.by_free.items():
            del entries[bisect_left(entries, (node.available.get(name, 0), order))]
        if not kind.by_use:
            self._kinds = {key: each for key, each in self._kinds.items() if each is not kind}
            self._suitable.clear()

    # --- Questions

    def kinds_for(self, demand: Mapping[str, int], conditions: Sequence[Condition] = ()) -> tuple[Kind, ...]:
        """Kinds of nodes that could serve the demand when nothing else runs on them, and have the labels. Nodes with
        GPUs come last for a demand without."""
        key = (tuple(demand.items()), tuple(conditions))
        found = self._suitable.get(key)
        if found is None:
            kinds = [kind for kind in self._kinds.values() if fits(demand, kind.total)]
            kinds = [kind for kind in kinds if not conditions or matches(kind.labels, conditions)]
            kinds.sort(key=lambda kind: (wasteful(kind.total, demand), kind.order))
            if len(self._suitable) >= CACHED:
                self._suitable.clear()
            found = self._suitable[key] = tuple(kinds)
        return found

    def fitting(self, kind: Kind, demand: Mapping[str, int]) -> Iterator[tuple[float, int]]:
        """(use, order) of nodes of the kind that have room now: the least used first, as far as one looks; every node
        with room is met at least once."""
        scarcest: list[tuple[int, int]] | None = None
        start = 0
        for name, amount in demand.items():
            if not amount:
                continue
            entries = kind.by_free[name]
            position = bisect_left(entries, (amount, -1))
            if position == len(entries):
                return
            if scarcest is None or len(entries) - position < len(scarcest) - start:
                scarcest, start = entries, position
        views = self.views
        for entry in kind.by_use[:LOOK_AT]:
            if fits(demand, views[entry[1]].available):
                yield entry
        if scarcest is None or len(kind.by_use) <= LOOK_AT:
            return
        for _, order in scarcest[start:]:
            if fits(demand, views[order].available):
                yield (_use(views[order]), order)

    def packed(self, kind: Kind, demand: Mapping[str, int], threshold: float) -> int | None:
        """Order of the most used node of the kind that stays within the threshold with the demand."""
        position = bisect_right(kind.by_use, (threshold - kind.share(demand) + 1e-9, 1 << 62))
        return kind.by_use[position - 1][1] if position else None


def wasteful(total: Mapping[str, int], demand: Mapping[str, int]) -> bool:
    """Whether a node of these resources has GPUs that the demand would leave idle."""
    return GPU in total and GPU not in demand


def _use(node: NodeView) -> float:
    worst = 0.0
    available = node.available
    for name, total in node.total.items():
        if total:
            used = 1.0 - available.get(name, 0) / total
            if used > worst:
                worst = used
    return worst
