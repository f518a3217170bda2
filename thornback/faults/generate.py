"""Random plans: storms of faults that end, so that what comes after must work again.

Swarm testing (Groce, Zhang, Eide, Chen, Regehr: "Swarm Testing", ISSTA 2012): each plan bans some kinds of faults
altogether. Runs in which everything happens at once hide bugs that need many faults of a few kinds, or the absence of
one that masks the others.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from thornback.faults.draw import DRAWS, NEEDS_OTHERS, WITHIN, Draw
from thornback.faults.plan import AnyFault, CrashNode, CrashRack, LastingFault, Plan, PreemptNode

ON_REQUEST = frozenset({"crash_driver"})
"""Not drawn unless asked for: it does nothing to programs with one driver."""
INSIDE = ("pause_raylet", *WITHIN)
"""What happens to the node process alone, or between processes of one node: drawn after the faults of a whole cluster,
as far as there is room for more, so that those do not depend on it."""
INSIDE_SHARE = 0.2
"""Of plans that draw from each kind of :data:`INSIDE`."""
MOST_INSIDE = 2
"""Faults of these kinds in one plan."""
KINDS = tuple(kind for kind in DRAWS if kind not in ON_REQUEST)
"""Kinds that :func:`random_plan` draws from by default."""
ALONE = tuple(kind for kind in KINDS if kind not in NEEDS_OTHERS)
"""Those that make sense on a single node."""
STORM_SHARE = 0.5
"""Of plans that are storms throughout; the others have calm stretches."""


def random_plan(
    seed: int | random.Random,
    nodes: int,
    duration: float = 20.0,
    faults: int = 6,
    kinds: Sequence[str] | None = None,
    also: Sequence[str] = (),
) -> Plan:
    """A random plan; equal arguments give an equal plan. The head (node 0) is never crashed or paused.

    All that lasts has ended after ``duration`` (but for what waits for an event and happens later); some nodes may stay
    dead, and at least half of them come back or live on.

    Args:
        nodes: of the cluster.
        duration: seconds within which all faults that can end have ended.
        faults: most faults in the plan.
        kinds: what to draw from (by default those of :data:`KINDS` that the cluster is large enough for), of which each
            plan bans some.
        also: kinds to draw from besides ``kinds``.

    Raises:
        ValueError: a kind is unknown or needs more nodes.
    """
    rng = seed if isinstance(seed, random.Random) else random.Random(seed)
    first = [kind for kind in allowed_kinds(kinds, nodes) if kinds is not None or kind not in INSIDE]
    chosen = [*first, *allowed_kinds(also, nodes)]
    draw = Draw(rng, nodes, duration)
    swarm = [kind for kind in chosen if rng.random() < 0.5] or [rng.choice(chosen)]
    drawn = [draw.fault(rng.choice(swarm)) for _ in range(1 + rng.randrange(faults))]
    calm_until = None if rng.random() < STORM_SHARE else rng.random() * (duration - duration / 3)
    if kinds is None:
        drawn += _inside(rng, draw, min(MOST_INSIDE, faults - len(drawn)))
    if calm_until is not None:
        drawn = _with_calm(drawn, calm_until)
    healed = keep_half_alive(drawn, nodes)
    return Plan(faults=tuple(healed), name=f"storm {seed}" if isinstance(seed, int) else "storm")


def _inside(rng: random.Random, draw: Draw, most: int) -> list[AnyFault]:
    swarm = [kind for kind in INSIDE if rng.random() < INSIDE_SHARE]
    return [draw.fault(rng.choice(swarm)) for _ in range(1 + rng.randrange(most))] if swarm and most > 0 else []


def allowed_kinds(kinds: Sequence[str] | None, nodes: int) -> list[str]:
    """The kinds to draw from for a cluster of so many nodes.

    Raises:
        ValueError: one of ``kinds`` is unknown or needs more nodes.
    """
    possible = [kind for kind in DRAWS if nodes > 1 or kind not in NEEDS_OTHERS]
    if kinds is None:
        return [kind for kind in possible if kind not in ON_REQUEST]
    wrong = [kind for kind in kinds if kind not in possible]
    if wrong:
        raise ValueError(f"no random fault {wrong[0]!r} for {nodes} nodes; there are {', '.join(possible)}")
    return list(kinds)


def _with_calm(faults: list[AnyFault], begin: float) -> list[AnyFault]:
    """Move all timed faults into one stretch of a third of the time, so that calm precedes and follows the storm."""

    def moved(time: float) -> float:
        return round(begin + time / 3, 4)

    result = []
    for fault in faults:
        changes = {} if fault.at is None else {"at": moved(fault.at)}
        if isinstance(fault, LastingFault) and fault.until is not None:
            changes["until"] = moved(fault.until) + 0.001
        result.append(_replaced(fault, **changes) if changes else fault)
    return result


def _replaced(fault: AnyFault, **changes: object) -> AnyFault:
    fields = {name: getattr(fault, name) for name in fault.__struct_fields__}
    return type(fault)(**{**fields, **changes})


def keep_half_alive(faults: list[AnyFault], nodes: int) -> list[AnyFault]:
    """Let nodes reboot once half of the others would be dead for good."""
    may_die = (nodes - 1) // 2
    dead: set[int] = set()
    result = []
    for fault in faults:
        lost = _lost_for_good(fault)
        if lost and len(dead | lost) > may_die:
            result.append(_replaced(fault, reboot_after=1.0))
        else:
            dead |= lost
            result.append(fault)
    return result


def _lost_for_good(fault: AnyFault) -> set[int]:
    if isinstance(fault, (CrashNode, PreemptNode)):
        return {fault.node} if fault.reboot_after is None else set()
    if isinstance(fault, CrashRack):
        return set(fault.nodes) if fault.reboot_after is None else set()
    return set()
