"""Placement policies: pure functions that choose a node for a demand.

Each takes the demand in integer units, the nodes, and a random stream, and returns a node id or None when no permitted
node has the resources free now. Whether any node could ever serve a demand is :func:`is_feasible`. The same policies
serve tasks and actors. They look at an index of the nodes rather than at all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice

from thornback.core.config import Config
from thornback.core.ids import NodeId
from thornback.core.messages import NodeView, Strategy
from thornback.core.ports import RandomStream
from thornback.core.resources import MEMORY, OBJECT_STORE_MEMORY, describe, fits
from thornback.core.scheduling import registry
from thornback.core.scheduling.index import Kind, NodeIndex, wasteful
from thornback.core.scheduling.labels import Condition, matches
from thornback.core.scheduling.view import NodeList

EXACT = 16
"""Clusters up to this size are looked at node by node."""
DRAW_FROM = 6
"""Least used nodes of a larger cluster among which ties are drawn."""

Demand = Mapping[str, int]
Scorer = Callable[[Demand, NodeView], float]
"""How well a node suits a demand: less is better."""


def allowed(node: NodeView, strategy: Strategy) -> bool:
    """Whether the strategy permits the node at all."""
    if not node.alive or node.draining:
        return False
    if strategy.kind == "NODE" and not strategy.soft:
        return node.node_id == strategy.node
    return not strategy.hard or matches(node.labels, strategy.hard)


def may_stay(local: NodeView, strategy: Strategy) -> bool:
    """Whether a request may be granted where it arrives first, without comparing nodes."""
    if strategy.kind == "NODE":
        return strategy.node == local.node_id
    if strategy.kind == "LABELS":
        return matches(local.labels, strategy.preferred)
    return strategy.kind == "DEFAULT"


def index_of(nodes: Sequence[NodeView]) -> NodeIndex:
    """The index of a view's nodes; made anew for a plain list."""
    return nodes.by_use if isinstance(nodes, NodeList) else NodeIndex(nodes)


def is_feasible(demand: Demand, nodes: Sequence[NodeView], strategy: Strategy) -> bool:
    """Whether some node could serve the demand when nothing else runs on it."""
    index = index_of(nodes)
    if strategy.kind == "NODE" and not strategy.soft:
        node = index.get(strategy.node)
        return node is not None and allowed(node, strategy) and fits(demand, node.total)
    return bool(index.kinds_for(demand, strategy.hard))


def why_infeasible(name: str, demand: Demand, nodes: Sequence[NodeView], strategy: Strategy) -> str:
    """One sentence for people: what is asked for, and the most that a node has."""
    alive = [node for node in nodes if node.alive]
    permitted = [node for node in alive if allowed(node, strategy)]
    if not permitted:
        if strategy.kind == "NODE":
            known = ", ".join(node.node_id.hex() for node in alive[:20])
            return f"{name} must run on node {strategy.node.hex()}, which is not alive; alive are {known or 'none'}"
        wanted = " and ".join(f"{label} {operator} {list(values)}" for label, operator, values in strategy.hard)
        return f"{name} needs a node with labels that none of the {len(alive)} nodes has: {wanted}"
    lacking = [
        resource for resource, count in demand.items() if all(node.total.get(resource, 0) < count for node in permitted)
    ]
    if not lacking:
        return f"{name} needs {describe(demand)}, which no single node has at the same time"
    resource = lacking[0]
    most = max(node.total.get(resource, 0) for node in permitted)
    return (
        f"{name} needs {describe(demand)}, but the most {resource} that a node has is {describe({resource: most})}; "
        "it waits for a node that has enough (or ask for less)"
    )


def utilization(demand: Demand, node: NodeView) -> float:
    """The highest share of any resource that would be in use with the demand placed there."""
    worst = 0.0
    for name, total in node.total.items():
        if total:
            used = total - node.available.get(name, 0) + demand.get(name, 0)
            worst = max(worst, used / total)
    return worst


def hybrid(
    demand: Demand,
    nodes: Sequence[NodeView],
    local: NodeId,
    strategy: Strategy,
    config: Config,
    random: RandomStream,
) -> NodeId | None:
    """Pack onto nodes below the threshold, the local one first; above it, spread over the least used.

    After Ray's default policy: above the threshold, one of the best ``hybrid_top_fraction`` is drawn. Demands without
    GPUs avoid nodes that have some.
    """
    return _hybrid(demand, nodes, local, strategy.hard, config, random)


def _hybrid(
    demand: Demand,
    nodes: Sequence[NodeView],
    local: NodeId,
    conditions: Sequence[Condition],
    config: Config,
    random: RandomStream,
) -> NodeId | None:
    index = index_of(nodes)
    kinds = index.kinds_for(demand, conditions)
    home = index.get(local)
    for waste in (False, True):
        group = [kind for kind in kinds if wasteful(kind.total, demand) is waste]
        if not group:
            continue
        here = home is not None and wasteful(home.total, demand) is waste and _is_open(home, demand, conditions)
        if here and home is not None and utilization(demand, home) <= config.hybrid_threshold:
            return local
        for kind in group:
            order = index.packed(kind, demand, config.hybrid_threshold)
            if order is not None:
                return index.views[order].node_id
        chosen = _among_best(index, group, demand, config.hybrid_top_fraction, random)
        if chosen is not None:
            return chosen
    return None


def _is_open(node: NodeView, demand: Demand, conditions: Sequence[Condition]) -> bool:
    return fits(demand, node.available) and (not conditions or matches(node.labels, conditions))


def _among_best(
    index: NodeIndex, kinds: Sequence[Kind], demand: Demand, fraction: float, random: RandomStream
) -> NodeId | None:
    best: tuple[float, int] | None = None
    home: Kind | None = None
    for kind in kinds:
        first = next(index.fitting(kind, demand), None)
        if first is not None and (best is None or first < best):
            best, home = first, kind
    if best is None or home is None:
        return None
    drawn = home.by_use[random.randrange(max(1, int(len(home.by_use) * fraction)))]
    node = index.views[drawn[1]]
    return node.node_id if fits(demand, node.available) else index.views[best[1]].node_id


def spread(
    demand: Demand,
    nodes: Sequence[NodeView],
    local: NodeId,
    strategy: Strategy,
    config: Config,
    random: RandomStream,
) -> NodeId | None:
    """The least used node that fits; ties are drawn."""
    if len(nodes) <= EXACT:
        return _best(demand, [node for node in nodes if allowed(node, strategy)], utilization, random)
    index = index_of(nodes)
    kinds = index.kinds_for(demand, strategy.hard)
    each = max(2, DRAW_FROM // max(1, len(kinds)))
    near = [entry for kind in kinds for entry in islice(index.fitting(kind, demand), each)]
    near.sort()
    return _best(demand, [index.views[order] for _, order in near[:DRAW_FROM]], utilization, random)


def _best(demand: Demand, nodes: Iterable[NodeView], scorer: Scorer, random: RandomStream) -> NodeId | None:
    """Of the nodes with room the one with the lowest score; ties are drawn."""
    best: list[NodeId] = []
    lowest = float("inf")
    for node in nodes:
        if fits(demand, node.available):
            score = scorer(demand, node)
            if score < lowest:
                best, lowest = [node.node_id], score
            elif score == lowest:
                best.append(node.node_id)
    return best[random.randrange(len(best))] if best else None


def node_affinity(
    demand: Demand,
    nodes: Sequence[NodeView],
    local: NodeId,
    strategy: Strategy,
    config: Config,
    random: RandomStream,
) -> NodeId | None:
    """The named node if it fits; a soft affinity falls back to :func:`hybrid`."""
    node = index_of(nodes).get(strategy.node)
    if node is not None:
        if fits(demand, node.available):
            return node.node_id
        if not strategy.soft or fits(demand, node.total):
            return None
    return hybrid(demand, nodes, local, strategy, config, random) if strategy.soft else None


def labels(
    demand: Demand,
    nodes: Sequence[NodeView],
    local: NodeId,
    strategy: Strategy,
    config: Config,
    random: RandomStream,
) -> NodeId | None:
    """Nodes with the preferred labels first, then any that has the required ones."""
    if strategy.preferred:
        both = (*strategy.hard, *strategy.preferred)
        chosen = _hybrid(demand, nodes, local, both, config, random)
        if chosen is not None:
            return chosen
    return hybrid(demand, nodes, local, strategy, config, random)


def _draw(index: NodeIndex, strategy: Strategy, demand: Demand, random: RandomStream) -> NodeView | None:
    kinds = index.kinds_for(demand, strategy.hard)
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


def random_choice(
    demand: Demand,
    nodes: Sequence[NodeView],
    local: NodeId,
    strategy: Strategy,
    config: Config,
    random: RandomStream,
) -> NodeId | None:
    """Any node that fits."""
    node = _draw(index_of(nodes), strategy, demand, random)
    return None if node is None else node.node_id


def power_of_two(
    demand: Demand,
    nodes: Sequence[NodeView],
    local: NodeId,
    strategy: Strategy,
    config: Config,
    random: RandomStream,
) -> NodeId | None:
    """The less used of two nodes that are drawn."""
    index = index_of(nodes)
    drawn = [_draw(index, strategy, demand, random) for _ in range(2)]
    return _best(demand, [node for node in drawn if node is not None], utilization, random)


def most_memory(
    demand: Demand,
    nodes: Sequence[NodeView],
    local: NodeId,
    strategy: Strategy,
    config: Config,
    random: RandomStream,
) -> NodeId | None:
    """The node that fits and has most memory free, of its own and for objects."""
    index = index_of(nodes)
    found: list[NodeView] = []
    for kind in index.kinds_for(demand, strategy.hard):
        for name in (MEMORY, OBJECT_STORE_MEMORY):
            ends = kind.by_free.get(name, [])[-2:]
            found += [index.views[order] for _, order in ends]
    chosen = _best(demand, found, _little_memory, random)
    return chosen or hybrid(demand, nodes, local, strategy, config, random)


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


Policy = Callable[[Demand, Sequence[NodeView], NodeId, Strategy, Config, RandomStream], NodeId | None]

POLICIES: dict[str, Policy] = {
    "DEFAULT": hybrid,
    "SPREAD": spread,
    "NODE": node_affinity,
    "LABELS": labels,
    "RANDOM": random_choice,
    "POWER_OF_TWO": power_of_two,
    "MEMORY": most_memory,
}
"""By the kind of strategy."""


def place(
    demand: Demand,
    nodes: Sequence[NodeView],
    local: NodeId,
    strategy: Strategy,
    config: Config,
    random: RandomStream,
) -> NodeId | None:
    """The node that the strategy's policy chooses; None if none has room now. A slow node is chosen only if no other
    is, or if it was asked for."""
    policy = POLICIES.get(strategy.kind)
    if policy is None:
        return registry.choose(demand, nodes, local, strategy, config, random)
    steady = nodes.steady if isinstance(nodes, NodeList) and strategy.kind != "NODE" else None
    if steady is not None:
        chosen = policy(demand, steady, local, strategy, config, random)
        if chosen is not None:
            return chosen
    return policy(demand, nodes, local, strategy, config, random)
