"""Objects for which the node's memory has no room: each in a file of its own, which readers map like memory.

That is for objects that are larger than the whole memory, and for others when all of it is held by readers.
"""

from __future__ import annotations

from collections.abc import Callable

from thornback.core.config import Config
from thornback.core.ids import Address
from thornback.core.objects.room import Key
from thornback.core.ports import OUTSIDE, Disk


class Outside:
    """The blocks of one node that lie outside of its arena, at offsets from :data:`OUTSIDE` on.

    Args:
        disk: None: there are none.
        on_disk: bytes of the node's spill files, which share the limit.
    """

    def __init__(self, disk: Disk | None, config: Config, on_disk: Callable[[], int]) -> None:
        self._disk = disk
        self._limit = config.spill_limit
        self._on_disk = on_disk
        self._sizes: dict[int, int] = {}
        self._asked: dict[Key, int] = {}
        """Number of the file that each demand waits for."""
        self._files = 0
        """How many there ever were: numbers are not used twice, since files go some time after their objects."""
        self.bytes = 0

    @property
    def possible(self) -> bool:
        """Whether there is a disk for it."""
        return self._disk is not None and self._limit != 0

    def allocate(self, key: Key, size: int, then: Callable[[int, str], None]) -> None:
        """Make a file: ``then(offset, "")`` at some later turn; or ``then(-1, reason)``, perhaps at once. Neither if it
        is cancelled before."""
        if self._disk is None or self._limit == 0:
            then(-1, "spilling to disk is off (spill_limit=0)")
            return
        if 0 <= self._limit < self._on_disk() + self.bytes + size:
            then(-1, f"spill_limit is {self._limit:,} bytes, {self._on_disk() + self.bytes:,} of them in use")
            return
        self._files += 1
        number = self._asked[key] = self._files
        offset = OUTSIDE * number
        self._sizes[offset] = size
        self.bytes += size

        def made(reason: str) -> None:
            wanted = self._asked.get(key) == number
            if wanted:
                del self._asked[key]
            if reason:
                self._forget(offset)
            elif not wanted:
                self.release(offset)
            if wanted:
                then(-1 if reason else offset, reason)

        self._disk.extend(offset, size, made)

    def cancel(self, key: Key) -> None:
        """The file that is being made for a demand is not wanted any more."""
        self._asked.pop(key, None)

    def process_died(self, address: Address) -> None:
        """A process or node has ended: what it waited for is void."""
        for key in [key for key in self._asked if key[0].startswith(address)]:
            del self._asked[key]

    def release(self, offset: int) -> None:
        """Remove a file; whoever still maps it keeps its bytes."""
        self._forget(offset)
        assert self._disk is not None
        self._disk.shorten(offset)

    def _forget(self, offset: int) -> None:
        self.bytes -= self._sizes.pop(offset)
