"""Looking at a simulated cluster from outside of the program that runs on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from thornback.simulator.model import MICROSECOND, nanoseconds
from thornback.simulator.surroundings import Surroundings
from thornback.simulator.threads import GreenletThread

if TYPE_CHECKING:
    from thornback.simulator.world import World

_LATER = 1000 * MICROSECOND


class Observer:
    """Runs ``look`` once, at a point of virtual time, in a driver of its own on the head node.

    Args:
        seconds: when; a little later if the cluster is not up by then.
        look: may use the public API, as any program.

    Attributes:
        has_looked: whether ``look`` has returned.
    """

    def __init__(self, world: World, seconds: float, look: Callable[[], None]) -> None:
        self._world = world
        self._look = look
        self.has_looked = False
        world.engine.call_after(nanoseconds(seconds), self._start)

    def _start(self) -> None:
        world = self._world
        if not world.is_up:
            world.engine.call_after(_LATER, self._start)
            return
        head = world.nodes[0]
        process = head.start_driver(world.config)

        def run() -> None:
            try:
                self._look()
                self.has_looked = True
            finally:
                process.runtime.close()

        thread = GreenletThread(world, Surroundings(world, head, process.address, process.pid), process, run)
        thread.runtime = process.runtime
        process.threads.append(thread)
        thread.wake()
