"""The asyncio loop of a worker, on a thread of its own.

Whenever the loop has nothing to do it would sleep in its selector. It pumps the process's own event loop there instead
(:mod:`thornback.transports.pump`), so that a call which arrives is run by the thread that has received it.
"""

from __future__ import annotations

import asyncio
import select
import selectors
import threading
from collections import deque
from threading import get_ident
from time import monotonic_ns
from typing import TYPE_CHECKING, Any

from thornback.core.config import MILLISECOND
from thornback.core.errors import TaskCancelledError
from thornback.core.ids import TaskId
from thornback.core.runtime import Waiter
from thornback.transports.loop import EventLoop
from thornback.transports.pump import Pump

if TYPE_CHECKING:
    from thornback.transports.user_threads import UserThreads

_BUSY_POLL = MILLISECOND // 4
"""Nanoseconds between looks at the process's sockets while the asyncio loop is never idle."""
_ARMED = select.EPOLLIN | select.EPOLLONESHOT


class PumpingSelector(selectors.EpollSelector):
    """What an asyncio loop waits in: it pumps, and returns when there is something for the asyncio loop.

    Args:
        loop: the process's own; it watches this selector, once for each time that it is armed.
    """

    def __init__(self, pump: Pump, loop: EventLoop) -> None:
        super().__init__()
        self._pump = pump
        self._process_loop = loop
        self._awaited = Waiter(0)
        self._fired = False
        self._waiting = 0
        self._polled = 0
        loop.add(self.fileno(), _ARMED, self._descriptors_ready)

    def wake_from_within(self) -> bool:
        """End the wait, if the caller is the thread that waits here: it is in a handler of the pump. False if not."""
        if self._waiting != get_ident():
            return False
        self._awaited.complete()
        return True

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """See :meth:`selectors.BaseSelector.select`."""
        if timeout is not None and timeout <= 0:
            self._look_around()
        else:
            self._wait(timeout)
            if not self._fired:
                return []
        return super().select(0)

    def _wait(self, timeout: float | None) -> None:
        with self._pump.lock:
            self._awaited = Waiter()
            if self._fired:
                self._fired = False
                self._process_loop.modify(self.fileno(), _ARMED)
        self._waiting = get_ident()
        try:
            self._pump.wait(self._awaited, timeout)
        except TaskCancelledError:
            pass  # meant for a method that has ended meanwhile
        finally:
            self._waiting = 0

    def _look_around(self) -> None:
        now = monotonic_ns()
        if self._pump.dirty or now - self._polled > _BUSY_POLL:
            self._polled = now
            with self._pump.lock:
                self._pump.settle()
                self._pump.poll_if_free()

    def _descriptors_ready(self, _mask: int) -> None:
        self._fired = True
        self._awaited.complete()


class PumpingLoop(asyncio.SelectorEventLoop):
    """An asyncio loop that wakes itself without a system call when its own thread does it from within its wait."""

    def __init__(self, selector: PumpingSelector) -> None:
        super().__init__(selector)
        self._pumping = selector

    def _write_to_self(self) -> None:
        if not self._pumping.wake_from_within():
            super()._write_to_self()  # type: ignore[misc]


class AsyncioLane:
    """One thread with an asyncio loop. Coroutines run as tasks of it, plain methods in between."""

    def __init__(self, owner: UserThreads) -> None:
        self._owner = owner
        self._incoming: deque[Any] = deque()
        self._tasks: dict[TaskId, asyncio.Task[None]] = {}
        runtime = owner.runtime
        self._pump = runtime.pump
        self._selector = PumpingSelector(runtime.pump, runtime.loop)
        self._loop = PumpingLoop(self._selector)
        threading.Thread(target=self._serve, name="thornback-asyncio", daemon=True).start()

    def start(self, execution: Any) -> None:
        """Run it on the loop (lock held)."""
        self._incoming.append(execution)
        if len(self._incoming) == 1:
            self._loop.call_soon_threadsafe(self._take)

    def cancel(self, task_id: TaskId) -> None:
        """Cancel the coroutine of the task, if it runs."""
        self._loop.call_soon_threadsafe(self._cancel, task_id)

    def _cancel(self, task_id: TaskId) -> None:
        task = self._tasks.get(task_id)
        if task is not None:
            task.cancel()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _take(self) -> None:
        with self._pump.lock:
            executions, self._incoming = self._incoming, deque()
        for execution in executions:
            if execution.is_async:
                self._tasks[execution.task_id] = self._loop.create_task(self._run_async(execution))
            else:
                self._run_plain(execution)

    def _run_plain(self, execution: Any) -> None:
        outcome = self._owner.run(execution)
        self._pump.protect(get_ident(), False)
        self._finished(execution, outcome)

    async def _run_async(self, execution: Any) -> None:
        self._owner.output.name = execution.name
        try:
            outcome = await execution.run_async()
        except BaseException as error:
            outcome = execution.interrupted(error)
        self._tasks.pop(execution.task_id, None)
        self._finished(execution, outcome)

    def _finished(self, execution: Any, outcome: Any) -> None:
        with self._pump.lock:
            self._owner.runtime.finished(execution, outcome)
