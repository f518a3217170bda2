"""The simulated world: a whole cluster in one process, on virtual time, replayable from a seed.

::

    with thornback.simulator.simulate(nodes=100, cpus=4, seed=7) as world:
        thornback.init()
        ...            # any program; its tasks and actors run on the simulated nodes
        print(world.now, world.trace_hash)
"""

from __future__ import annotations

import sys
import time as _time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thornback.core.config import Config
    from thornback.faults.plan import Plan
    from thornback.simulator.model import Model
    from thornback.simulator.world import Costs, World

__all__ = ["active", "compute", "simulate"]


def simulate(
    nodes: int | Sequence[Mapping[str, Any]] = 4,
    cpus: float = 4,
    seed: int = 0,
    faults: Plan | str | Path | None = None,
    trace: str | Path | None = None,
    config: Mapping[str, Any] | Config | None = None,
    resources: Mapping[str, float] | None = None,
    object_store_memory: int = 2 << 30,
    costs: Costs | None = None,
    model: Model | None = None,
    codec: bool = False,
    lossy: bool = False,
    time_limit: float | None = None,
    stall_limit: float = 600.0,
) -> World:
    """A simulated cluster; the body of ``with simulate(...) as world:`` is a program on its head node.

    Args:
        nodes: how many machines, or a description of each (see :func:`thornback.simulator.cluster.node_specs`).
        cpus: of each machine.
        seed: of everything random.
        faults: a plan, or a JSON file with one.
        trace: file to write one JSON line per event to.
        config: settings of the engine by name.
        resources: custom resources of each machine.
        object_store_memory: bytes of each machine.
        costs: seconds of virtual time that functions take, by name; numbers or functions that return them.
        model: speeds of the machines and their network.
        codec: encode and decode every message, as in the real world.
        lossy: run the protocol for links that lose messages even if the plan has no such fault.
        time_limit: virtual seconds after which the program is stopped with DeadlockError.
        stall_limit: virtual seconds without any user code going on after which it is.

    Raises:
        ValueError: a bad argument, setting or plan; says which.
    """
    from thornback.core.config import Config
    from thornback.simulator.cluster import node_specs
    from thornback.simulator.world import World

    specs = node_specs(nodes, cpus, resources, object_store_memory)
    if isinstance(faults, (str, Path)):
        from thornback.faults.loader import load_plan

        faults = load_plan(faults, len(specs))
    return World(
        specs,
        seed=seed,
        faults=faults,
        trace=trace,
        config=config if isinstance(config, Config) else Config.of(config),
        model=model,
        codec=codec,
        lossy=lossy,
        costs=costs,
        time_limit=time_limit,
        stall_limit=stall_limit,
    )


def active() -> World | None:
    """The simulation that the calling code runs in; None in the real world."""
    module = sys.modules.get("thornback.simulator.world")
    return module.active() if module is not None else None


def compute(seconds: float) -> None:
    """Stand for a computation of that length: takes so much virtual time in a simulation (more on a slow node), and
    sleeps in the real world."""
    threads = sys.modules.get("thornback.simulator.threads")
    thread = None if threads is None else threads.active
    if thread is None:
        _time.sleep(seconds)
    else:
        thread.sleep(round(seconds * 1e9 * thread.surroundings.node.slowness))
