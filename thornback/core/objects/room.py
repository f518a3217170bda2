"""Who waits for room in a node's memory, in which order, and for how long."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

from thornback.core.ids import Address, ObjectId
from thornback.core.ports import Clock

Key = tuple[Address, bytes]
EXTENSIONS = 10
"""How often a demand waits on, for as long again, since the disk is at work."""


class Rank(IntEnum):
    """Why room is wanted; lower ranks are served first."""

    READ = 0
    """By code that runs: what it waits for lets its task end."""
    ARGUMENTS = 1
    """For a task that is to run next."""
    WRITE = 2
    AHEAD = 3
    """For a task that comes later: only what is left over."""


class Demand:
    """Somebody needs room."""

    __slots__ = ("attempt", "extensions", "fail", "key", "patience", "rank", "seen", "size")

    def __init__(
        self,
        key: Key,
        size: int,
        rank: Rank,
        attempt: Callable[[], bool],
        fail: Callable[[], None],
        patience: int,
        seen: int,
    ) -> None:
        self.key = key
        self.size = size
        self.rank = rank
        self.attempt = attempt
        """Takes the room if there is enough; returns whether the demand is settled."""
        self.fail = fail
        """Called instead when the wait was too long."""
        self.patience = patience
        self.seen = seen
        """Progress at the last look."""
        self.extensions = 0
        """How often the disk was given more time for it."""


class RoomQueue:
    """Demands in the order in which they are served: by rank, among equals the oldest first.

    A demand that finds no room keeps what comes free from those behind it. Only if nothing more comes free by itself do
    others overtake it, as their end may be what it waits for: the result of a task whose arguments fill the store. No
    task overtakes an older one that waits for its arguments; neither holds anything yet.

    A demand fails when its patience, in nanoseconds, has passed without anything having become free, unless the disk is
    at work, or it is for arguments and tasks run that have theirs.

    Args:
        busy: whether the disk is at work, from which room will come.
    """

    def __init__(self, clock: Clock, busy: Callable[[], bool]) -> None:
        self._clock = clock
        self._busy = busy
        self._ranks: tuple[dict[Key, Demand], ...] = tuple({} for _ in Rank)
        self._progress = 0
        self.stuck = False
        """A demand has waited in vain, and nothing has become free since."""
        self._serving = False
        self._again = False
        """Something has happened while demands were served."""
        self._arguments_used: int | None = None
        """When a task was last seen to run with large arguments."""

    def __len__(self) -> int:
        """Demands that room is made for."""
        ranks = self._ranks
        return len(ranks[Rank.READ]) + len(ranks[Rank.ARGUMENTS]) + len(ranks[Rank.WRITE])

    def __contains__(self, key: Key) -> bool:
        return any(key in demands for demands in self._ranks)

    @property
    def readers(self) -> int:
        """Demands for what exists already."""
        return len(self._ranks[Rank.READ]) + len(self._ranks[Rank.ARGUMENTS])

    @property
    def wanted(self) -> int:
        """Bytes that are waited for."""
        return sum(demand.size for demands in self._ranks[: Rank.AHEAD] for demand in demands.values())

    def first(self) -> Demand | None:
        """Who is served before all others, apart from tasks that come later."""
        waiting = (demand for demands in self._ranks[: Rank.AHEAD] for demand in demands.values())
        return next(waiting, None)

    def size_for(self, object_id: ObjectId) -> int | None:
        """Bytes of a demand for room for an object; None if there is none."""
        for demands in self._ranks:
            for key, demand in demands.items():
                if key[1] == object_id:
                    return demand.size
        return None

    def note_use(self) -> None:
        """A task runs with large arguments; those that wait for theirs go on waiting."""
        self._arguments_used = self._clock.now()

    def add(
        self, key: Key, size: int, rank: Rank, attempt: Callable[[], bool], fail: Callable[[], None], patience: int
    ) -> None:
        """Wait for room. A second demand under the same key is ignored."""
        if key in self:
            return
        demand = self._ranks[rank][key] = Demand(key, size, rank, attempt, fail, patience, self._progress)
        if rank != Rank.AHEAD:
            self._clock.call_after(patience, lambda: self._check(demand))

    def _check(self, demand: Demand) -> None:
        demands = self._ranks[demand.rank]
        if demands.get(demand.key) is not demand:
            return
        if demand.seen != self._progress:
            demand.seen = self._progress
        elif demand.rank == Rank.ARGUMENTS and self._used_lately(demand.patience):
            demand.extensions = 0
        elif self._busy() and demand.extensions < EXTENSIONS:
            demand.extensions += 1
        else:
            del demands[demand.key]
            self.stuck = True
            demand.fail()
            return
        self._clock.call_after(demand.patience, lambda: self._check(demand))

    def _used_lately(self, period: int) -> bool:
        return self._arguments_used is not None and self._clock.now() - self._arguments_used <= period

    def serve(self, freed: bool = True, overtaking: bool = False) -> None:
        """Something may have become free: settle demands in order.

        Args:
            freed: it has; the patience of those that wait begins anew.
            overtaking: nothing more comes free by itself, so that others may go before one that must wait.
        """
        if freed:
            self._progress += 1
            self.stuck = False
        self._again = True
        while self._again and not self._serving:
            self._again = False
            self._serving = True
            try:
                for rank in Rank:
                    if not self._serve_rank(rank, overtaking):
                        break
            finally:
                self._serving = False

    def settles_at_once(self, attempt: Callable[[], bool]) -> bool:
        """Try a demand that need not wait for others. As in :meth:`serve`, no other is served meanwhile."""
        if self._serving:
            return False
        self._serving = True
        try:
            return attempt()
        finally:
            self._serving = False
            if self._again:
                self.serve(freed=False)

    def _serve_rank(self, rank: Rank, overtaking: bool) -> bool:
        """Returns whether the next rank may be served."""
        demands = self._ranks[rank]
        settled_all = True
        for key, demand in list(demands.items()):
            if demands.get(key) is not demand:
                continue
            if demand.attempt():
                if demands.get(key) is demand:
                    del demands[key]
            elif overtaking and rank != Rank.ARGUMENTS:
                settled_all = False
            else:
                return overtaking and rank < Rank.WRITE
        return settled_all or rank < Rank.WRITE

    def withdraw(self, key: Key) -> bool:
        """The demand is void; returns whether there was one."""
        found = [demands.pop(key, None) for demands in self._ranks]
        return any(demand is not None for demand in found)

    def process_died(self, address: Address) -> None:
        """A process or node has ended: what it waited for is void."""
        for demands in self._ranks:
            for key in [key for key in demands if key[0].startswith(address)]:
                del demands[key]
