"""Connecting the program to the simulated cluster; called by ``thornback.init`` inside a simulation."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import msgspec

from thornback.api.job_config import JobConfig
from thornback.core.blocking import start_job
from thornback.core.config import Config
from thornback.core.runtime import Runtime
from thornback.simulator import threads, world
from thornback.simulator.model import MICROSECOND

_STEP = 1000 * MICROSECOND


def attach(
    namespace: str | None = None, config: Mapping[str, Any] | None = None, job: JobConfig | None = None
) -> Runtime:
    """A new driver process with a job, once all nodes have registered: on the head node, or on that of the program that
    :meth:`World.start_program` has started there.

    Args:
        namespace: of the job; None for one of its own.
        config: settings that differ in this driver from those of the cluster.
        job: what the job may claim.

    Raises:
        RuntimeError: the calling code is not part of a simulation.
    """
    simulation, thread = world.active(), threads.active
    if simulation is None or thread is None:
        raise RuntimeError("this code is not part of a simulation")
    while not simulation.is_up:
        thread.sleep(_STEP)
    settings = Config.of({**msgspec.structs.asdict(simulation.config), **(config or {})})
    program = simulation.programs.get(thread)
    node = simulation.nodes[0 if program is None else program.node]
    while node.process is None or not node.process.registered or not node.alive:
        thread.sleep(_STEP)
    process = node.start_driver(settings)
    if program is None:
        process.is_program = True
    else:
        program.connected(process)
    runtime: Runtime = process.runtime
    try:
        claims = job or JobConfig()
        start_job(runtime, namespace or "", " ".join(sys.argv), dict(claims.metadata), claims.to_terms())
    except BaseException:
        runtime.close()
        raise
    return runtime
