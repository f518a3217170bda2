"""The event queue: a SimPy environment whose events are plain objects with a ``run`` method.

Time is in integer nanoseconds. Events that are due at the same time run in an order drawn from the seed, so that
races show; that order is the same in every run with the same seed.
"""

from __future__ import annotations

import gc
import random
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Any

import simpy
from simpy.core import EmptySchedule
from simpy.events import NORMAL

COLLECT_EVERY = 100_000
"""Events between two runs of the cycle collector, which never runs at any other time: what it finalizes must not
depend on how much memory was allocated before the simulation."""
PROGRESS = 1000
"""Nanoseconds that virtual time must advance within ``PATIENCE`` such runs."""
PATIENCE = 10
COMPACT_ABOVE = 512
"""Cancelled events below this number are left in the queue."""


class NoProgressError(RuntimeError):
    """Events follow each other for ever, and virtual time stands still."""


class Event:
    """Something that happens at a point of virtual time."""

    __slots__ = ()

    cancelled: bool = False

    def run(self) -> None:
        """Make it happen."""
        raise NotImplementedError


class Call(Event):
    """A function call at a later time; implements the ``Timer`` port."""

    __slots__ = ("_engine", "call", "cancelled")

    def __init__(self, engine: Engine, call: Callable[[], None]) -> None:
        self._engine = engine
        self.call = call
        self.cancelled = False

    def run(self) -> None:
        """Call the function. Afterwards, ``cancel`` has no effect."""
        self.cancelled = True
        self.call()

    def cancel(self) -> None:
        """Drop the call; does nothing after it happened."""
        if not self.cancelled:
            self.cancelled = True
            self._engine.note_cancelled()


class _SimpyEvent(Event):
    """A genuine SimPy event in the queue (processes, conditions)."""

    __slots__ = ("_event",)

    def __init__(self, event: Any) -> None:
        self._event = event

    def run(self) -> None:
        event = self._event
        callbacks, event.callbacks = event.callbacks, None
        for callback in callbacks:
            callback(event)
        if not event._ok and not hasattr(event, "_defused"):
            raise event._value


class Flag:
    """Tells the pump to stop."""

    __slots__ = ("is_set",)

    def __init__(self) -> None:
        self.is_set = False


class Engine(simpy.Environment):
    """A SimPy environment in nanoseconds with seeded ties and cheap cancellation.

    Attributes:
        current: number of the event that is running; what it sends or schedules names it as its cause.
        events: how many events have run.
    """

    def __init__(self, ties: random.Random) -> None:
        super().__init__(0)
        self._now: int = 0
        self._queue: list[Any] = []
        self._numbers = count(1)
        self._tie = ties.random
        self._cancelled = 0
        self._collect_at = COLLECT_EVERY
        self._looked = 0
        """When virtual time was looked at last, and (below) how often it had stood still by then."""
        self._still = 0
        self.current = 0
        self.events = 0

    @property
    def pending(self) -> int:
        """Events in the queue, cancelled ones included."""
        return len(self._queue)

    def push(self, when: int, event: Event) -> None:
        """Let ``event`` run at virtual time ``when`` (nanoseconds, not in the past)."""
        heappush(self._queue, (when, self._tie(), next(self._numbers), event))

    def call_after(self, delay: int, call: Callable[[], None]) -> Call:
        """Let ``call`` run after ``delay`` nanoseconds."""
        event = Call(self, call)
        heappush(self._queue, (self._now + max(int(delay), 0), self._tie(), next(self._numbers), event))
        return event

    def schedule(self, event: Any, priority: Any = NORMAL, delay: Any = 0) -> None:
        """Schedule a SimPy event; SimPy calls this."""
        heappush(
            self._queue, (self._now + round(delay), priority - 1 + self._tie(), next(self._numbers), _SimpyEvent(event))
        )

    def step(self) -> None:
        """Run the next event.

        Raises:
            simpy.core.EmptySchedule: there is none.
        """
        queue = self._queue
        while queue:
            self._now, _, number, event = heappop(queue)
            if event.cancelled:
                self._cancelled -= 1
                continue
            self.current = number
            self.events += 1
            event.run()
            return
        raise EmptySchedule

    def pump(self, stop: Flag) -> bool:
        """Run events until ``stop`` is set; False if none are left before that.

        Raises:
            NoProgressError: virtual time stands still.
        """
        queue = self._queue
        pop = heappop
        while not stop.is_set:
            if not queue:
                return False
            self._now, _, number, event = pop(queue)
            if event.cancelled:
                self._cancelled -= 1
                continue
            self.current = number
            self.events += 1
            event.run()
            if self.events >= self._collect_at:
                self._collect_at = self.events + COLLECT_EVERY
                gc.collect()
                self._check_progress(event)
        return True

    def _check_progress(self, event: Event) -> None:
        self._still = self._still + 1 if self._now < self._looked + PROGRESS else 0
        self._looked = self._now
        if self._still >= PATIENCE:
            what = getattr(getattr(event, "call", None), "__qualname__", type(event).__name__)
            raise NoProgressError(
                f"{PATIENCE * COLLECT_EVERY:,} events have happened within {PATIENCE * PROGRESS} ns of virtual time, "
                f"at {self._now / 1e9:.9f} s; the last of them was {what}"
            )

    def note_cancelled(self) -> None:
        """An event in the queue was cancelled; rebuild the queue when most of it is."""
        self._cancelled += 1
        if self._cancelled > COMPACT_ABOVE and 2 * self._cancelled > len(self._queue):
            self._queue[:] = [entry for entry in self._queue if not entry[3].cancelled]
            heapify(self._queue)
            self._cancelled = 0
