"""Placement policies: pure functions that choose a node for a demand.

Each takes the demand in integer units, the candidate nodes and a random stream, and returns a node id or None when no
candidate has the resources free now. Whether any node could ever serve a demand is :func:`is_feasible`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from thornback.core.config import Config
from thornback.core.ids import NodeId
from thornback.core.messages import NodeView, Strategy
from thornback.core.ports import RandomStream
from thornback.core.resources import GPU, describe, fits

SAMPLE = 64
"""Nodes looked at per decision on large clusters, before all of them are."""

Label = tuple[str, str, tuple[str, ...]]


def matches(labels: Mapping[str, str], selectors: Sequence[Label]) -> bool:
    """Whether a node's labels satisfy all of (label, operator, values)."""
    for name, operator, values in selectors:
        value = labels.get(name)
        if operator == "In" and value not in values:
            return False
        if operator == "NotIn" and value in values:
            return False
        if operator == "Exists" and value is None:
            return False
        if operator == "DoesNotExist" and value is not None:
            return False
    return True


def allowed(node: NodeView, strategy: Strategy) -> bool:
    """Whether the strategy permits the node at all."""
    if not node.alive or node.draining:
        return False
    if strategy.kind == "NODE" and not strategy.soft:
        return node.node_id == strategy.node
    return not strategy.hard or matches(node.labels, strategy.hard)


def is_feasible(demand: Mapping[str, int], nodes: Sequence[NodeView], strategy: Strategy) -> bool:
    """Whether some node could serve the demand when nothing else runs on it."""
    return any(allowed(node, strategy) and fits(demand, node.total) for node in nodes)


def why_infeasible(name: str, demand: Mapping[str, int], nodes: Sequence[NodeView], strategy: Strategy) -> str:
    """One sentence for people: what is asked for, and the most that a node has."""
    alive = [node for node in nodes if node.alive]
    permitted = [node for node in alive if allowed(node, strategy)]
    if not permitted:
        if strategy.kind == "NODE":
            return f"{name} must run on node {strategy.node.hex()}, which is not alive"
        return f"{name} needs a node with labels that none of the {len(alive)} nodes has: {strategy.hard}"
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


def utilization(demand: Mapping[str, int], node: NodeView) -> float:
    """The highest share of any resource that would be in use with the demand placed there."""
    worst = 0.0
    for name, total in node.total.items():
        if total:
            used = total - node.available.get(name, 0) + demand.get(name, 0)
            worst = max(worst, used / total)
    return worst


def _candidates(nodes: Sequence[NodeView], random: RandomStream) -> Sequence[Sequence[NodeView]]:
    if len(nodes) <= SAMPLE:
        return (nodes,)
    start = random.randrange(len(nodes))
    sample = [nodes[(start + step) % len(nodes)] for step in range(SAMPLE)]
    return (sample, nodes)


def hybrid(
    demand: Mapping[str, int],
    nodes: Sequence[NodeView],
    local: NodeId,
    strategy: Strategy,
    config: Config,
    random: RandomStream,
) -> NodeId | None:
    """Pack onto nodes below the threshold, the local one first; above it, spread over the least used.

    After Ray's default policy: the score of a node is its utilization, with all below the threshold equal; one of the
    best ``hybrid_top_fraction`` is drawn. Demands without GPUs avoid nodes that have some.
    """
    for group in _candidates(nodes, random):
        scored = []
        for order, node in enumerate(group):
            if not allowed(node, strategy) or not fits(demand, node.available):
                continue
            score = utilization(demand, node)
            wasteful = GPU in node.total and GPU not in demand
            scored.append((wasteful, score if score > config.hybrid_threshold else 0.0, node.node_id != local, order))
        if scored:
            scored.sort()
            if scored[0][1] == 0.0:
                return group[scored[0][3]].node_id
            top = max(1, int(len(scored) * config.hybrid_top_fraction))
            return group[scored[random.randrange(top)][3]].node_id
    return None


def spread(
    demand: Mapping[str, int],
    nodes: Sequence[NodeView],
    local: NodeId,
    strategy: Strategy,
    config: Config,
    random: RandomStream,
) -> NodeId | None:
    """The least used node that fits; ties are drawn."""
    for group in _candidates(nodes, random):
        best: list[NodeId] = []
        lowest = float("inf")
        for node in group:
            if allowed(node, strategy) and fits(demand, node.available):
                score = utilization(demand, node)
                if score < lowest:
                    best, lowest = [node.node_id], score
                elif score == lowest:
                    best.append(node.node_id)
        if best:
            return best[random.randrange(len(best))]
    return None


def node_affinity(
    demand: Mapping[str, int],
    nodes: Sequence[NodeView],
    local: NodeId,
    strategy: Strategy,
    config: Config,
    random: RandomStream,
) -> NodeId | None:
    """The named node if it fits; a soft affinity falls back to :func:`hybrid`."""
    for node in nodes:
        if node.node_id == strategy.node and node.alive:
            if fits(demand, node.available):
                return node.node_id
            if not strategy.soft or fits(demand, node.total):
                return None
    return hybrid(demand, nodes, local, strategy, config, random) if strategy.soft else None


def labels(
    demand: Mapping[str, int],
    nodes: Sequence[NodeView],
    local: NodeId,
    strategy: Strategy,
    config: Config,
    random: RandomStream,
) -> NodeId | None:
    """Nodes with the preferred labels first, then any that has the required ones."""
    preferred = [node for node in nodes if matches(node.labels, strategy.preferred)]
    chosen = hybrid(demand, preferred, local, strategy, config, random)
    return chosen if chosen is not None else hybrid(demand, nodes, local, strategy, config, random)


Policy = Callable[[Mapping[str, int], Sequence[NodeView], NodeId, Strategy, Config, RandomStream], NodeId | None]

POLICIES: dict[str, Policy] = {"DEFAULT": hybrid, "SPREAD": spread, "NODE": node_affinity, "LABELS": labels}
"""By the kind of strategy."""


def place(
    demand: Mapping[str, int],
    nodes: Sequence[NodeView],
    local: NodeId,
    strategy: Strategy,
    config: Config,
    random: RandomStream,
) -> NodeId | None:
    """The node that the strategy's policy chooses; None if none has room now."""
    return POLICIES[strategy.kind](demand, nodes, local, strategy, config, random)
