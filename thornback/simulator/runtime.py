"""The runtime of a simulated process: where its user threads meet its core."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from greenlet import GreenletExit

from thornback.api.call_site import site_of
from thornback.core.errors import SessionEndedError
from thornback.core.runtime import Runtime, Waiter
from thornback.simulator import threads
from thornback.simulator.clock import EPOCH
from thornback.simulator.model import nanoseconds

if TYPE_CHECKING:
    from thornback.simulator.process import UserProcess

_NO_OP: Any = threading.RLock()
"""Everything in a simulation runs one after the other: a turn needs no lock. This is the cheapest context manager."""


class SimulatedRuntime(Runtime):
    """One driver or worker."""

    is_simulated = True

    def __init__(self, process: UserProcess) -> None:
        self.process = process
        self.core = process.core
        self.turn = _NO_OP
        self.drop = process.core.owner.dropped.append
        self.thread = threads.current_thread

    def block(self, waiter: Waiter, timeout: float | None = None) -> bool:
        """Let the world go on until the waiter is done; False after ``timeout`` seconds of virtual time."""
        process = self.process
        thread = threads.active
        if thread is None:
            raise RuntimeError("only simulated user code can wait")
        if process.ended:
            self._refuse(thread)
        thread.check()
        if waiter.done:
            return True
        process.settle()
        if waiter.done:
            return True
        waiter.on_done = thread.wake
        if timeout is None:
            while not waiter.done:
                thread.suspend()
                if process.ended:
                    self._refuse(thread)
            return True
        return self._block_until(waiter, thread, timeout)

    def _block_until(self, waiter: Waiter, thread: threads.UserThread, timeout: float) -> bool:
        world = self.process.world
        end = world.engine._now + max(nanoseconds(min(timeout, 1e9)), world.model.poll)
        alarm = thread.wake_after(end - world.engine._now)
        world.sleepers += 1
        try:
            while not waiter.done and world.engine._now < end:
                thread.suspend()
                if self.process.ended:
                    self._refuse(thread)
        finally:
            world.sleepers -= 1
            waiter.on_done = None
            thread.cancel(alarm)
        return waiter.done

    def _refuse(self, thread: threads.UserThread) -> None:
        if isinstance(thread, threads.GreenletThread) and thread.process is self.process:
            raise GreenletExit
        raise SessionEndedError(f"this process has ended: {self.process.exit_reason or 'it left the cluster'}")

    def wall_time(self) -> int:
        """Nanoseconds since the epoch, virtual."""
        return EPOCH + self.process.node.clock.now()

    def site_of(self, thread: Hashable) -> str:
        """``file:line function`` where a thread waits."""
        assert isinstance(thread, threads.UserThread)
        return site_of(thread.frame())

    def has_other_threads(self, thread: Hashable) -> bool:
        """Whether other user threads of the process have not ended."""
        return any(each is not thread and not each.finished for each in self.process.threads)

    def close(self) -> None:
        """End this driver; the simulated cluster stays."""
        process = self.process
        if not process.ended:
            process.settle()
            program = None if threads.active is None else process.world.programs.get(threads.active)
            if program is not None:
                program.left()
            process.exit_reason = "it left the cluster"
            process.world.end_process(process, process.exit_reason)
