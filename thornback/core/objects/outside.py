"""Objects that are larger than the node's whole memory: each in a file of its own, which readers map like memory."""

from __future__ import annotations

from collections.abc import Callable

from thornback.core.config import Config
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
        self._files = 0
        """How many there ever were: numbers are not used twice, since files go some time after their objects."""
        self.bytes = 0

    def allocate(self, size: int, then: Callable[[int, str], None]) -> None:
        """Make a file: ``then(offset, "")`` at some later turn; or ``then(-1, reason)``, perhaps at once."""
        if self._disk is None or self._limit == 0:
            then(-1, "spilling to disk is off (spill_limit=0)")
            return
        if 0 <= self._limit < self._on_disk() + self.bytes + size:
            then(-1, f"spill_limit is {self._limit:,} bytes, {self._on_disk() + self.bytes:,} of them in use")
            return
        self._files += 1
        offset = OUTSIDE * self._files
        self._sizes[offset] = size
        self.bytes += size

        def made(reason: str) -> None:
            if reason:
                self._forget(offset)
                then(-1, reason)
            else:
                then(offset, "")

        self._disk.extend(offset, size, made)

    def release(self, offset: int) -> None:
        """Remove a file; whoever still maps it keeps its bytes."""
        self._forget(offset)
        assert self._disk is not None
        self._disk.shorten(offset)

    def _forget(self, offset: int) -> None:
        self.bytes -= self._sizes.pop(offset)
