"""Tools built on the public API: actor pools, queues, helpers for references."""

from typing import TYPE_CHECKING, Any

from thornback.util import scheduling_strategies

if TYPE_CHECKING:
    from thornback.util import queue
    from thornback.util.actor_pool import ActorPool
    from thornback.util.check_serialize import inspect_serializability
    from thornback.util.draining import drain_node
    from thornback.util.helpers import as_completed, map_unordered
    from thornback.util.named_actors import list_named_actors
    from thornback.util.placement_group import (
        PlacementGroup,
        get_current_placement_group,
        get_placement_group,
        placement_group,
        placement_group_table,
        remove_placement_group,
    )
    from thornback.util.policies import register_policy
    from thornback.util.serialization import deregister_serializer, register_serializer
    from thornback.util.waits import why_pending

__all__ = [
    "ActorPool",
    "PlacementGroup",
    "as_completed",
    "deregister_serializer",
    "drain_node",
    "get_current_placement_group",
    "get_placement_group",
    "inspect_serializability",
    "list_named_actors",
    "map_unordered",
    "placement_group",
    "placement_group_table",
    "queue",
    "register_policy",
    "register_serializer",
    "remove_placement_group",
    "scheduling_strategies",
    "why_pending",
]

_HOMES = {
    "ActorPool": "actor_pool",
    "PlacementGroup": "placement_group",
    "as_completed": "helpers",
    "deregister_serializer": "serialization",
    "drain_node": "draining",
    "get_current_placement_group": "placement_group",
    "get_placement_group": "placement_group",
    "inspect_serializability": "check_serialize",
    "list_named_actors": "named_actors",
    "map_unordered": "helpers",
    "placement_group": "placement_group",
    "placement_group_table": "placement_group",
    "register_policy": "policies",
    "register_serializer": "serialization",
    "remove_placement_group": "placement_group",
    "why_pending": "waits",
}
_MODULES = ("actor_pool", "check_serialize", "helpers", "named_actors", "queue", "serialization")


def __getattr__(name: str) -> Any:
    import importlib

    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
