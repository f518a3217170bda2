"""The simulated disk for spill files: takes time, has a size, and can be made slow, full, failing, torn or corrupt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from zlib import crc32

from thornback.core.config import MIB, SECOND
from thornback.core.ports import Clock, Piece
from thornback.simulator.memory import NodeMemory


class SpillFiles:
    """What lies on the spill disk of a node: survives its processes and its power.

    Attributes:
        capacity: bytes.
        bandwidth: bytes per second, when nothing slows the disk.
        speed: factor on it; below 1 is slower.
        latency: nanoseconds that each operation takes at least.
        failing: reasons why every write fails now.
        tear: the next files that are written lose their second half, unnoticed.
    """

    def __init__(self, capacity: int = 1 << 40, bandwidth: int = 500 * MIB, latency: int = 100_000) -> None:
        self.files: dict[str, bytearray] = {}
        self.capacity = capacity
        self.bandwidth = bandwidth
        self.speed = 1.0
        self.latency = latency
        self.failing: list[str] = []
        self.tear = 0
        self.outside: dict[int, int] = {}
        """Sizes of the files that hold objects larger than the node's memory."""

    @property
    def used(self) -> int:
        """Bytes of all files."""
        return sum(map(len, self.files.values())) + sum(self.outside.values())

    def bytes_of(self, piece: Piece) -> bytes | None:
        """What was written as a piece; None if it is not there, or not whole."""
        part = bytes(self.files.get(piece.file, b"")[piece.offset : piece.offset + piece.stored])
        return part if len(part) == piece.stored and crc32(part) == piece.checksum else None

    def refusal(self, size: int) -> str:
        """Why so many bytes cannot be written now; "" if they can."""
        if self.failing:
            return self.failing[0]
        if self.used + size > self.capacity:
            return f"the disk is full: {self.used:,} of {self.capacity:,} bytes are in use"
        return ""

    def corrupt(self, file: str, at: int) -> None:
        """Flip the bits of one byte."""
        data = self.files[file]
        data[at % len(data)] ^= 0xFF


class SimulatedDisk:
    """The ``Disk`` port of one node process: one operation after the other.

    Args:
        clock: of the process, so that what it started ends with it.
    """

    def __init__(self, clock: Clock, memory: NodeMemory, files: SpillFiles) -> None:
        self._clock = clock
        self._memory = memory
        self._files = files
        self._busy_until = 0

    def write(self, file: str, blocks: Sequence[tuple[int, int]], then: Callable[[Sequence[Piece], str], None]) -> None:
        """Write the blocks to a new file."""
        files = self._files

        def end() -> None:
            size = sum(size for _, size in blocks)
            reason = files.refusal(size)
            if reason:
                then((), reason)
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
            part = self._files.bytes_of(piece)
            if part is None:
                then("the spill file is torn, corrupt or gone")
                return
            self._memory.write(offset, [part])
            then("")

        self._after(piece.stored, end)

    def fetch(self, piece: Piece, offset: int, size: int, then: Callable[[bytes, str], None]) -> None:
        """Read a part of a piece."""

        def end() -> None:
            part = self._files.bytes_of(piece)
            if part is None:
                then(b"", "the spill file is torn, corrupt or gone")
            else:
                then(part[offset : offset + size], "")

        self._after(size, end)

    def copy(self, file: str, pieces: Sequence[Piece], then: Callable[[Sequence[Piece], str], None]) -> None:
        """Copy pieces of other files to a new one, as they are."""
        files = self._files
        size = sum(piece.stored for piece in pieces)

        def end() -> None:
            data = bytearray()
            copies = []
            reason = files.refusal(size)
            for piece in pieces:
                part = files.files.get(piece.file, b"")[piece.offset : piece.offset + piece.stored]
                if len(part) != piece.stored:
                    reason = f"the spill file {piece.file} is torn, or gone"
                copies.append(piece._replace(file=file, offset=len(data)))
                data += part
            if reason:
                then((), reason)
                return
            files.files[file] = data
            then(copies, "")

        self._after(2 * size, end)

    def delete(self, file: str) -> None:
        """Remove a file."""
        self._files.files.pop(file, None)

    def extend(self, offset: int, size: int, then: Callable[[str], None]) -> None:
        """Make a file beside the memory."""

        def end() -> None:
            reason = self._files.refusal(size)
            if not reason:
                self._files.outside[offset] = size
                self._memory.extend(offset, size)
            then(reason)

        self._after(0, end)

    def shorten(self, offset: int) -> None:
        """Remove a file beside the memory."""
        self._files.outside.pop(offset, None)
        self._memory.shorten(offset)

    def _after(self, size: int, end: Callable[[], None]) -> None:
        now = self._clock.now()
        duration = self._files.latency + int(size * SECOND / (self._files.bandwidth * self._files.speed))
        self._busy_until = max(now, self._busy_until) + duration
        self._clock.call_after(self._busy_until - now, end)


def _nothing() -> None:
    pass
