"""Clocks: one per node, with an offset and a drift against the time of the simulation, shared by its processes."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappush
from math import floor
from typing import TYPE_CHECKING

from thornback.simulator.engine import Engine, Event

if TYPE_CHECKING:
    from thornback.simulator.process import Process

EPOCH = 1_700_000_000_000_000_000
"""Nanoseconds since 1970 at virtual time 0."""


class NodeClock:
    """What the hardware clock of a node shows.

    Args:
        offset: nanoseconds by which it is ahead when the simulation starts.
        drift: parts per million by which it runs too fast.
    """

    __slots__ = ("_ahead", "_drift", "_engine", "_reference", "_stepped")

    def __init__(self, engine: Engine, offset: int = 0, drift: float = 0.0) -> None:
        self._engine = engine
        self._ahead = offset
        """Of the engine's time, without what has come by drifting since ``_reference``."""
        self._reference = 0
        self._drift = drift
        self._stepped = 0

    def now(self) -> int:
        """Nanoseconds on this node's clock."""
        if self._drift:
            elapsed = self._engine._now - self._reference
            return self._engine._now + self._ahead + floor(elapsed * self._drift / 1e6)
        return self._engine._now + self._ahead

    def monotonic(self) -> int:
        """As :meth:`now`, without steps: what an operating system promises to programs that measure durations."""
        return self.now() - self._stepped

    def to_engine(self, delay: int) -> int:
        """How long ``delay`` nanoseconds of this clock really take: rounded up, so that it shows no less afterwards."""
        return int(delay / (1 + self._drift / 1e6)) + 1 if self._drift else delay

    def set_drift(self, drift: float) -> None:
        """Change the speed, in parts per million, from now on."""
        self._ahead, self._reference = self.now() - self._engine._now, self._engine._now
        self._drift = drift

    def advance(self, nanoseconds: int) -> None:
        """Step the clock forward."""
        self._ahead += nanoseconds
        self._stepped += nanoseconds


class Timer(Event):
    """A call that a core asked for."""

    __slots__ = ("call", "cancelled", "process")

    def __init__(self, process: Process, call: Callable[[], None]) -> None:
        self.process = process
        self.call = call
        self.cancelled = False

    def run(self) -> None:
        """One turn of the process, unless it is gone."""
        process = self.process
        if process.gate:
            process.refuse(self)
            return
        self.cancelled = True
        self.call()
        process.settle()

    def cancel(self) -> None:
        """Drop the call; does nothing after it happened."""
        if not self.cancelled:
            self.cancelled = True
            self.process.engine.note_cancelled()


class ProcessClock:
    """The ``Clock`` port of one process."""

    __slots__ = ("_engine", "_node", "_process", "now")

    def __init__(self, process: Process, node: NodeClock) -> None:
        self._process = process
        self._engine = process.engine
        self._node = node
        self.now = node.now

    def call_after(self, delay: int, call: Callable[[], None]) -> Timer:
        """Start a turn with ``call()`` after ``delay`` nanoseconds of the node's clock."""
        timer = Timer(self._process, call)
        engine = self._engine
        delay = self._node.to_engine(int(delay)) if delay > 0 else 0
        heappush(engine._queue, (engine._now + delay, engine._tie(), next(engine._numbers), timer))
        return timer
