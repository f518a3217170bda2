"""Room for an object that is to come to a node: in its memory, or else in a file outside of that."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from thornback.core.ids import Address, ObjectId
from thornback.core.objects.entry import Entry
from thornback.core.objects.room import Key, Rank

if TYPE_CHECKING:
    from thornback.core.objects.store import NodeStore

Then = Callable[[Entry | None, str], None]


class Reserving:
    """Finds room on one node, waits for it, and says why there is none."""

    def __init__(self, store: NodeStore) -> None:
        self._store = store

    def reserve(self, object_id: ObjectId, size: int, writer: Address, rank: Rank, then: Then) -> None:
        """Find room for an object that is not here: ``then(entry, "")``; or ``then(None, reason)``; or, if the object
        has come in another way meanwhile, ``then(None, "")``. :meth:`NodeStore.withdraw` ends the search."""
        store = self._store
        key = (writer, object_id)

        def attempt() -> bool:
            if object_id in store.entries:
                then(None, "")
                return True
            offset = store.take(size)
            if offset is None:
                return False
            then(store.add(object_id, offset, size, writer), "")
            return True

        def made(offset: int) -> None:
            if object_id in store.entries:
                store.outside.release(offset)
                then(None, "")
            else:
                then(store.add(object_id, offset, size, writer), "")

        if size > store.allocator.capacity:
            store.outside.allocate(
                key, size, lambda offset, reason: then(None, self._too_large(size, reason)) if reason else made(offset)
            )
        else:
            self.find(key, size, rank, attempt, made, lambda: then(None, store.full(size)))

    def find(
        self,
        key: Key,
        size: int,
        rank: Rank,
        attempt: Callable[[], bool],
        made: Callable[[int], None],
        fail: Callable[[], None],
    ) -> None:
        """As :meth:`NodeStore.demand`. When the wait has been too long, a file takes the place of the room:
        ``made(offset)``. While there can be none, as the disk fails or is full, the wait goes on."""
        store = self._store
        clock, config = store.clock, store.config
        if not store.outside.possible:
            store.demand(key, size, rank, attempt, fail, config.allocation_wait)
            return
        end: int | None = None

        def go_outside() -> None:
            store.outside.allocate(key, size, then)

        def then(offset: int, reason: str) -> None:
            nonlocal end
            if not reason:
                made(offset)
                return
            end = clock.now() + config.allocation_wait if end is None else end
            left = end - clock.now()
            if left <= 0:
                fail()
            else:
                store.demand(key, size, rank, attempt, go_outside, min(left, config.outside_after))

        store.demand(key, size, rank, attempt, go_outside, store.outside_after)

    def _too_large(self, size: int, reason: str) -> str:
        return (
            f"an object of {size:,} bytes does not fit into this node's object store of "
            f"{self._store.allocator.capacity:,} bytes, nor on disk: {reason}; raise object_store_memory"
        )
