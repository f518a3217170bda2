"""Objects in memory that nobody reads: which of them goes first when room is short."""

from __future__ import annotations

from collections.abc import Iterator

from thornback.core.ids import ObjectId
from thornback.core.objects.entry import Entry


class Evictable:
    """Copies whose primary is on another node go first, then primaries that are on disk as well; the other primaries
    must be written to disk before they can go. Within each kind, the least recently used goes first.

    Attributes:
        ready: bytes that can go at once.
    """

    def __init__(self) -> None:
        self.ready = 0
        self._copies: dict[ObjectId, Entry] = {}
        self._clean: dict[ObjectId, Entry] = {}
        self._dirty: dict[ObjectId, Entry] = {}

    def __len__(self) -> int:
        return len(self._copies) + len(self._clean) + len(self._dirty)

    def park(self, entry: Entry) -> None:
        """Nobody reads it from now on."""
        self.unpark(entry)
        if not entry.primary:
            self._copies[entry.object_id] = entry
            self.ready += entry.size
        elif entry.piece is not None:
            self._clean[entry.object_id] = entry
            self.ready += entry.size
        elif not entry.keep:
            self._dirty[entry.object_id] = entry

    def unpark(self, entry: Entry) -> None:
        """It is used, or gone."""
        for parked in (self._copies, self._clean):
            if parked.pop(entry.object_id, None) is not None:
                self.ready -= entry.size
        self._dirty.pop(entry.object_id, None)

    def next(self) -> Entry | None:
        """What can go first."""
        for parked in (self._copies, self._clean):
            if parked:
                return next(iter(parked.values()))
        return None

    def unspilled(self) -> Iterator[Entry]:
        """What is in memory only, the least recently used first. Those taken must be unparked."""
        return iter(list(self._dirty.values()))
