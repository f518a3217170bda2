"""What must always hold in a cluster, whatever happens to it, and what must come true in the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thornback.faults.invariants.actors import CallOrder, Incarnations, Names, Restarts
from thornback.faults.invariants.base import Checker, Violation
from thornback.faults.invariants.custom import invariant
from thornback.faults.invariants.durable import Acknowledged
from thornback.faults.invariants.errors import TrueCauses
from thornback.faults.invariants.groups import Groups
from thornback.faults.invariants.handed_on import HandedOn
from thornback.faults.invariants.leaving import Leaving
from thornback.faults.invariants.ledgers import Ledgers
from thornback.faults.invariants.leftovers import Leftovers
from thornback.faults.invariants.liveness import Counts, Rebuilt, Returns, Runs, Views, Zero
from thornback.faults.invariants.monitor import Monitor
from thornback.faults.invariants.objects import Freed, Memory, ResolvesOnce, SealedBytes
from thornback.faults.invariants.placement import Placement
from thornback.faults.invariants.queues import Queues
from thornback.faults.invariants.quotas import Quotas
from thornback.faults.invariants.resources import Capacity, DeadHolders
from thornback.faults.invariants.room import Room
from thornback.faults.invariants.starving import Starving
from thornback.faults.invariants.tasks import Attempts, Cancelled

if TYPE_CHECKING:
    from thornback.simulator.world import World

SAFETY: tuple[type[Checker], ...] = (
    ResolvesOnce,
    Attempts,
    Capacity,
    Ledgers,
    Quotas,
    DeadHolders,
    Leaving,
    CallOrder,
    Incarnations,
    Restarts,
    Names,
    Groups,
    Placement,
    Freed,
    HandedOn,
    SealedBytes,
    Memory,
    Room,
    TrueCauses,
    Acknowledged,
    Cancelled,
)
LIVENESS: tuple[type[Checker], ...] = (Returns, Rebuilt, Counts, Leftovers, Zero, Runs, Starving, Views, Queues)
INVARIANTS = SAFETY + LIVENESS

__all__ = ["INVARIANTS", "LIVENESS", "SAFETY", "Checker", "Monitor", "Violation", "invariant", "watch"]


def watch(world: World) -> Monitor:
    """Check every invariant in a simulation that has not begun yet."""
    from thornback.faults.invariants.truth import GroundTruth

    truth = GroundTruth(world)
    monitor = Monitor([make() for make in INVARIANTS])
    for checker in monitor.checkers:
        if isinstance(checker, SealedBytes):
            checker.peek = truth.peek
        elif isinstance(checker, Freed):
            checker.holders = truth.holders
        elif isinstance(checker, HandedOn):
            checker.counts = truth.counts
    monitor.watch(world)
    return monitor
