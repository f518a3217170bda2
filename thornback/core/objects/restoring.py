"""Bringing objects back from disk to memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from thornback.core.ids import owner_of
from thornback.core.messages import CopyChanged
from thornback.core.objects.entry import IN, Entry
from thornback.core.objects.room import Rank

if TYPE_CHECKING:
    from thornback.core.objects.store import NodeStore

LOST = ""
"""The reason that is given when an object could not be read from disk, and is gone."""


class Restoring:
    """Reads of one node's spill files."""

    def __init__(self, store: NodeStore) -> None:
        self._store = store

    def bring(self, entry: Entry, then: Callable[[str | None], None]) -> None:
        """Call ``then(None)`` when a sealed object is in memory, at once if it is; with the reason if there is no room
        for it; with :data:`LOST` if it turned out to be lost."""
        if entry.in_memory:
            then(None)
            return
        entry.on_present.append(then)
        if entry.moving == IN:
            return
        entry.moving = IN
        store = self._store

        def attempt() -> bool:
            offset = store.take(entry.size)
            if offset is not None:
                self._read(entry, offset)
            return offset is not None

        def fail() -> None:
            entry.moving = ""
            self._present(entry, store.full(entry.size))

        key = (store.node_id, entry.object_id)
        store.reserving.find(key, entry.size, Rank.READ, attempt, lambda offset: self._read_one(entry, offset), fail)

    def bring_to(self, entry: Entry, offset: int, then: Callable[[str | None], None]) -> None:
        """As :meth:`bring`, of an object without room, to room that was found for it."""
        entry.on_present.append(then)
        if entry.offset >= 0:
            self._store.give_back(offset, entry.size)  # it is being read since it lies behind another one
            return
        if entry.moving == IN:
            key = (self._store.node_id, entry.object_id)
            self._store.room.withdraw(key)
            self._store.outside.cancel(key)
        entry.moving = IN
        self._read(entry, offset)

    def _read(self, entry: Entry, offset: int) -> None:
        self._read_one(entry, offset)
        self._read_ahead(entry)

    def _read_one(self, entry: Entry, offset: int) -> None:
        store = self._store
        entry.offset = offset

        def then(reason: str) -> None:
            entry.moving = ""
            if reason:
                self.lost(entry, reason)
                return
            if store.trace.enabled:
                store.trace.event("object.restored", entry.object_id, (store.node_id, entry.offset, entry.size))
            if store.spilling.over_limit:
                store.spilling.drop(entry)
            self._present(entry, None)

        store.spilling.read(entry, then)

    def _read_ahead(self, entry: Entry) -> None:
        """Use free room for what lies behind the object in its file."""
        store = self._store
        left = 0 if len(store.room) else store.config.spill_ahead
        for following in store.spilling.following(entry):
            if following.size > left or following.offset >= 0 or following.moving:
                break
            offset = store.take_free(following.size)
            if offset is None:
                break
            left -= following.size
            following.moving = IN
            self._read_one(following, offset)

    def _present(self, entry: Entry, reason: str | None) -> None:
        calls, entry.on_present = entry.on_present, []
        for call in calls:
            call(reason)
        self._store.settle(entry)

    def lost(self, entry: Entry, reason: str) -> None:
        """An object cannot be read from disk: its owner is told, and everybody who waits for it."""
        store = self._store
        if store.entries.get(entry.object_id) is not entry:
            return
        store.withdraw((store.node_id, entry.object_id))
        if store.trace.enabled:
            store.trace.event("object.unreadable", entry.object_id, reason)
        calls, entry.on_present = entry.on_present, []
        store.delete(entry)
        store.transport.send(owner_of(entry.object_id), CopyChanged(entry.object_id, False, reason))
        for call in calls:
            call(LOST)
