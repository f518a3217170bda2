"""The event loop of one process: epoll, timers, and calls that wait for the end of the present turn.

It is driven from outside: whoever pumps calls :meth:`EventLoop.poll` (the only call that waits) and then
:meth:`EventLoop.dispatch`. Only ``poll`` and ``kick`` may be called without the process's lock.
"""

from __future__ import annotations

import heapq
import os
import select
from collections import deque
from collections.abc import Callable
from time import monotonic_ns

FdHandler = Callable[[int], None]
"""Called with the epoll event mask."""

FOREVER = 1 << 62
SPIN = 100_000
"""Nanoseconds of looking for events before sleeping: falling asleep and waking up costs about as much."""
MOST_MISSES = 10
"""After that many looks in vain in a row the pauses between them grow no longer."""
SHORT_WAIT = 300_000
"""A wait of fewer nanoseconds than this makes another such wait likely."""
_COMPACT_AT = 64


class LoopTimer:
    """A call at a time; see :class:`thornback.core.ports.Timer`."""

    __slots__ = ("_loop", "call", "deadline")

    def __init__(self, loop: EventLoop, deadline: int, call: Callable[[], None]) -> None:
        self._loop = loop
        self.deadline = deadline
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        """Drop the call; does nothing after it happened."""
        if self.call is not None:
            self.call = None
            self._loop.timer_cancelled()


class EventLoop:
    """Also the :class:`thornback.core.ports.Clock` of the process."""

    def __init__(self) -> None:
        self.spins = False
        """Whether to look for events for a moment before sleeping, when the last ones came soon."""
        self._short_waits = False
        self._misses = 0
        self._pause = 0
        """How many short waits to sleep through before looking again: doubles with each time that was in vain."""
        self._epoll = select.epoll()
        self._handlers: dict[int, FdHandler] = {}
        self._timers: list[tuple[int, int, LoopTimer]] = []
        self._timer_count = 0
        self._cancelled = 0
        self.soon: deque[Callable[[], None]] = deque()
        """Calls to make as turns of their own before the loop waits again."""
        self.detached = False
        """Set in a forked child, where the epoll instance is the parent's: leave its registrations alone."""
        self._kick_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.add(self._kick_fd, select.EPOLLIN, self._kicked)

    # --- File descriptors ---------------------------------------------------------------------------------------------

    def add(self, fd: int, events: int, handler: FdHandler) -> None:
        """Call ``handler(mask)`` whenever ``fd`` is ready (level-triggered)."""
        self._handlers[fd] = handler
        self._epoll.register(fd, events)

    def modify(self, fd: int, events: int) -> None:
        """Change the events that ``fd`` is watched for."""
        self._epoll.modify(fd, events)

    def remove(self, fd: int) -> None:
        """Stop watching ``fd``; call it before closing the descriptor."""
        if self._handlers.pop(fd, None) is not None and not self.detached:
            self._epoll.unregister(fd)

    # --- Time ---------------------------------------------------------------------------------------------------------

    def now(self) -> int:
        """Nanoseconds of the monotonic clock."""
        return monotonic_ns()

    def call_after(self, delay: int, call: Callable[[], None]) -> LoopTimer:
        """Start a turn with ``call()`` after ``delay`` nanoseconds."""
        timer = LoopTimer(self, monotonic_ns() + delay, call)
        if delay <= 0:
            self.soon.append(lambda: self._fire(timer))
            return timer
        self._timer_count += 1
        heapq.heappush(self._timers, (timer.deadline, self._timer_count, timer))
        return timer

    def timer_cancelled(self) -> None:
        """Bookkeeping of :meth:`LoopTimer.cancel`: cancelled timers must not pile up."""
        self._cancelled += 1
        if self._cancelled > _COMPACT_AT and self._cancelled * 2 > len(self._timers):
            self._timers = [entry for entry in self._timers if entry[2].call is not None]
            heapq.heapify(self._timers)
            self._cancelled = 0

    def next_deadline(self) -> int:
        """When the first timer is due; :data:`FOREVER` if there is none."""
        return self._timers[0][0] if self._timers else FOREVER

    @staticmethod
    def _fire(timer: LoopTimer) -> None:
        call, timer.call = timer.call, None
        if call is not None:
            call()

    # --- Driving it ---------------------------------------------------------------------------------------------------

    def poll(self, deadline: int) -> list[tuple[int, int]]:
        """Wait for descriptors until ``deadline`` (nanoseconds of :meth:`now`); a past one polls without waiting."""
        if self._short_waits and deadline > 0:
            if self._pause > 0:
                self._pause -= 1
            else:
                events = self._spin()
                if events:
                    return events
        start = monotonic_ns()
        if deadline >= FOREVER:
            events = self._epoll.poll()
        else:
            events = self._epoll.poll(max(0, deadline - start) / 1e9)
        if self.spins:
            self._short_waits = bool(events) and monotonic_ns() - start < SHORT_WAIT
        return events

    def _spin(self) -> list[tuple[int, int]]:
        """The last wait was short, so the next answer is probably near: going to sleep would take longer."""
        poll = self._epoll.poll
        limit = monotonic_ns() + SPIN
        while monotonic_ns() < limit:
            events = poll(0)
            if events:
                self._misses = 0
                return events
        self._misses = min(self._misses + 1, MOST_MISSES)
        self._pause = 1 << self._misses
        return []

    def dispatch(self, events: list[tuple[int, int]]) -> None:
        """Handle what :meth:`poll` returned, then the timers that are due."""
        for fd, mask in events:
            handler = self._handlers.get(fd)
            if handler is not None:
                handler(mask)
        if self._timers:
            self._run_due()

    def _run_due(self) -> None:
        now = monotonic_ns()
        while self._timers and self._timers[0][0] <= now:
            timer = heapq.heappop(self._timers)[2]
            if timer.call is None:
                self._cancelled -= 1
            else:
                self._fire(timer)

    def kick(self) -> None:
        """Make the thread that waits in :meth:`poll` return; safe in signal handlers and from any thread."""
        if self._kick_fd >= 0:
            os.eventfd_write(self._kick_fd, 1)

    def _kicked(self, _mask: int) -> None:
        try:
            os.eventfd_read(self._kick_fd)
        except BlockingIOError:
            pass

    def close(self) -> None:
        """Give up the descriptors of the loop itself."""
        self._handlers.clear()
        self._epoll.close()
        if self._kick_fd >= 0:
            os.close(self._kick_fd)
            self._kick_fd = -1
