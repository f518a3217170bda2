"""Which bytes of an arena are free: best fit with coalescing, lowest offset among equals.

Best fit prefers blocks that were used before over the untouched rest of the arena, which is the largest free block as
long as there is one: touching fresh shared pages costs 10 to 50 times a warm copy.
"""

from __future__ import annotations

from bisect import bisect_left, insort

from thornback.core.objects.layout import aligned


class Allocator:
    """Offsets into ``capacity`` bytes. All blocks are multiples of 64 bytes."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity // 64 * 64
        self.used = 0
        self._sizes: dict[int, int] = {}
        """Allocated: offset to size."""
        self._free: list[tuple[int, int]] = []
        """Free: (size, offset), sorted."""
        self._starts: dict[int, int] = {}
        """Free: offset to size."""
        self._ends: dict[int, int] = {}
        """Free: end to offset."""
        if self.capacity:
            self._insert(0, self.capacity)

    def allocate(self, size: int) -> int | None:
        """The offset of a block of at least ``size`` bytes; None if no free block is large enough."""
        size = max(64, aligned(size))
        index = bisect_left(self._free, (size, -1))
        if index == len(self._free):
            return None
        found, offset = self._free[index]
        self._remove(offset, found)
        if found > size:
            self._insert(offset + size, found - size)
        self._sizes[offset] = size
        self.used += size
        return offset

    def release(self, offset: int) -> None:
        """Give a block back; neighbours that are free become one block with it."""
        size = self._sizes.pop(offset)
        self.used -= size
        before = self._ends.get(offset)
        if before is not None:
            size += self._starts[before]
            self._remove(before, offset - before)
            offset = before
        after = self._starts.get(offset + size)
        if after is not None:
            self._remove(offset + size, after)
            size += after
        self._insert(offset, size)

    def size_of(self, offset: int) -> int:
        """Size of an allocated block."""
        return self._sizes[offset]

    def largest(self) -> int:
        """Size of the largest free block."""
        return self._free[-1][0] if self._free else 0

    def _insert(self, offset: int, size: int) -> None:
        insort(self._free, (size, offset))
        self._starts[offset] = size
        self._ends[offset + size] = offset

    def _remove(self, offset: int, size: int) -> None:
        del self._free[bisect_left(self._free, (size, offset))]
        del self._starts[offset]
        del self._ends[offset + size]
