"""Whether a node may and could serve a demand at all, whatever runs there now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from thornback.core.messages import NodeView, Strategy
from thornback.core.resources import describe, fits
from thornback.core.scheduling.labels import matches
from thornback.core.scheduling.view import index_of

Demand = Mapping[str, int]
"""Resources in integer units."""


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
