"""The ports of the core that need no more than a few lines in the real world."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from thornback.core.ports import Clock, Write


class SystemRandom:
    """The :class:`thornback.core.ports.Random` of one process: streams seeded by the operating system."""

    def __init__(self) -> None:
        self._streams: dict[str, random.Random] = {}

    def stream(self, purpose: str) -> random.Random:
        """The stream for ``purpose``."""
        stream = self._streams.get(purpose)
        if stream is None:
            stream = self._streams[purpose] = random.Random()
        return stream


class MemoryStore:
    """A :class:`thornback.core.ports.DurableStore` that lasts as long as its process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def commit(self, writes: Sequence[Write], then: Callable[[], None]) -> None:
        """Start a turn with ``then()``."""
        self._clock.call_after(0, then)

    def load(self) -> Sequence[Write]:
        """Nothing was stored before."""
        return ()
