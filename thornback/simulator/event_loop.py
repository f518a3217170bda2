"""An asyncio event loop on virtual time, for asyncio actors and for programs that use ``asyncio.run``."""

from __future__ import annotations

import asyncio
import concurrent.futures.thread  # whose lock must be a real one: it is not made in a simulation
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from greenlet import GreenletExit

from thornback.simulator import threads

if TYPE_CHECKING:
    from thornback.simulator.world import World

T = TypeVar("T")

SPINS = 100
"""Rounds in a row that take no time; a loop that makes more is polling."""


class VirtualEventLoop(asyncio.BaseEventLoop):
    """Waits by suspending the user thread that runs it. Has no sockets, pipes, signals or child processes."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world
        self._clock_resolution = 1e-9
        self._selector = self
        self._woken = False
        self._spins = 0
        self._waiting: threads.UserThread | None = None

    def time(self) -> float:
        """Seconds of virtual time."""
        return self._world.engine._now / 1e9

    def select(self, timeout: float | None) -> list[Any]:
        """Wait until something is scheduled from outside, at most ``timeout`` seconds."""
        thread = threads.active
        if thread is None:
            raise RuntimeError("this event loop belongs to a simulation and runs only inside of it")
        if self._woken or (timeout is not None and timeout <= 0):
            self._woken = False
            self._spins += 1
            if self._spins > SPINS:
                thread.sleep(0)
            return []
        self._spins = 0
        self._waiting = thread
        try:
            self._wait(thread, timeout)
        finally:
            self._waiting = None
            self._woken = False
        return []

    def _wait(self, thread: threads.UserThread, timeout: float | None) -> None:
        if timeout is None:
            while not self._woken:
                thread.suspend()
            return
        world = self._world
        end = world.engine._now + max(1, round(timeout * 1e9))
        alarm = thread.wake_after(end - world.engine._now)
        world.sleepers += 1
        try:
            while not self._woken and world.engine._now < end:
                thread.suspend()
        finally:
            world.sleepers -= 1
            thread.cancel(alarm)

    def _process_events(self, event_list: list[Any]) -> None:
        """There are no descriptors to serve."""

    def _write_to_self(self) -> None:
        self._woken = True
        if self._waiting is not None:
            self._waiting.wake()

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Report an error in a callback, but not the end of a killed process."""
        if not self._world.closed and not isinstance(context.get("exception"), GreenletExit):
            super().call_exception_handler(context)

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        """Run ``func`` in another simulated thread of this process, whatever the executor."""
        if self.is_closed():
            raise RuntimeError("Event loop is closed")
        thread = threads.active
        if thread is None or not (executor is None or isinstance(executor, concurrent.futures.ThreadPoolExecutor)):
            raise RuntimeError("in a simulation, run_in_executor works with threads and inside of the loop only")
        future: asyncio.Future[T] = self.create_future()

        def run() -> None:
            try:
                result = func(*args)
            except Exception as error:
                self.call_soon_threadsafe(_settle, future, None, error)
            else:
                self.call_soon_threadsafe(_settle, future, result, None)

        thread.spawn(run)
        return future


def _settle(future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)


class VirtualPolicy(asyncio.DefaultEventLoopPolicy):
    """Makes virtual loops for simulated user code and ordinary ones for everyone else."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        """A loop for the code that calls."""
        return VirtualEventLoop(self._world) if threads.active is not None else super().new_event_loop()
