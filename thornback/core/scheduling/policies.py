"""Placement policies: pure functions that choose a node for a request.

Each takes the request and the nodes, and returns a node id or None when no permitted node has the resources free now.
Whether any node could ever serve it is :func:`~thornback.core.scheduling.feasibility.is_feasible`. The same policies
serve tasks and actors. They look at an index of the nodes rather than at all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice

from thornback.core.ids import NodeId
from thornback.core.messages import NodeView
from thornback.core.resources import MEMORY, OBJECT_STORE_MEMORY, fits
from thornback.core.scheduling import registry
from thornback.core.scheduling.feasibility import Demand, allowed
from thornback.core.scheduling.index import Kind, NodeIndex, wasteful
from thornback.core.scheduling.labels import Condition, matches
from thornback.core.scheduling.request import PlacementRequest
from thornback.core.scheduling.view import NodeList, index_of

EXACT = 16
"""Clusters up to this size are looked at node by node."""
DRAW_FROM = 6
"""Least used nodes of a larger cluster among which ties are drawn."""

Scorer = Callable[[Demand, NodeView], float]
"""How well a node suits a demand: less is better."""


def utilization(demand: Demand, node: NodeView) -> float:
    """The highest share of any resource that would be in use with the demand placed there."""
    worst = 0.0
    for name, total in node.total.items():
        if total:
            used = total - node.available.get(name, 0) + demand.get(name, 0)
            worst = max(worst, used / total)
    return worst


def hybrid(request: PlacementRequest, nodes: Sequence[NodeView]) -> NodeId | None:
    """Pack onto nodes below the threshold, the local one first; above it, spread over the least used.

    After Ray's default policy: above the threshold, one of the best ``hybrid_top_fraction`` is drawn. Demands without
    GPUs avoid nodes that have some.
    """
    return _hybrid(request, nodes, request.strategy.hard)


def _hybrid(request: PlacementRequest, nodes: Sequence[NodeView], conditions: Sequence[Condition]) -> NodeId | None:
    demand, threshold = request.demand, request.config.hybrid_threshold
    index = index_of(nodes)
    kinds = index.kinds_for(demand, conditions)
    home = index.get(request.local)
    for waste in (False, True):
        group = [kind for kind in kinds if wasteful(kind.total, demand) is waste]
        if not group:
            continue
        here = home is not None and wasteful(home.total, demand) is waste and _is_open(home, demand, conditions)
        if here and home is not None and utilization(demand, home) <= threshold:
            return request.local
        for kind in group:
            order = index.packed(kind, demand, threshold)
            if order is not None:
                return index.views[order].node_id
        chosen = _among_best(request, index, group)
        if chosen is not None:
            return chosen
    return None


def _is_open(node: NodeView, demand: Demand, conditions: Sequence[Condition]) -> bool:
    return fits(demand, node.available) and (not conditions or matches(node.labels, conditions))


def _among_best(request: PlacementRequest, index: NodeIndex, kinds: Sequence[Kind]) -> NodeId | None:
    best: tuple[float, int] | None = None
    home: Kind | None = None
    for kind in kinds:
        first = next(index.fitting(kind, request.demand), None)
        if first is not None and (best is None or first < best):
            best, home = first, kind
    if best is None or home is None:
        return None
    among = max(1, int(len(home.by_use) * request.config.hybrid_top_fraction))
    drawn = home.by_use[request.random.randrange(among)]
    node = index.views[drawn[1]]
    return node.node_id if fits(request.demand, node.available) else index.views[best[1]].node_id


def spread(request: PlacementRequest, nodes: Sequence[NodeView]) -> NodeId | None:
    """The least used node that fits; ties are drawn."""
    if len(nodes) <= EXACT:
        return _best(request, (node for node in nodes if allowed(node, request.strategy)), utilization)
    index = index_of(nodes)
    kinds = index.kinds_for(request.demand, request.strategy.hard)
    each = max(2, DRAW_FROM // max(1, len(kinds)))
    near = [entry for kind in kinds for entry in islice(index.fitting(kind, request.demand), each)]
    near.sort()
    return _best(request, (index.views[order] for _, order in near[:DRAW_FROM]), utilization)


def _best(request: PlacementRequest, nodes: Iterable[NodeView], scorer: Scorer) -> NodeId | None:
    """Of the nodes with room the one with the lowest score; ties are drawn."""
    best: list[NodeId] = []
    lowest = float("inf")
    for node in nodes:
        if fits(request.demand, node.available):
            score = scorer(request.demand, node)
            if score < lowest:
                best, lowest = [node.node_id], score
            elif score == lowest:
                best.append(node.node_id)
    return best[request.random.randrange(len(best))] if best else None


def node_affinity(request: PlacementRequest, nodes: Sequence[NodeView]) -> NodeId | None:
    """The named node if it fits; a soft affinity falls back to :func:`hybrid`."""
    strategy = request.strategy
    node = index_of(nodes).get(strategy.node)
    if node is not None:
        if fits(request.demand, node.available):
            return node.node_id
        if not strategy.soft or fits(request.demand, node.total):
            return None
    return hybrid(request, nodes) if strategy.soft else None


def labels(request: PlacementRequest, nodes: Sequence[NodeView]) -> NodeId | None:
    """Nodes with the preferred labels first, then any that has the required ones."""
    strategy = request.strategy
    if strategy.preferred:
        chosen = _hybrid(request, nodes, (*strategy.hard, *strategy.preferred))
        if chosen is not None:
            return chosen
    return hybrid(request, nodes)


def _draw(request: PlacementRequest, index: NodeIndex) -> NodeView | None:
    demand, random = request.demand, request.random
    kinds = index.kinds_for(demand, request.strategy.hard)
    count = sum(len(kind.by_use) for kind in kinds)
    for _ in range(8 if count else 0):
        position = random.randrange(count)
        for kind in kinds:
            if position < len(kind.by_use):
                node = index.views[kind.by_use[position][1]]
                if fits(demand, node.available):
                    return node
                break
            position -= len(kind.by_use)
    found = list(_first(index, kinds, demand, EXACT))
    return found[random.randrange(len(found))] if found else None


def _first(index: NodeIndex, kinds: Sequence[Kind], demand: Demand, most: int) -> Iterator[NodeView]:
    for kind in kinds:
        for _, order in index.fitting(kind, demand):
            if most <= 0:
                return
            most -= 1
            yield index.views[order]


def random_choice(request: PlacementRequest, nodes: Sequence[NodeView]) -> NodeId | None:
    """Any node that fits."""
    node = _draw(request, index_of(nodes))
    return None if node is None else node.node_id


def power_of_two(request: PlacementRequest, nodes: Sequence[NodeView]) -> NodeId | None:
    """The less used of two nodes that are drawn."""
    index = index_of(nodes)
    drawn = [_draw(request, index) for _ in range(2)]
    return _best(request, [node for node in drawn if node is not None], utilization)


def most_memory(request: PlacementRequest, nodes: Sequence[NodeView]) -> NodeId | None:
    """The node that fits and has most memory free, of its own and for objects."""
    index = index_of(nodes)
    found: list[NodeView] = []
    for kind in index.kinds_for(request.demand, request.strategy.hard):
        for name in (MEMORY, OBJECT_STORE_MEMORY):
            ends = kind.by_free.get(name, [])[-2:]
            found += [index.views[order] for _, order in ends]
    return _best(request, found, _little_memory) or hybrid(request, nodes)


def _little_memory(demand: Demand, node: NodeView) -> float:
    return -(node.available.get(MEMORY, 0) + node.available.get(OBJECT_STORE_MEMORY, 0))


def by_bytes(sizes: Mapping[NodeId, int], local: NodeId) -> NodeId:
    """The node that has most bytes of a task's arguments, this one if it has as many; empty if none has any."""
    if not sizes:
        return b""
    best = max(sizes.values())
    if sizes.get(local, 0) == best:
        return local
    return min(node for node, size in sizes.items() if size == best)


Policy = Callable[[PlacementRequest, Sequence[NodeView]], NodeId | None]

POLICIES: dict[str, Policy] = {
    "DEFAULT": hybrid,
    "SPREAD": spread,
    "NODE": node_affinity,
    "LABELS": labels,
    "RANDOM": random_choice,
    "POWER_OF_TWO": power_of_two,
    "MEMORY": most_memory,
}
"""By the kind of strategy; all others are those that users have registered."""


def place(request: PlacementRequest, nodes: Sequence[NodeView]) -> NodeId | None:
    """The node that the strategy's policy chooses; None if none has room now. A slow node is chosen only if no other
    is, or if it was asked for."""
    policy = POLICIES.get(request.strategy.kind)
    if policy is None:
        return registry.choose(request, nodes)
    steady = nodes.steady if isinstance(nodes, NodeList) and request.strategy.kind != "NODE" else None
    if steady is not None:
        chosen = policy(request, steady)
        if chosen is not None:
            return chosen
    return policy(request, nodes)
