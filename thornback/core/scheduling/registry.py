"""Policies that users have registered by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from thornback.core.ids import NodeId
from thornback.core.messages import FunctionDefinition, NodeView
from thornback.core.ports import RandomStream
from thornback.core.resources import fits, from_units
from thornback.core.scheduling.feasibility import allowed
from thornback.core.scheduling.request import PlacementRequest
from thornback.core.serialization import load_function

UserPolicy = Callable[[dict[str, float], list[dict[str, Any]], RandomStream], Any]
"""Takes the demand and the nodes that fit, as users see them, and returns one of the nodes or its id."""

MOST = 256
"""Policies kept."""

_policies: dict[str, UserPolicy] = {}


def register(name: str, policy: UserPolicy) -> None:
    """Make a policy known to this process under a name."""
    if len(_policies) >= MOST and name not in _policies:
        del _policies[next(iter(_policies))]
    _policies[name] = policy


def load(blob: bytes) -> UserPolicy:
    """A policy from the bytes in which it travels; one that cannot be unpickled here takes the first node that fits."""
    try:
        policy: UserPolicy = load_function(FunctionDefinition(b"", "policy", blob))
    except Exception:
        return lambda demand, nodes, random: nodes[0]
    return policy


def is_registered(name: str) -> bool:
    """Whether this process knows a policy of that name."""
    return name in _policies


def names() -> list[str]:
    """Names of the policies that this process knows."""
    return list(_policies)


def choose(request: PlacementRequest, nodes: Sequence[NodeView]) -> NodeId | None:
    """What the user's policy chooses among the nodes that fit; the first if it fails or chooses none of them."""
    fitting = [node for node in nodes if allowed(node, request.strategy) and fits(request.demand, node.available)]
    policy = _policies.get(request.strategy.kind)
    if not fitting or policy is None:
        return fitting[0].node_id if fitting else None
    try:
        answer = policy(from_units(request.demand), [_shown(node, request.local) for node in fitting], request.random)
    except Exception:
        answer = None
    chosen = answer.get("node_id") if isinstance(answer, dict) else answer
    by_id = {node.node_id.hex(): node.node_id for node in fitting}
    return by_id.get(str(chosen), fitting[0].node_id)


def _shown(node: NodeView, local: NodeId) -> dict[str, Any]:
    return {
        "node_id": node.node_id.hex(),
        "name": node.name,
        "total": from_units(node.total),
        "available": from_units(node.available),
        "labels": dict(node.labels),
        "waiting": node.waiting,
        "is_local": node.node_id == local,
    }
