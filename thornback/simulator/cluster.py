"""The shape of a simulated cluster, from what users write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from thornback.simulator.nodes import DEFAULT_MEMORY, DEFAULT_OBJECT_STORE, NodeSpec

Machines = Mapping[str, Any] | Sequence[Mapping[str, Any]]
"""What every machine has; or several descriptions, which the machines take in turn."""
_Amount = Annotated[float, Meta(ge=0)]


class _Description(msgspec.Struct, frozen=True):
    """What may be said of a machine."""

    cpus: _Amount = 0
    gpus: _Amount = 0
    memory: _Amount = 0
    object_store_memory: Annotated[int, Meta(ge=0)] = 0
    resources: dict[str, _Amount] = {}
    labels: dict[str, str] = {}


NODE_KEYS = _Description.__struct_fields__


def machines(count: int, *described: Machines) -> list[dict[str, Any]]:
    """``count`` machines as :func:`node_specs` takes them, the head first; later descriptions go over earlier ones.

    Raises:
        ValueError: there is a list without descriptions.
    """
    turns = [[each] if isinstance(each, Mapping) else list(each) for each in described]
    if not all(turns):
        raise ValueError("a list of machines needs at least one")
    return [{key: value for turn in turns for key, value in turn[index % len(turn)].items()} for index in range(count)]


def node_specs(
    nodes: int | Sequence[Mapping[str, Any]],
    cpus: float,
    resources: Mapping[str, float] | None = None,
    object_store_memory: int = DEFAULT_OBJECT_STORE,
) -> list[NodeSpec]:
    """One description per machine, the head first.

    Args:
        nodes: how many equal ones; or one mapping per node with any of ``cpus``, ``gpus``, ``memory`` (bytes),
            ``object_store_memory`` (bytes), ``resources`` (custom ones) and ``labels``.
        cpus: per node, where the node does not say.
        resources: custom resources of every node.

    Raises:
        ValueError: there is no node, or a node has an unknown key or an impossible value.
    """
    described: Sequence[Mapping[str, Any]] = [{}] * nodes if isinstance(nodes, int) else list(nodes)
    if not described:
        raise ValueError("a cluster needs at least one node")
    return [_spec(node, index, cpus, resources or {}, object_store_memory) for index, node in enumerate(described)]


def _spec(
    node: Mapping[str, Any], index: int, cpus: float, resources: Mapping[str, float], object_store_memory: int
) -> NodeSpec:
    unknown = [key for key in node if key not in NODE_KEYS]
    if unknown:
        raise ValueError(f"node {index}: unknown key {unknown[0]!r}; a node has {', '.join(NODE_KEYS)}")
    try:
        msgspec.convert(node, _Description)
    except msgspec.ValidationError as error:
        raise ValueError(f"node {index}: {error}") from None
    amounts: dict[str, float] = {"CPU": node.get("cpus", cpus), "memory": node.get("memory", DEFAULT_MEMORY)}
    if node.get("gpus"):
        amounts["GPU"] = node["gpus"]
    amounts |= resources
    amounts |= node.get("resources", {})
    return NodeSpec(amounts, dict(node.get("labels", {})), node.get("object_store_memory", object_store_memory))
