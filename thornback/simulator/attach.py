"""Connecting the program to the simulated cluster; called by ``thornback.init`` inside a simulation."""

from __future__ import annotations

from thornback.core.config import Config
from thornback.core.runtime import Runtime
from thornback.simulator import threads, world
from thornback.simulator.model import MICROSECOND

_STEP = 1000 * MICROSECOND


def attach(namespace: str | None = None, config: Config | None = None) -> Runtime:
    """A new driver process on the head node, once all nodes have registered.

    Args:
        namespace: unused; the job is started by the caller.
        config: unused; a simulated cluster has one configuration, given to ``simulate``.

    Raises:
        RuntimeError: the calling code is not part of a simulation.
    """
    simulation, thread = world.active(), threads.active
    if simulation is None or thread is None:
        raise RuntimeError("this code is not part of a simulation")
    while not simulation.is_up:
        thread.sleep(_STEP)
    process = simulation.nodes[0].start_driver()
    runtime: Runtime = process.runtime
    return runtime
