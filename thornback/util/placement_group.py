"""Placement groups: resources set aside together, all or none, for tasks and actors that belong together."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

from thornback.api import current, identity
from thornback.api.ids import PlacementGroupID
from thornback.api.lazy import blocking
from thornback.api.object_ref import ObjectRef
from thornback.core import context, resources

STRATEGIES = ("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD")


class PlacementGroup:
    """A handle of a placement group; can be passed to tasks. Made by :func:`placement_group`.

    Args:
        id: of the group.
        bundle_cache: its bundles as the user wrote them, if known.
    """

    def __init__(self, id: PlacementGroupID, bundle_cache: list[dict[str, float]] | None = None) -> None:
        self.id = id
        self.bundle_cache = bundle_cache

    @staticmethod
    def empty() -> PlacementGroup:
        """The handle of no group."""
        return PlacementGroup(PlacementGroupID.nil(), [])

    @property
    def is_empty(self) -> bool:
        """Whether this is no group at all."""
        return self.id.is_nil()

    def ready(self) -> ObjectRef[PlacementGroup]:
        """A reference that is ready once all bundles are set aside; its value is this handle.

        ``get`` of it raises TaskPlacementGroupRemoved if the group ends before.
        """
        from thornback.core import placement, serialization

        runtime = current.require()
        value = serialization.dumps(self).to_value()
        return ObjectRef(placement.ready(runtime, self.id.binary(), value), runtime.drop)

    def wait(self, timeout_seconds: float | None = 30) -> bool:
        """Block until all bundles are set aside.

        Args:
            timeout_seconds: None waits as long as it takes.

        Returns:
            False if that was not the case in time.

        Raises:
            TaskPlacementGroupRemoved: the group has ended.
        """
        from thornback.core import placement

        _check_timeout(timeout_seconds)
        return placement.wait(current.require(), self.id.binary(), timeout_seconds)

    @property
    def bundle_specs(self) -> list[dict[str, float]]:
        """What each bundle holds."""
        if self.bundle_cache is None:
            from thornback.core import placement

            found = placement.bundles_of(current.require(), self.id.binary())
            self.bundle_cache = [resources.from_units(bundle) for bundle in found]
        return self.bundle_cache

    @property
    def bundle_count(self) -> int:
        """How many bundles it has."""
        return len(self.bundle_specs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PlacementGroup) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"PlacementGroup({self.id.hex()})"

    def __reduce__(self) -> tuple[Any, ...]:
        return PlacementGroup, (self.id, self.bundle_cache)


def placement_group(
    bundles: list[dict[str, float]],
    strategy: str = "PACK",
    name: str = "",
    lifetime: str | None = None,
    *,
    bundle_label_selector: list[dict[str, str]] | None = None,
    fail_if_infeasible: bool = False,
    _max_cpu_fraction_per_node: float | None = None,
    _soft_target_node_id: str | None = None,
) -> PlacementGroup:
    """Set resources aside for tasks and actors that belong together; returns at once.

    Either all bundles get their place or none does. The group ends with the program (or with the actor) that made it.

    Args:
        bundles: resources of each bundle, e.g. ``[{"CPU": 2, "GPU": 1}] * 4``. A bundle is on one node.
        strategy: "PACK" (few nodes), "SPREAD" (many nodes), "STRICT_PACK" (one node), "STRICT_SPREAD" (a node each).
        name: for :func:`get_placement_group`.
        lifetime: "detached" for a group that outlives the program.
        bundle_label_selector: labels that the node of each bundle must have.
        fail_if_infeasible: end the group, with an error in ``wait`` and ``ready``, if it could never be placed on the
            present nodes, instead of waiting for other nodes.

    Raises:
        TypeError, ValueError: a bad argument; says which, and what is allowed. The name is taken.
    """
    units = _checked_bundles(bundles)
    if strategy not in STRATEGIES:
        raise ValueError(f"placement_group(): strategy must be one of {', '.join(STRATEGIES)}, not {strategy!r}")
    if lifetime not in (None, "detached"):
        raise ValueError(f'placement_group(): lifetime must be None or "detached", not {lifetime!r}')
    if not isinstance(name, str):
        raise TypeError(f"placement_group(): name must be a string, not {name!r}")
    if not isinstance(fail_if_infeasible, bool):
        raise TypeError(f"placement_group(): fail_if_infeasible must be True or False, not {fail_if_infeasible!r}")
    selectors = _checked_selectors(bundle_label_selector, len(units))
    from thornback.core import placement
    from thornback.core.messages import GroupSpec

    runtime = current.require()
    running = context.current.get()
    spec = GroupSpec(
        group_id=placement.new_id(runtime),
        name=name,
        namespace=identity.namespace_of(runtime),
        strategy=strategy,
        bundles=units,
        selectors=selectors,
        detached=lifetime == "detached",
        job_id=identity.job_id_of(runtime),
        actor_id=b"" if running is None else running.actor_id,
        fail_infeasible=fail_if_infeasible,
    )
    placement.create(runtime, spec)
    return PlacementGroup(PlacementGroupID(spec.group_id), [dict(bundle) for bundle in bundles])


def remove_placement_group(placement_group: PlacementGroup) -> None:
    """End a group: its resources are free again, and tasks and actors in it end. Does nothing if it has ended.

    Raises:
        TypeError: not a placement group.
    """
    from thornback.core import placement

    _check_group("remove_placement_group", placement_group)
    placement.remove(current.require(), placement_group.id.binary())


def get_placement_group(placement_group_name: str) -> PlacementGroup:
    """The group that was given a name, in the program's namespace.

    Raises:
        ValueError: there is none; says which names there are.
    """
    if not isinstance(placement_group_name, str) or not placement_group_name:
        raise ValueError(f"get_placement_group() takes a name that is not empty, not {placement_group_name!r}")
    from thornback.core import placement

    runtime = current.require()
    namespace = identity.namespace_of(runtime)
    found = placement.find(runtime, placement_group_name, namespace)
    if not found.group_id:
        known = ", ".join(map(repr, found.names)) or "none"
        raise ValueError(
            f"there is no placement group named {placement_group_name!r} in namespace {namespace!r}; there are: {known}"
        )
    bundles = [resources.from_units(bundle) for bundle in found.bundles]
    return PlacementGroup(PlacementGroupID(found.group_id), bundles)


def placement_group_table(placement_group: PlacementGroup | None = None) -> dict[str, Any]:
    """State, strategy, bundles and nodes of one group, or of all by hex id.

    Raises:
        ValueError: the group is not known (any more).
    """
    rows = {row["placement_group_id"]: _table_row(row) for row in blocking.query(current.require(), "placement_groups")}
    if placement_group is None:
        return rows
    _check_group("placement_group_table", placement_group)
    found = rows.get(placement_group.id.hex())
    if found is None:
        raise ValueError(f"{placement_group!r} is not in the table: it was never made, or ended long ago")
    return found


def _table_row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "placement_group_id": row["placement_group_id"],
        "name": row["name"],
        "bundles": dict(enumerate(row["bundles"])),
        "bundles_to_node_id": dict(enumerate(row["nodes"])),
        "strategy": row["strategy"],
        "state": row["state"],
        "is_detached": row["is_detached"],
        "reason": row["reason"],
    }


def get_current_placement_group() -> PlacementGroup | None:
    """The group that the calling task or actor runs in; None outside of groups."""
    running = context.current.get()
    if running is None or not running.strategy.group:
        return None
    return PlacementGroup(PlacementGroupID(running.strategy.group))


def _check_group(caller: str, group: Any) -> None:
    if not isinstance(group, PlacementGroup):
        raise TypeError(f"{caller}() takes a placement group, not {group!r}")
    if group.is_empty:
        raise ValueError(f"{caller}() of the empty placement group")


def _check_timeout(timeout: float | None) -> None:
    if timeout is None:
        return
    if not isinstance(timeout, (int, float)) or isinstance(timeout, bool):
        raise TypeError(f"wait(): timeout_seconds must be a number of seconds or None, not {timeout!r}")
    if not timeout >= 0:
        raise ValueError(f"wait(): timeout_seconds must be at least 0, not {timeout!r}")


def _checked_bundles(bundles: Any) -> tuple[dict[str, int], ...]:
    if not isinstance(bundles, Sequence) or isinstance(bundles, str):
        raise ValueError(f"placement_group(): bundles must be a list of dictionaries, not {bundles!r}")
    if not bundles:
        raise ValueError("placement_group(): bundles must not be empty: a group sets aside at least one bundle")
    checked = []
    for index, bundle in enumerate(bundles):
        if not isinstance(bundle, Mapping):
            raise ValueError(
                f"placement_group(): bundle {index} must be a dictionary from resource names to amounts, not {bundle!r}"
            )
        for name, amount in bundle.items():
            number = isinstance(amount, (int, float)) and not isinstance(amount, bool)
            if not isinstance(name, str) or not name or not number:
                raise ValueError(
                    f"placement_group(): bundle {index} has {name!r}: {amount!r}; amounts are numbers >= 0"
                )
            if not amount >= 0 or math.isinf(amount):
                raise ValueError(
                    f"placement_group(): bundle {index} has {name!r}: {amount!r}; amounts are numbers >= 0"
                )
        units = resources.to_units(bundle)
        if not units:
            raise ValueError(f"placement_group(): bundle {index} is empty ({bundle!r}): it must hold some resource")
        checked.append(units)
    return tuple(checked)


def _checked_selectors(selectors: Any, count: int) -> tuple[Any, ...]:
    if selectors is None:
        return ()
    if not isinstance(selectors, Sequence) or len(selectors) != count:
        raise ValueError(
            f"placement_group(): bundle_label_selector must be a list of {count} dictionaries, one per bundle, "
            f"not {selectors!r}"
        )
    from thornback.api.strategies import to_strategy

    return tuple(to_strategy(None, selector).hard for selector in selectors)


class _Module(ModuleType):
    """``thornback.util.placement_group`` is this module and the function of the same name, as in Ray."""

    def __call__(self, *args: Any, **kwargs: Any) -> PlacementGroup:
        return placement_group(*args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        return import_module, (__name__,)


sys.modules[__name__].__class__ = _Module
