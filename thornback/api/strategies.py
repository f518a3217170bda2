"""From what users write in ``scheduling_strategy`` and ``label_selector`` to :class:`messages.Strategy`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from thornback.api.ids import NodeID
from thornback.core.messages import Strategy
from thornback.core.scheduling import registry
from thornback.util.scheduling_strategies import (
    DoesNotExist,
    Exists,
    In,
    LabelMatch,
    NodeAffinitySchedulingStrategy,
    NodeLabelSchedulingStrategy,
    NotIn,
    PlacementGroupSchedulingStrategy,
)

ALLOWED = (
    '"DEFAULT", "SPREAD", "RANDOM", "POWER_OF_TWO", "MEMORY", a policy registered with '
    "thornback.util.register_policy, or a NodeAffinitySchedulingStrategy, NodeLabelSchedulingStrategy or "
    "PlacementGroupSchedulingStrategy of thornback.util.scheduling_strategies"
)

NAMES = ("DEFAULT", "SPREAD", "RANDOM", "POWER_OF_TWO", "MEMORY")
"""Policies that need nothing but their name."""

Condition = tuple[str, str, tuple[str, ...]]


def is_strategy(value: Any) -> bool:
    """Whether ``value`` may be given as ``scheduling_strategy``."""
    if isinstance(value, str):
        return value in NAMES or registry.is_registered(value)
    return isinstance(
        value, (NodeAffinitySchedulingStrategy, NodeLabelSchedulingStrategy, PlacementGroupSchedulingStrategy)
    )


def to_strategy(value: Any, label_selector: Mapping[str, str] | None = None) -> Strategy:
    """The engine's form of a strategy.

    Args:
        value: what :func:`is_strategy` accepts, or None for the default.
        label_selector: labels that the node must have besides.

    Raises:
        ValueError: a node id, label operator or label is malformed, or both arguments ask for different things.
    """
    strategy = _plain(value)
    if not label_selector:
        return strategy
    if strategy.kind not in ("DEFAULT", "LABELS") or strategy.group:
        raise ValueError(
            "label_selector can be combined with scheduling_strategy=NodeLabelSchedulingStrategy(...) or the default, "
            f"not with {value!r}"
        )
    hard = strategy.hard + tuple(_selector(label, text) for label, text in label_selector.items())
    return Strategy(kind="LABELS", hard=hard, preferred=strategy.preferred)


def _plain(value: Any) -> Strategy:
    if value is None:
        return Strategy()
    if isinstance(value, str):
        return Strategy(kind=value, explicit=value == "DEFAULT")
    if isinstance(value, NodeAffinitySchedulingStrategy):
        return Strategy(kind="NODE", node=_node(value.node_id), soft=bool(value.soft))
    if isinstance(value, NodeLabelSchedulingStrategy):
        return Strategy(kind="LABELS", hard=_conditions(value.hard), preferred=_conditions(value.soft))
    group = value.placement_group
    if group is None or getattr(group, "is_empty", False):
        return Strategy(explicit=True)
    binary = getattr(getattr(group, "id", None), "binary", None)
    if binary is None:
        raise ValueError(f"PlacementGroupSchedulingStrategy needs a placement group, not {group!r}")
    capture = bool(value.placement_group_capture_child_tasks)
    return Strategy(group=binary(), bundle=value.placement_group_bundle_index, capture=capture)


def _node(node_id: str | NodeID) -> bytes:
    if isinstance(node_id, NodeID):
        return node_id.binary()
    try:
        return NodeID.from_hex(node_id).binary()
    except (TypeError, ValueError):
        raise ValueError(
            f"NodeAffinitySchedulingStrategy(node_id={node_id!r}): not a node id; nodes() lists them as 'NodeID'"
        ) from None


def _conditions(conditions: Mapping[str, LabelMatch] | None) -> tuple[Condition, ...]:
    result = []
    for label, match in (conditions or {}).items():
        if not isinstance(match, (In, NotIn, Exists, DoesNotExist)):
            raise ValueError(
                f"label {label!r}: the condition must be In(...), NotIn(...), Exists() or DoesNotExist(), not {match!r}"
            )
        result.append((label, type(match).__name__, match.values))
    return tuple(result)


def _selector(label: str, text: str) -> Condition:
    """``a``, ``!a``, ``in(a, b)`` or ``!in(a, b)``."""
    negated = text.startswith("!")
    body = text[1:] if negated else text
    if body.startswith("in(") and body.endswith(")"):
        values = tuple(part.strip() for part in body[3:-1].split(","))
    else:
        values = (body,)
    if not all(values):
        raise ValueError(f"label_selector[{label!r}] must be 'a', '!a', 'in(a, b)' or '!in(a, b)', not {text!r}")
    return (label, "NotIn" if negated else "In", values)
