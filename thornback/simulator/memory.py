"""The shared memory of one simulated node: blocks of bytes by offset.

A block exists once in this interpreter, and all processes of the node get read-only views of it. Blocks are immutable:
writing over a block that is still read elsewhere leaves the old bytes to the reader.
"""

from __future__ import annotations

import weakref
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Sequence

import numpy as np

from thornback.core.ports import OUTSIDE


class _Watch(weakref.ref[np.ndarray]):
    """Knows when the array under all views of one ``read`` is gone."""

    __slots__ = ("number", "released")

    number: int
    released: Callable[[], None]


class NodeMemory:
    """Implements the ``ObjectMemory`` port."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._blocks: dict[int, bytes] = {}
        self._offsets: list[int] = []
        self._watches: dict[int, _Watch] = {}
        self._reads = 0
        self._outside: dict[int, int] = {}
        """Size of each file beside the memory, by its offset."""

    @property
    def capacity(self) -> int:
        """Size in bytes."""
        return self._capacity

    @property
    def used(self) -> int:
        """Bytes that were written and not discarded."""
        return sum(map(len, self._blocks.values()))

    @property
    def views(self) -> int:
        """Reads whose views are not all gone."""
        return len(self._watches)

    def write(self, offset: int, parts: Sequence[memoryview | bytes]) -> None:
        """Copy ``parts`` one after the other to ``offset``."""
        data = b"".join(parts)
        if offset < 0 or offset + len(data) > self._end_of(offset):
            raise ValueError(f"write of {len(data)} bytes at {offset} is outside of the {self._capacity} bytes")
        self.discard(offset, len(data))
        if data:
            self._blocks[offset] = data
            insort(self._offsets, offset)

    def _end_of(self, offset: int) -> int:
        if offset < OUTSIDE:
            return self._capacity
        start = offset // OUTSIDE * OUTSIDE
        return start + self._outside.get(start, 0)

    def extend(self, offset: int, size: int) -> None:
        """A file beside the memory begins to exist."""
        self._outside[offset] = size

    def shorten(self, offset: int) -> None:
        """It is deleted."""
        self.discard(offset, self._outside.pop(offset, 0))

    def read(self, offset: int, size: int, released: Callable[[], None]) -> memoryview:
        """A read-only view; ``released`` is called when the last view derived from it is gone."""
        if size:
            block, start = self._cover(offset, size)
            array = np.frombuffer(block, dtype=np.uint8, count=size, offset=start)
        else:
            array = np.empty(0, dtype=np.uint8)
            array.flags.writeable = False
        self._reads += 1
        watch = _Watch(array, self._view_gone)
        watch.number, watch.released = self._reads, released
        self._watches[self._reads] = watch
        return memoryview(array)  # type: ignore[arg-type]

    def peek(self, offset: int, size: int) -> bytes | None:
        """The bytes as they are, without a trace; None if nothing was written there."""
        if not size:
            return b""
        try:
            block, start = self._cover(offset, size)
        except ValueError:
            return None
        return block[start : start + size]

    def discard(self, offset: int, size: int) -> None:
        """Forget the bytes of all blocks that begin in this range."""
        low = bisect_left(self._offsets, offset)
        high = bisect_left(self._offsets, offset + max(size, 1))
        for start in self._offsets[low:high]:
            del self._blocks[start]
        del self._offsets[low:high]

    def clear(self) -> None:
        """The node lost power."""
        self._blocks.clear()
        self._offsets.clear()
        self._outside.clear()
        self._watches.clear()

    def _view_gone(self, watch: weakref.ref[np.ndarray]) -> None:
        assert isinstance(watch, _Watch)
        if self._watches.pop(watch.number, None) is not None:
            watch.released()

    def _cover(self, offset: int, size: int) -> tuple[bytes, int]:
        """The block that holds the range, and where the range begins in it; joins blocks written piecewise."""
        index = bisect_right(self._offsets, offset) - 1
        if index >= 0:
            start = self._offsets[index]
            block = self._blocks[start]
            if offset + size <= start + len(block):
                return block, offset - start
        return self._join(max(index, 0), offset, size)

    def _join(self, index: int, offset: int, size: int) -> tuple[bytes, int]:
        pieces: list[bytes] = []
        begin = end = self._offsets[index] if index < len(self._offsets) else -1
        while index < len(self._offsets) and self._offsets[index] == end and end < offset + size:
            pieces.append(self._blocks[end])
            end += len(pieces[-1])
            index += 1
        if not pieces or begin > offset or end < offset + size:
            raise ValueError(f"read of {size} bytes at {offset}: nothing was written there")
        joined = b"".join(pieces)
        self.discard(begin, end - begin)
        self._blocks[begin] = joined
        insort(self._offsets, begin)
        return joined, offset - begin
