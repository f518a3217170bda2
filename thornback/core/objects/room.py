"""Who waits for room in a node's memory, in which order, and for how long."""

from __future__ import annotations

from collections.abc import Callable

from thornback.core.ids import Address, ObjectId
from thornback.core.ports import Clock

Key = tuple[Address, ObjectId]
EXTENSIONS = 10
"""How often a demand waits on, for as long again, since the disk is at work."""


class Demand:
    """Somebody needs room."""

    __slots__ = ("attempt", "extensions", "fail", "key", "reading", "seen", "size")

    def __init__(
        self, key: Key, size: int, reading: bool, attempt: Callable[[], bool], fail: Callable[[], None], seen: int
    ) -> None:
        self.key = key
        self.size = size
        self.reading = reading
        self.attempt = attempt
        """Takes the room if there is enough; returns whether the demand is settled."""
        self.fail = fail
        """Called instead when the wait was too long."""
        self.seen = seen
        """Progress at the last look."""
        self.extensions = 0
        """How often the disk was given more time for it."""


class RoomQueue:
    """Demands in the order in which they are served: readers first, since what they wait for lets tasks end; among
    equals the oldest. A demand fails when ``patience`` nanoseconds have passed without anything having become free.

    Args:
        busy: whether the disk is at work, from which room will come.
    """

    def __init__(self, clock: Clock, patience: int, busy: Callable[[], bool]) -> None:
        self._clock = clock
        self._busy = busy
        self._patience = patience
        self._readers: dict[Key, Demand] = {}
        self._writers: dict[Key, Demand] = {}
        self._progress = 0
        self._serving = False

    def __len__(self) -> int:
        return len(self._readers) + len(self._writers)

    def __contains__(self, key: Key) -> bool:
        return key in self._readers or key in self._writers

    @property
    def readers(self) -> int:
        """Demands of readers."""
        return len(self._readers)

    @property
    def wanted(self) -> int:
        """Bytes that are waited for."""
        return sum(demand.size for demands in (self._readers, self._writers) for demand in demands.values())

    def size_for(self, object_id: ObjectId) -> int | None:
        """Bytes of a demand for room for an object; None if there is none."""
        for demands in (self._readers, self._writers):
            for key, demand in demands.items():
                if key[1] == object_id:
                    return demand.size
        return None

    def add(self, key: Key, size: int, reading: bool, attempt: Callable[[], bool], fail: Callable[[], None]) -> None:
        """Wait for room. A second demand under the same key is ignored."""
        if key in self:
            return
        demand = Demand(key, size, reading, attempt, fail, self._progress)
        (self._readers if reading else self._writers)[key] = demand
        self._clock.call_after(self._patience, lambda: self._check(demand))

    def _check(self, demand: Demand) -> None:
        demands = self._readers if demand.reading else self._writers
        if demands.get(demand.key) is not demand:
            return
        if demand.seen != self._progress:
            demand.seen = self._progress
            self._clock.call_after(self._patience, lambda: self._check(demand))
        elif self._busy() and demand.extensions < EXTENSIONS:
            demand.extensions += 1
            self._clock.call_after(self._patience, lambda: self._check(demand))
        else:
            del demands[demand.key]
            demand.fail()

    def serve(self, freed: bool = True) -> None:
        """Something may have become free: settle demands in order, up to the first that must go on waiting."""
        if freed:
            self._progress += 1
        if self._serving:
            return
        self._serving = True
        try:
            for demands in (self._readers, self._writers):
                while demands:
                    key, demand = next(iter(demands.items()))
                    if not demand.attempt():
                        return
                    if demands.get(key) is demand:
                        del demands[key]
        finally:
            self._serving = False

    def withdraw(self, key: Key) -> bool:
        """The demand is void; returns whether there was one."""
        return self._readers.pop(key, None) is not None or self._writers.pop(key, None) is not None

    def process_died(self, address: Address) -> None:
        """A process or node has ended: what it waited for is void."""
        for demands in (self._readers, self._writers):
            for key in [key for key in demands if key[0].startswith(address)]:
                del demands[key]
