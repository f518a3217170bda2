"""A page of memory that a node shares with its workers, where each notes which task it started last.

It outlives the worker, so the node can tell the owner of a crashed worker's tasks which of them never began.
"""

from __future__ import annotations

import mmap

_SLOTS = 8192
NO_SLOT = -1


class StartedPage:
    """One 8-byte number per worker. Made in the node process, inherited by fork."""

    def __init__(self) -> None:
        self._numbers = memoryview(mmap.mmap(-1, _SLOTS * 8)).cast("q")
        self._free = list(range(_SLOTS - 1, -1, -1))

    def allocate(self) -> int:
        """A slot that holds -1; :data:`NO_SLOT` if all are taken."""
        if not self._free:
            return NO_SLOT
        slot = self._free.pop()
        self._numbers[slot] = -1
        return slot

    def release(self, slot: int) -> None:
        """The slot may be used by another worker."""
        if slot != NO_SLOT:
            self._free.append(slot)

    def mark(self, slot: int, sequence: int) -> None:
        """One store: the task with this sequence number starts."""
        if slot != NO_SLOT:
            self._numbers[slot] = sequence

    def read(self, slot: int) -> int | None:
        """The number that was marked last; None without a slot."""
        return None if slot == NO_SLOT else self._numbers[slot]
