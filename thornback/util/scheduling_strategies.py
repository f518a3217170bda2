"""Where a task or actor may run: values of the option ``scheduling_strategy``.

The strings ``"DEFAULT"`` (pack, then spread) and ``"SPREAD"`` are accepted too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from thornback.api.ids import NodeID


class In:
    """The label has one of these values."""

    def __init__(self, *values: str) -> None:
        self.values = _strings("In", values)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.values))})"


class NotIn:
    """The label has none of these values, or is absent."""

    def __init__(self, *values: str) -> None:
        self.values = _strings("NotIn", values)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.values))})"


class Exists:
    """The node has the label."""

    values: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return "Exists()"


class DoesNotExist:
    """The node does not have the label."""

    values: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return "DoesNotExist()"


LabelMatch: TypeAlias = In | NotIn | Exists | DoesNotExist


@dataclass(frozen=True)
class NodeAffinitySchedulingStrategy:
    """Run on one node.

    Args:
        node_id: hex id, as ``nodes()`` and ``get_runtime_context().get_node_id()`` give it.
        soft: if that node cannot (it died, it is too small), run elsewhere instead of failing.
    """

    node_id: str | NodeID
    soft: bool


@dataclass(frozen=True)
class NodeLabelSchedulingStrategy:
    """Run on nodes by their labels.

    Args:
        hard: conditions that a node must fulfil, by label.
        soft: conditions that are preferred among those nodes.
    """

    hard: Mapping[str, LabelMatch]
    soft: Mapping[str, LabelMatch] = field(default_factory=dict)


@dataclass(frozen=True)
class PlacementGroupSchedulingStrategy:
    """Run inside a placement group.

    Args:
        placement_group: the group.
        placement_group_bundle_index: which of its bundles; -1 is any.
        placement_group_capture_child_tasks: whether tasks that the task submits run in the group too.
    """

    placement_group: Any
    placement_group_bundle_index: int = -1
    placement_group_capture_child_tasks: bool | None = None

    def __post_init__(self) -> None:
        index = self.placement_group_bundle_index
        if not isinstance(index, int) or isinstance(index, bool):
            raise TypeError(f"placement_group_bundle_index must be a whole number, not {index!r}")
        bundles = getattr(self.placement_group, "bundle_cache", None)
        if index < -1 or (bundles is not None and index >= len(bundles)):
            count = "" if bundles is None else f" to {len(bundles) - 1}"
            raise ValueError(
                f"placement_group_bundle_index={index!r}: must be an index from 0{count}, or -1 for any bundle"
            )


def _strings(name: str, values: tuple[Any, ...]) -> tuple[str, ...]:
    for value in values:
        if not isinstance(value, str):
            raise ValueError(f"{name}() takes label values, which are strings, not {value!r}")
    if not values:
        raise ValueError(f"{name}() needs at least one label value")
    return values
