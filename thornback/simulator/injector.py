"""Makes the faults of a plan happen in a simulation."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from thornback.faults.base import LastingFault
from thornback.faults.plan import AnyFault, CrashWorker, Plan
from thornback.simulator.effects import EFFECTS
from thornback.simulator.effects.processes import watch_tasks
from thornback.simulator.model import nanoseconds
from thornback.simulator.triggers import Triggers

if TYPE_CHECKING:
    from thornback.simulator.world import World


class Injector:
    """Schedules the faults of ``plan`` when it is made, before the simulation begins.

    Raises:
        ValueError: a fault names a node that the cluster does not have.
    """

    def __init__(self, world: World, plan: Plan) -> None:
        self._world = world
        self._triggers = Triggers(world)
        problem = plan.problem(len(world.nodes))
        if problem is not None:
            index, field, reason = problem
            raise ValueError(f"faults[{index}].{field}: {reason}")
        for index, fault in enumerate(plan.faults):
            if type(fault) not in EFFECTS:
                raise ValueError(f"faults[{index}]: a simulation has no {fault.kind}")
            self._schedule(fault)

    def _schedule(self, fault: AnyFault) -> None:
        if isinstance(fault, CrashWorker) and fault.moment is not None:
            watch_tasks(self._world, fault)
        elif fault.after is not None:
            self._triggers.add(fault.after, nanoseconds(fault.after.delay), lambda: self._begin(fault))
        else:
            self._world.engine.call_after(nanoseconds(fault.at or 0.0), lambda: self._begin(fault))

    def _begin(self, fault: AnyFault) -> None:
        if self._world.closed or any(
            node >= len(self._world.nodes) for _, nodes in fault.named_nodes() for node in nodes
        ):
            return
        self._world.fault(fault.kind, repr(fault).encode())
        end: Callable[[], None] | None = EFFECTS[type(fault)](self._world, fault)
        duration = fault.duration if isinstance(fault, LastingFault) else None
        if end is not None and duration is not None:
            self._world.engine.call_after(nanoseconds(duration), end)
