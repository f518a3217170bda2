"""Programs beside the one that opened the simulation: each with a driver of its own, which can be killed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from greenlet import GreenletExit

from thornback.core.config import MILLISECOND
from thornback.simulator import threads
from thornback.simulator.surroundings import Surroundings
from thornback.simulator.threads import GreenletThread

if TYPE_CHECKING:
    from thornback.simulator.process import UserProcess
    from thornback.simulator.world import World

LOOK_EVERY = 10 * MILLISECOND


class OtherProgram:
    """A program on one of the nodes, from its start on. What it runs becomes a driver with ``init()``.

    Attributes:
        node: the number of its node.
        killed: it has not come to its end: it was killed, or its machine was lost.
        error: what it has raised; None if it has not.
    """

    def __init__(self, world: World, main: Callable[[], object], node: int, name: str) -> None:
        self.node = node
        self.killed = False
        self.error: Exception | None = None
        self._main = main
        self._world = world
        self._driver: UserProcess | None = None
        surroundings = Surroundings(world, world.nodes[node], name.encode(), world.new_pid())
        self._thread = GreenletThread(world, surroundings, None, self._run)
        world.programs[self._thread] = self
        world.threads.append(self._thread)
        self._thread.wake()

    def _run(self) -> None:
        try:
            self._main()
        except GreenletExit:
            raise
        except Exception as error:
            self.error = error
        driver = self._driver
        if driver is not None:
            self.left()
            self._world.end_process(driver, "its program has ended")

    def connected(self, driver: UserProcess) -> None:
        """It has a driver process now: the two live and die together, until :meth:`left`."""
        self._driver = driver
        self._thread.process = driver
        driver.threads.append(self._thread)

    def left(self) -> None:
        """It goes on without its driver: it has left the cluster, or its node process has ended."""
        if self._driver is not None:
            self._driver.threads.remove(self._thread)
            self._thread.process = None
            self._driver = None

    @property
    def ended(self) -> bool:
        """Whether it runs no more, in whatever way it ended. Without its machine it does not run."""
        if self._thread.finished:
            return True
        if self._driver is not None:
            self.killed = self.killed or self._driver.ended
        elif not self.killed and self._world.nodes[self.node].is_down:
            self.kill()
        return self.killed

    def kill(self) -> None:
        """Kill it with SIGKILL, if it still runs."""
        if self.killed or self._thread.finished:
            return
        self.killed = True
        if self._driver is None:
            self._thread.kill()
        elif not self._driver.ended:
            self._world.fault("crash_driver", self._driver.address)
            self._world.end_process(self._driver, "killed (SIGKILL)")

    def wait(self) -> None:
        """Wait until it has ended."""
        thread = threads.active
        if thread is None:
            raise RuntimeError("only simulated user code can wait")
        while not self.ended:
            thread.sleep(LOOK_EVERY)
