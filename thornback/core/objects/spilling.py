"""Objects on disk: which go there when memory runs short, in which file, and when a file can be deleted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from thornback.core.backoff import Backoff
from thornback.core.config import Config
from thornback.core.ids import NodeId, ObjectId
from thornback.core.objects.entry import OUT, Entry
from thornback.core.ports import Disk, Piece, Ports


class SpillFile:
    """One file that holds the bytes of several objects."""

    __slots__ = ("live", "name", "size")

    def __init__(self, name: str, size: int) -> None:
        self.name = name
        self.size = size
        """Bytes on disk."""
        self.live: dict[ObjectId, Entry] = {}
        """Those that are still needed, in the order in which they lie."""


class Spilling:
    """The spill files of one node.

    Args:
        disk: None: nothing is ever spilled.
        written: called for each object of a file that was written, or could not be.
    """

    def __init__(
        self, node_id: NodeId, ports: Ports, disk: Disk | None, config: Config, written: Callable[[Entry], None]
    ) -> None:
        self.clock = ports.clock
        self.trace = ports.trace
        self.disk = disk
        self.config = config
        self.files: dict[str, SpillFile] = {}
        self.bytes_on_disk = 0
        self.bytes_under_way = 0
        """In memory, of files being written."""
        self.trouble = ""
        """Why the last write failed, until one succeeds."""
        self._prefix = node_id.hex()
        self._written = written
        self._counter = 0
        self._writes = 0
        self._pause_until = 0
        self._backoff = Backoff(config.spill_retry, config.spill_retry_limit)
        self._failures = 0
        self._random = ports.random.stream("spill-retry")

    # --- Out

    def start(self, candidates: Iterable[Entry], needed: int, beyond_limit: bool) -> list[Entry]:
        """Begin to write least recently used objects until ``needed`` bytes are under way; returns those chosen.

        Args:
            beyond_limit: the limit does not count, since what is on disk must find room in memory to be read.
        """
        started: list[Entry] = []
        if self.disk is None or self.clock.now() < self._pause_until:
            return started
        iterator = iter(candidates)
        while self.bytes_under_way < needed and self._writes < self.config.spill_writes:
            batch, size = self._choose(iterator, -1 if beyond_limit else self.config.spill_limit)
            if not batch:
                break
            self._write(batch, size)
            started.extend(batch)
        return started

    def _choose(self, candidates: Iterable[Entry], limit: int) -> tuple[list[Entry], int]:
        batch: list[Entry] = []
        size = 0
        for entry in candidates:
            if 0 <= limit < self.bytes_on_disk + self.bytes_under_way + size + entry.size:
                break
            batch.append(entry)
            size += entry.size
            if size >= self.config.spill_file_size:
                break
        return batch, size

    def _write(self, batch: list[Entry], size: int) -> None:
        assert self.disk is not None
        self._counter += 1
        name = f"{self._prefix}-{self._counter}.spill"
        for entry in batch:
            entry.moving = OUT
        self._writes += 1
        self.bytes_under_way += size

        def then(pieces: Sequence[Piece], reason: str) -> None:
            self._writes -= 1
            self.bytes_under_way -= size
            self.trouble = reason
            self._failures = self._failures + 1 if reason else 0
            if reason:
                self._pause_until = self.clock.now() + self._backoff.delay(self._failures, self._random)
            else:
                self._note_file(name, batch, pieces)
            for entry in batch:
                entry.moving = ""
            for entry in batch:
                self._written(entry)

        self.disk.write(name, [(entry.offset, entry.size) for entry in batch], then)

    def _note_file(self, name: str, batch: list[Entry], pieces: Sequence[Piece]) -> None:
        file = self.files[name] = SpillFile(name, sum(piece.stored for piece in pieces))
        self.bytes_on_disk += file.size
        for entry, piece in zip(batch, pieces, strict=True):
            entry.piece = piece
            file.live[entry.object_id] = entry
            if self.trace.enabled:
                self.trace.event("object.spilled", entry.object_id, piece.stored)

    @property
    def pause(self) -> int:
        """Nanoseconds until a write may be tried again after one has failed; 0: now."""
        return max(0, self._pause_until - self.clock.now())

    # --- Back in

    def following(self, entry: Entry) -> Entry | None:
        """What lies behind an object in its file and is on disk only: it will probably be wanted next."""
        if entry.piece is None:
            return None
        found = False
        for other in self.files[entry.piece.file].live.values():
            if found:
                return other if other.offset < 0 and not other.moving else None
            found = other is entry
        return None

    @property
    def over_limit(self) -> bool:
        """Whether more is on disk than should be."""
        return 0 <= self.config.spill_limit < self.bytes_on_disk

    # --- Gone

    def drop(self, entry: Entry) -> None:
        """An object is not needed on disk any more; a file goes with the last of its objects."""
        piece, entry.piece = entry.piece, None
        if piece is None:
            return
        file = self.files[piece.file]
        del file.live[entry.object_id]
        if not file.live:
            del self.files[piece.file]
            self.bytes_on_disk -= file.size
            assert self.disk is not None
            self.disk.delete(file.name)
