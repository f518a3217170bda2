"""The simulated durable store of the GCS."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from thornback.core.ports import Write

if TYPE_CHECKING:
    from thornback.simulator.process import Process


class DurableTables:
    """What is on the disk of a node: survives its processes and its power.

    Attributes:
        delay: nanoseconds that each commit takes longer.
    """

    __slots__ = ("delay", "rows")

    def __init__(self) -> None:
        self.delay = 0
        self.rows: dict[tuple[str, bytes], bytes] = {}

    def apply(self, writes: Sequence[Write]) -> None:
        """Make all of the writes."""
        for write in writes:
            if write.value is None:
                self.rows.pop((write.table, write.key), None)
            else:
                self.rows[write.table, write.key] = write.value


class SimulatedStore:
    """The ``DurableStore`` port of one process.

    A commit takes ``latency`` nanoseconds, one after the other; it is durable at the moment when ``then`` is called,
    and lost if the process ends before.
    """

    __slots__ = ("_busy_until", "_process", "_tables", "_unsynced", "latency")

    def __init__(self, process: Process, tables: DurableTables, latency: int) -> None:
        self._process = process
        self._tables = tables
        self._busy_until = 0
        self._unsynced: deque[tuple[Write, ...]] = deque()
        self.latency = latency

    def commit(self, writes: Sequence[Write], then: Callable[[], None]) -> None:
        """Make all the writes or none, then start a turn with ``then()``."""
        now = self._process.engine._now
        self._busy_until = max(now, self._busy_until) + self.latency + self._tables.delay
        self._unsynced.append(tuple(writes))

        def commit() -> None:
            self._apply()
            then()

        self._process.clock.call_after(self._busy_until - now, commit)

    def sync(self) -> None:
        """What is under way reaches the disk now; nobody hears of it."""
        while self._unsynced:
            self._apply()

    def _apply(self) -> None:
        writes = self._unsynced.popleft()
        self._tables.apply(writes)
        trace = self._process.world.trace
        for write in writes:
            trace.event("gcs.committed", write.key, write)

    def load(self) -> Sequence[Write]:
        """What was committed, in the order of the keys' first writes."""
        return [Write(table, key, value) for (table, key), value in self._tables.rows.items()]
