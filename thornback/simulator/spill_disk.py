"""The simulated disk for spill files: takes time, has a size, and can be made slow, full, failing, torn or corrupt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from zlib import crc32

from thornback.core.config import MIB, SECOND
from thornback.core.ports import Clock, ObjectMemory, Piece


class SpillFiles:
    """What lies on the spill disk of a node: survives its processes and its power.

    Attributes:
        capacity: bytes.
        bandwidth: bytes per second.
        latency: nanoseconds that each operation takes at least.
        failing: reason why every write fails now; "" for none.
        tear: the next files that are written lose their second half, unnoticed.
    """

    def __init__(self, capacity: int = 1 << 40, bandwidth: int = 500 * MIB, latency: int = 100_000) -> None:
        self.files: dict[str, bytearray] = {}
        self.capacity = capacity
        self.bandwidth = bandwidth
        self.latency = latency
        self.failing = ""
        self.tear = 0

    @property
    def used(self) -> int:
        """Bytes of all files."""
        return sum(map(len, self.files.values()))

    def corrupt(self, file: str, at: int) -> None:
        """Flip the bits of one byte."""
        data = self.files[file]
        data[at % len(data)] ^= 0xFF


class SimulatedDisk:
    """The ``Disk`` port of one node process: one operation after the other.

    Args:
        clock: of the process, so that what it started ends with it.
    """

    def __init__(self, clock: Clock, memory: ObjectMemory, files: SpillFiles) -> None:
        self._clock = clock
        self._memory = memory
        self._files = files
        self._busy_until = 0

    def write(self, file: str, blocks: Sequence[tuple[int, int]], then: Callable[[Sequence[Piece], str], None]) -> None:
        """Write the blocks to a new file."""
        files = self._files

        def end() -> None:
            size = sum(size for _, size in blocks)
            if files.failing or files.used + size > files.capacity:
                then((), files.failing or f"the disk is full: {files.used:,} of {files.capacity:,} bytes are in use")
                return
            data = bytearray()
            pieces = []
            for offset, size in blocks:
                part = bytes(self._memory.read(offset, size, _nothing))
                pieces.append(Piece(file, len(data), size, size, "", crc32(part)))
                data += part
            if files.tear:
                files.tear -= 1
                del data[len(data) // 2 :]
            files.files[file] = data
            then(pieces, "")

        self._after(sum(size for _, size in blocks), end)

    def read(self, piece: Piece, offset: int, then: Callable[[str], None]) -> None:
        """Fill the block at ``offset`` with a piece."""

        def end() -> None:
            data = self._files.files.get(piece.file)
            if data is None:
                then("the spill file is gone")
                return
            part = bytes(data[piece.offset : piece.offset + piece.stored])
            if len(part) != piece.stored or crc32(part) != piece.checksum:
                then("the spill file is torn or corrupt")
                return
            self._memory.write(offset, [part])
            then("")

        self._after(piece.stored, end)

    def delete(self, file: str) -> None:
        """Remove a file."""
        self._files.files.pop(file, None)

    def _after(self, size: int, end: Callable[[], None]) -> None:
        now = self._clock.now()
        duration = self._files.latency + size * SECOND // self._files.bandwidth
        self._busy_until = max(now, self._busy_until) + duration
        self._clock.call_after(self._busy_until - now, end)


def _nothing() -> None:
    pass
