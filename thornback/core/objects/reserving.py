"""Room for an object that is to come to a node: in its memory, or else in a file outside of that."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from thornback.core.ids import Address, ObjectId
from thornback.core.objects.entry import Entry
from thornback.core.objects.room import Rank

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

        def wait() -> None:
            store.demand(key, size, rank, attempt, lambda: then(None, store.full(size)), store.config.allocation_wait)

        def go_outside() -> None:
            self._outside(object_id, size, writer, then, lambda _reason: wait())

        if size > store.allocator.capacity:
            self._outside(object_id, size, writer, then, lambda reason: then(None, self._too_large(size, reason)))
        elif store.outside.possible:
            store.demand(key, size, rank, attempt, go_outside, store.config.outside_after)
        else:
            wait()

    def _outside(
        self, object_id: ObjectId, size: int, writer: Address, then: Then, refused: Callable[[str], None]
    ) -> None:
        store = self._store

        def made(offset: int, reason: str) -> None:
            if reason:
                refused(reason)
            elif object_id in store.entries:
                store.outside.release(offset)
                then(None, "")
            else:
                then(store.add(object_id, offset, size, writer), "")

        store.outside.allocate((writer, object_id), size, made)

    def _too_large(self, size: int, reason: str) -> str:
        return (
            f"an object of {size:,} bytes does not fit into this node's object store of "
            f"{self._store.allocator.capacity:,} bytes, nor on disk: {reason}; raise object_store_memory"
        )
