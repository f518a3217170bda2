"""User threads of the simulated world.

The program that opens the simulation runs in the main greenlet: when it must wait, it runs the event loop itself until
its turn comes. All other user code runs in greenlets that the event loop switches to, and that switch back when they
wait.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from greenlet import GreenletExit, getcurrent, greenlet

from thornback.api import current
from thornback.core.errors import TaskCancelledError
from thornback.core.runtime import Runtime
from thornback.simulator.engine import Event, Flag
from thornback.simulator.process import ENDED

if TYPE_CHECKING:
    from thornback.simulator.process import UserProcess
    from thornback.simulator.surroundings import Surroundings
    from thornback.simulator.world import World

active: UserThread | None = None
"""The user thread whose code runs at this moment; None while the event loop or a core runs."""


def current_thread() -> UserThread | None:
    """The user thread whose code runs."""
    return active


UNWIND_LIMIT = 10
"""How often GreenletExit is raised in the code of a process that has ended."""
_stuck: list[GreenletThread] = []
"""Threads whose code catches everything. They never run again; collecting them would run them."""


class DeadlockError(RuntimeError):
    """The simulated program waits for something that will never happen, or virtual time is up."""


class Resume(Event):
    """A user thread goes on, to see whether what it waits for has happened."""

    __slots__ = ("cancelled", "thread")

    def __init__(self, thread: UserThread) -> None:
        self.thread = thread
        self.cancelled = False

    def run(self) -> None:
        """Switch to the thread, unless its process is gone."""
        self.cancelled = True
        process = self.thread.process
        if process is not None and process.gate:
            if process.gate != ENDED:
                self.cancelled = False
                process.refuse(self)
            return
        self.thread.go_on()


class UserThread:
    """One line of execution of user code.

    Attributes:
        process: whose code it is; None for a program that is not connected.
        surroundings: what its code senses of the machine.
        runtime: what ``current.runtime`` is for it.
        waits_for: for people.
    """

    __slots__ = ("_interruption", "_loop_state", "_waking", "process", "runtime", "surroundings", "waits_for", "world")

    def __init__(self, world: World, surroundings: Surroundings, process: UserProcess | None) -> None:
        self.world = world
        self.surroundings = surroundings
        self.process = process
        self.runtime: Runtime | None = None
        self.waits_for = ""
        self._waking: Resume | None = None
        self._interruption: BaseException | None = None
        self._loop_state: tuple[Any, Any] | None = None

    # --- Called by others

    def wake(self) -> None:
        """Let it go on soon; several calls before it does count as one."""
        if self._waking is None:
            self._waking = Resume(self)
            self.world.engine.push(self.world.engine._now, self._waking)

    def wake_after(self, delay: int) -> Resume:
        """Let it go on after ``delay`` nanoseconds."""
        event = Resume(self)
        self.world.engine.push(self.world.engine._now + delay, event)
        return event

    def interrupt(self, error: BaseException) -> None:
        """Raise ``error`` where it waits, or where it waits next."""
        self._interruption = error
        self.wake()

    def clear_interruption(self) -> None:
        """What was to be interrupted is over."""
        self._interruption = None

    def go_on(self) -> None:
        """Called by the event loop: run it until it waits again."""
        raise NotImplementedError

    def frame(self) -> FrameType | None:
        """Where its code waits."""
        raise NotImplementedError

    # --- Called by the thread itself

    def suspend(self) -> None:
        """Let the rest of the world go on until someone wakes this thread, which may happen without need.

        Raises:
            TaskCancelledError: it was interrupted.
            DeadlockError: nothing will ever wake it.
        """
        raise NotImplementedError

    def sleep(self, delay: int) -> None:
        """Wait for ``delay`` nanoseconds of virtual time, at least a moment."""
        world = self.world
        engine = world.engine
        delay = max(delay, world.model.poll)
        end = engine._now + delay
        alarm = self.wake_after(delay)
        world.sleepers += 1
        try:
            while engine._now < end:
                self.suspend()
        finally:
            world.sleepers -= 1
            self.cancel(alarm)

    def cancel(self, alarm: Resume) -> None:
        """Drop an alarm made by :meth:`wake_after`."""
        if not alarm.cancelled:
            alarm.cancelled = True
            self.world.engine.note_cancelled()

    def spawn(self, target: Callable[[], None]) -> GreenletThread:
        """Another thread of the same process, which starts soon."""
        thread = GreenletThread(self.world, self.surroundings, self.process, target)
        thread.runtime = self.runtime if active is not self else current.runtime
        if self.process is not None:
            self.process.threads.append(thread)
        self.world.threads.append(thread)
        thread.wake()
        return thread

    def check(self) -> None:
        """Raise what it was interrupted with, if it was."""
        if self._interruption is not None:
            error, self._interruption = self._interruption, None
            raise error

    # --- For the subclasses

    def _leave(self) -> None:
        """User code stops running: put away the state that Python keeps per thread."""
        global active
        active = None
        self.runtime = current.runtime
        current.runtime = None
        loop = asyncio._get_running_loop()
        if loop is not None:
            self._loop_state = (loop, sys.get_asyncgen_hooks())
            asyncio._set_running_loop(None)
            sys.set_asyncgen_hooks(None, None)

    def _enter(self) -> None:
        """User code runs again."""
        global active
        active = self
        self._waking = None
        current.runtime = self.runtime
        self.surroundings.reads = 0
        self.world.steps += 1
        if self._loop_state is not None:
            (loop, hooks), self._loop_state = self._loop_state, None
            asyncio._set_running_loop(loop)
            sys.set_asyncgen_hooks(*hooks)


class MainThread(UserThread):
    """The program that has opened the simulation."""

    __slots__ = ("_flag",)

    def __init__(self, world: World, surroundings: Surroundings) -> None:
        super().__init__(world, surroundings, None)
        self._flag = Flag()

    def go_on(self) -> None:
        """Let the pump return."""
        self._flag.is_set = True

    def suspend(self) -> None:
        """Run the event loop until something wakes the program."""
        world = self.world
        world.check_alive()
        self.check()
        runtime = current.runtime
        if runtime is not None:
            runtime.process.settle()  # type: ignore[attr-defined]
        self._leave()
        self._flag.is_set = False
        try:
            drained = not world.engine.pump(self._flag)
        except BaseException as error:
            world.failed(error)
            raise
        finally:
            self._enter()
        if drained:
            raise DeadlockError(world.describe_wait("nothing is left to happen"))
        self.check()

    def frame(self) -> FrameType | None:
        """Where the program waits: it has called the event loop, which has called this."""
        frame: FrameType | None = sys._getframe()
        while frame is not None and frame.f_code is not MainThread.suspend.__code__:
            frame = frame.f_back
        return frame

    def start(self) -> None:
        """The program's code is simulated from now on."""
        self._enter()

    def stop(self) -> None:
        """The program's code is not simulated any more."""
        self._leave()
        current.runtime = self.runtime


class GreenletThread(UserThread):
    """User code in a greenlet of its own.

    Args:
        target: what it does; it is never told that its process was killed.
    """

    __slots__ = ("_greenlet", "_target", "_unwound", "idle")

    def __init__(
        self, world: World, surroundings: Surroundings, process: UserProcess | None, target: Callable[[], None]
    ) -> None:
        super().__init__(world, surroundings, process)
        self._target = target
        self._greenlet = greenlet(self._run, parent=world.hub)
        self._unwound = 0
        self.idle = False

    def _run(self) -> None:
        try:
            self._target()
        except GreenletExit:
            pass
        finally:
            self._leave()

    @property
    def finished(self) -> bool:
        """Whether its code has returned."""
        return bool(self._greenlet.dead)

    def go_on(self) -> None:
        """Run it until it waits again, then end the turn that this was."""
        if self._greenlet.dead:
            return
        self._enter()
        self._greenlet.switch()
        runtime = self.runtime
        if runtime is not None:
            runtime.process.settle()  # type: ignore[attr-defined]

    def suspend(self) -> None:
        """Switch to the event loop until something wakes this thread."""
        self._check_process()
        self._leave()
        self.world.hub.switch()
        self._check_process()

    def _check_process(self) -> None:
        """Whether it may go on at all, and whether it was interrupted."""
        if self.process is not None and self.process.gate == ENDED:
            self._unwind()
        if self._interruption is not None:
            self.check()

    def frame(self) -> FrameType | None:
        """Where its greenlet has switched away; the running one has no such place."""
        return self._greenlet.gr_frame if self._greenlet is not getcurrent() else sys._getframe()

    def _unwind(self) -> NoReturn:
        """The process has ended: leave the user's code, or stay here for ever if it does not let itself be left."""
        self._unwound += 1
        if self._unwound > UNWIND_LIMIT:
            _stuck.append(self)
            while True:
                self._leave()
                self.world.hub.switch()
        raise GreenletExit

    def vanish(self) -> NoReturn:
        """Its process has ended while it ran: never go on."""
        self._leave()
        self.world.hub.switch()
        raise GreenletExit

    def kill(self) -> None:
        """Unwind it; its process has ended. Called by the event loop, after it, or by user code that ends others."""
        global active
        if self._greenlet.dead or self._greenlet is getcurrent():
            return
        before = active
        if before is not None:
            before._leave()
        self._enter()
        try:
            self._greenlet.throw(GreenletExit)
        finally:
            active = None
            current.runtime = None
            if before is not None:
                before._enter()


def cancelled(name: str) -> TaskCancelledError:
    """What a task that is interrupted sees."""
    return TaskCancelledError(f"task {name} was cancelled")
