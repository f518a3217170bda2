"""Faults of the network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thornback.faults import plan as p
from thornback.simulator.conditions import Rule
from thornback.simulator.effects.base import Effect, End
from thornback.simulator.inside import LINKS_WITHIN
from thornback.simulator.model import nanoseconds
from thornback.simulator.network import Losing

if TYPE_CHECKING:
    from thornback.simulator.world import World


def _link(world: World, fault: p.LinkFault) -> End:
    network = world.network
    conditions = network.conditions if fault.within is None else network.inside_nodes()
    number = conditions.add(_rule(fault))
    return lambda: conditions.remove(number)


def _rule(fault: p.LinkFault) -> Rule:
    effects: dict[str, Any] = {}
    if isinstance(fault, p.Cut):
        effects["cut"] = True
    elif isinstance(fault, p.Loss):
        effects["loss"] = fault.rate
    elif isinstance(fault, p.Duplicate):
        effects.update(duplicate=fault.rate, window=nanoseconds(0.001))
    elif isinstance(fault, p.Reorder):
        effects.update(reorder=fault.rate, window=nanoseconds(fault.window))
    elif isinstance(fault, p.Delay):
        effects.update(delay=nanoseconds(fault.seconds), jitter=nanoseconds(fault.jitter))
    elif isinstance(fault, p.Bandwidth):
        effects["bandwidth"] = fault.factor
    sources = None if fault.a is None else frozenset(fault.a)
    if fault.within is not None:
        return Rule(sources, LINKS_WITHIN[fault.within], one_way=True, **effects)
    targets = None if fault.b is None else frozenset(fault.b)
    return Rule(sources, targets, fault.one_way, **effects)


def _reset(world: World, fault: p.Reset) -> None:
    world.network.reset(fault.a, fault.b)


def _lose(world: World, fault: p.LoseMessage) -> None:
    world.network.losing.append(Losing(fault.message, fault.sender, fault.count))


EFFECTS: dict[type, Effect] = {
    **dict.fromkeys((p.Cut, p.Loss, p.Duplicate, p.Reorder, p.Delay, p.Bandwidth), _link),
    p.Reset: _reset,
    p.LoseMessage: _lose,
}
