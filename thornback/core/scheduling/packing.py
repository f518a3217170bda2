"""Where the bundles of a placement group go: pure functions of bundles, strategy and nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from thornback.core.ids import NodeId
from thornback.core.messages import NodeView
from thornback.core.resources import GPU, Resources, describe, fits, subtract, total
from thornback.core.scheduling.labels import Condition, matches

PACK = "PACK"
SPREAD = "SPREAD"
STRICT_PACK = "STRICT_PACK"
STRICT_SPREAD = "STRICT_SPREAD"
STRATEGIES = (PACK, SPREAD, STRICT_PACK, STRICT_SPREAD)

Selectors = Sequence[Sequence[Condition]]


class _Room:
    """What a node still has during one placement."""

    __slots__ = ("free", "node", "order", "used")

    def __init__(self, node: NodeView, order: int, empty: bool) -> None:
        self.node = node
        self.order = order
        self.free: Resources = dict(node.total if empty else node.available)
        self.used = 0
        """Bundles of the group here."""

    def load(self) -> float:
        worst = 0.0
        for name, amount in self.node.total.items():
            if amount:
                worst = max(worst, 1 - self.free.get(name, 0) / amount)
        return worst


_Bundles = Sequence[Mapping[str, int]]
_May = Callable[[int, _Room], bool]


def place_bundles(
    bundles: Sequence[Mapping[str, int]],
    strategy: str,
    nodes: Sequence[NodeView],
    selectors: Selectors = (),
    placed: Sequence[NodeId] = (),
    empty: bool = False,
) -> dict[int, NodeId] | None:
    """A node for each bundle that has none, or None if there is no room for all of them.

    Args:
        nodes: alive, in a fixed order.
        selectors: labels that each bundle's node must have; empty for none.
        placed: where bundles are already; empty ids for those without a place.
        empty: as if nothing ran on the nodes.
    """
    where = list(placed) or [b""] * len(bundles)
    missing = [index for index, node in enumerate(where) if not node]
    rooms = [_Room(node, order, empty) for order, node in enumerate(nodes)]
    wants_gpu = any(GPU in bundles[index] for index in missing)
    rooms.sort(key=lambda room: (not wants_gpu and GPU in room.node.total, room.order))
    for room in rooms:
        room.used = sum(node == room.node.node_id for node in where)

    def may(index: int, room: _Room) -> bool:
        if selectors and not matches(room.node.labels, selectors[index]):
            return False
        return fits(bundles[index], room.free)

    if strategy == STRICT_PACK:
        return _on_one(bundles, missing, rooms, may, where)
    missing.sort(key=lambda index: (-sum(_shares(bundles[index], nodes)), index))
    if strategy == PACK:
        single = _on_one(bundles, missing, rooms, may, where)
        return single if single is not None else _packed(bundles, missing, rooms, may)
    return _spread(bundles, missing, rooms, may, strategy == STRICT_SPREAD)


def _shares(bundle: Mapping[str, int], nodes: Sequence[NodeView]) -> list[float]:
    if not nodes:
        return [0.0]
    largest = nodes[0].total
    return [amount / (largest.get(name) or amount) for name, amount in sorted(bundle.items())]


def _on_one(
    bundles: _Bundles, missing: list[int], rooms: list[_Room], may: _May, where: list[NodeId]
) -> dict[int, NodeId] | None:
    together = total(bundles[index] for index in missing)
    home = next((node for node in where if node), b"")
    for room in rooms:
        if home and room.node.node_id != home:
            continue
        if fits(together, room.free) and all(may(index, room) for index in missing):
            return dict.fromkeys(missing, room.node.node_id)
    return None


def _packed(bundles: _Bundles, missing: list[int], rooms: list[_Room], may: _May) -> dict[int, NodeId] | None:
    chosen: dict[int, NodeId] = {}
    left = list(missing)
    while left:
        best: list[int] = []
        best_room: _Room | None = None
        for room in rooms:
            saved = dict(room.free)
            here = []
            for index in left:
                if may(index, room):
                    subtract(room.free, bundles[index])
                    here.append(index)
            room.free = saved
            if here and (best_room is None or (len(here), room.used) > (len(best), best_room.used)):
                best, best_room = here, room
                if len(here) == len(left):
                    break
        if best_room is None:
            return None
        for index in best:
            subtract(best_room.free, bundles[index])
            best_room.used += 1
            chosen[index] = best_room.node.node_id
            left.remove(index)
    return chosen


def _spread(
    bundles: _Bundles, missing: list[int], rooms: list[_Room], may: _May, strict: bool
) -> dict[int, NodeId] | None:
    chosen: dict[int, NodeId] = {}
    for index in missing:
        fitting = [room for room in rooms if may(index, room) and not (strict and room.used)]
        if not fitting:
            return None
        room = min(fitting, key=lambda each: (each.used, each.load()))
        subtract(room.free, bundles[index])
        room.used += 1
        chosen[index] = room.node.node_id
    return chosen


def why_never(
    bundles: Sequence[Mapping[str, int]], strategy: str, nodes: Sequence[NodeView], selectors: Selectors = ()
) -> str:
    """Empty if the group could be placed on the empty cluster; else one sentence that says which bundle fits nowhere
    and what the largest node has."""
    if place_bundles(bundles, strategy, nodes, selectors, empty=True) is not None:
        return ""
    if not nodes:
        return "there are no nodes"
    for index, bundle in enumerate(bundles):
        labelled = [node for node in nodes if not selectors or matches(node.labels, selectors[index])]
        if not labelled:
            return f"bundle {index} needs a node with labels that none of the {len(nodes)} nodes has"
        if not any(fits(bundle, node.total) for node in labelled):
            return f"bundle {index} needs {describe(bundle)}, {_largest(bundle, labelled)}"
    if strategy == STRICT_PACK:
        together = total(bundles)
        return f"its {len(bundles)} bundles together need {describe(together)} on one node, {_largest(together, nodes)}"
    if strategy == STRICT_SPREAD and len(bundles) > len(nodes):
        return f"its {len(bundles)} bundles need a node each, and there are {len(nodes)} nodes"
    have = total(node.total for node in nodes)
    asked = total(bundles)
    return (
        f"its {len(bundles)} bundles need {describe(asked)} under {strategy}, for which the {len(nodes)} nodes with "
        f"{describe({name: have.get(name, 0) for name in asked})} in total have no arrangement"
    )


def why_not_now(
    bundles: Sequence[Mapping[str, int]],
    strategy: str,
    nodes: Sequence[NodeView],
    selectors: Selectors = (),
    placed: Sequence[NodeId] = (),
) -> str:
    """Empty if there is room for the bundles that have no place; else one clause that says which of them fits nowhere,
    and what the node with most room has free. The group fits on the empty cluster."""
    if place_bundles(bundles, strategy, nodes, selectors, placed) is not None:
        return ""
    where = list(placed) or [b""] * len(bundles)
    missing = [index for index, node in enumerate(where) if not node]
    for index in missing:
        labelled = [node for node in nodes if not selectors or matches(node.labels, selectors[index])]
        if not any(fits(bundles[index], node.available) for node in labelled):
            return f"bundle {index} needs {describe(bundles[index])}, {_freest(bundles[index], labelled)}"
    together = total(bundles[index] for index in missing)
    if strategy == STRICT_PACK:
        return f"its {len(missing)} bundles together need {describe(together)} on one node, {_freest(together, nodes)}"
    return f"each of its {len(missing)} bundles would fit, but under {strategy} there is no room for all at once"


def _freest(demand: Mapping[str, int], nodes: Sequence[NodeView]) -> str:
    lacking = [name for name, amount in demand.items() if all(node.available.get(name, 0) < amount for node in nodes)]
    name = lacking[0] if lacking else next(iter(demand))
    freest = max(nodes, key=lambda node: node.available.get(name, 0))
    shown = {each: freest.available.get(each, 0) for each in demand}
    return f"but the node with most {name} free ({freest.name}) has {describe(shown)}"


def _largest(demand: Mapping[str, int], nodes: Sequence[NodeView]) -> str:
    lacking = [name for name, amount in demand.items() if all(node.total.get(name, 0) < amount for node in nodes)]
    name = lacking[0] if lacking else next(iter(demand))
    largest = max(nodes, key=lambda node: node.total.get(name, 0))
    shown = {each: largest.total.get(each, 0) for each in demand}
    return f"but the largest node ({largest.name}) has {describe(shown)}"
