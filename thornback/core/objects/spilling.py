"""Objects on disk: which go there when memory runs short, in which file, and when a file is rewritten or deleted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from thornback.core.backoff import Backoff
from thornback.core.config import Config
from thornback.core.ids import NodeId, ObjectId
from thornback.core.objects.entry import OUT, Entry
from thornback.core.ports import Disk, Piece, Ports

GARBAGE = 2
"""Files are rewritten when they hold more than this many times the bytes that are still needed (and a file more)."""


class SpillFile:
    """One file that holds the bytes of several objects."""

    __slots__ = ("compacting", "live", "movable", "name", "needed", "readers", "size")

    def __init__(self, name: str, size: int) -> None:
        self.name = name
        self.size = size
        """Bytes on disk."""
        self.live: dict[ObjectId, Entry] = {}
        """Those that are still needed, in the order in which they lie."""
        self.needed = 0
        """Bytes on disk that belong to them."""
        self.readers = 0
        """Pieces that are being read."""
        self.compacting = False
        """What is needed of it is being copied to a new file."""
        self.movable = True
        """That has not failed yet."""


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
        self.bytes_needed = 0
        """Of those on disk: what belongs to objects that still exist there."""
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
        self.compacting = False
        """Files are being copied together."""

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

    def _new_name(self) -> str:
        self._counter += 1
        return f"{self._prefix}-{self._counter}.spill"

    def _write(self, batch: list[Entry], size: int) -> None:
        assert self.disk is not None
        name = self._new_name()
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
                self._note_file(name, list(zip(batch, pieces, strict=True)))
            for entry in batch:
                entry.moving = ""
            for entry in batch:
                self._written(entry)

        self.disk.write(name, [(entry.offset, entry.size) for entry in batch], then)

    def _note_file(self, name: str, contents: list[tuple[Entry, Piece]]) -> None:
        file = self.files[name] = SpillFile(name, sum(piece.stored for _, piece in contents))
        self.bytes_on_disk += file.size
        for entry, piece in contents:
            entry.piece = piece
            file.live[entry.object_id] = entry
            file.needed += piece.stored
            self.bytes_needed += piece.stored
            if self.trace.enabled:
                self.trace.event("object.spilled", entry.object_id, piece.stored)

    @property
    def pause(self) -> int:
        """Nanoseconds until a write may be tried again after one has failed; 0: now."""
        return max(0, self._pause_until - self.clock.now())

    # --- Back in

    def read(self, entry: Entry, then: Callable[[str], None]) -> None:
        """Fill an object's block in memory from disk, then call ``then`` with "", or with why that failed."""
        assert self.disk is not None and entry.piece is not None
        file = self.files[entry.piece.file]
        file.readers += 1

        def end(reason: str) -> None:
            file.readers -= 1
            then(reason)
            self._delete_unneeded(file)

        self.disk.read(entry.piece, entry.offset, end)

    def fetch(self, entry: Entry, offset: int, size: int, then: Callable[[bytes, str], None]) -> None:
        """Read a part of an object that stays on disk, then call ``then(data, "")``, or ``then(b"", reason)``."""
        assert self.disk is not None and entry.piece is not None
        file = self.files[entry.piece.file]
        file.readers += 1

        def end(data: bytes, reason: str) -> None:
            file.readers -= 1
            then(data, reason)
            self._delete_unneeded(file)

        self.disk.fetch(entry.piece, offset, size, end)

    def following(self, entry: Entry) -> Iterator[Entry]:
        """What lies behind an object in its file: it will probably be wanted next."""
        assert entry.piece is not None
        others = iter(list(self.files[entry.piece.file].live.values()))
        for other in others:
            if other is entry:
                break
        return others

    @property
    def over_limit(self) -> bool:
        """Whether more is on disk than should be."""
        return 0 <= self.config.spill_limit < self.bytes_on_disk

    # --- Gone

    def drop(self, entry: Entry) -> None:
        """An object is not needed on disk any more; a file goes with the last of its objects."""
        if entry.piece is not None:
            self._forget(entry)
            self._compact()

    def _forget(self, entry: Entry) -> None:
        piece, entry.piece = entry.piece, None
        assert piece is not None
        file = self.files[piece.file]
        del file.live[entry.object_id]
        file.needed -= piece.stored
        self.bytes_needed -= piece.stored
        self._delete_unneeded(file)

    def _delete_unneeded(self, file: SpillFile) -> None:
        if not file.live and not file.readers and not file.compacting and self.files.get(file.name) is file:
            del self.files[file.name]
            self.bytes_on_disk -= file.size
            assert self.disk is not None
            self.disk.delete(file.name)

    # --- Compaction

    def _compact(self) -> None:
        """Copy what is still needed of the emptiest files to a new one, when more than half of all bytes on disk (and
        more than a file) is needed no more. What is copied is then less than what comes free: each byte that is ever
        spilled is written at most twice, on average."""
        allowed = GARBAGE * self.bytes_needed + self.config.spill_file_size
        if self.compacting or self.bytes_on_disk <= allowed or self.disk is None:
            return
        chosen: list[SpillFile] = []
        size = 0
        for file in sorted(self.files.values(), key=lambda file: (file.needed / file.size, file.name)):
            if size + file.needed > self.config.spill_file_size and chosen:
                break
            if file.movable and file.live and file.needed * GARBAGE <= file.size:
                chosen.append(file)
                size += file.needed
        if chosen:
            self._rewrite(self.disk, chosen)

    def _rewrite(self, disk: Disk, files: list[SpillFile]) -> None:
        self.compacting = True
        entries = [entry for file in files for entry in file.live.values()]
        old = [entry.piece for entry in entries if entry.piece is not None]
        name = self._new_name()
        for file in files:
            file.compacting = True

        def then(pieces: Sequence[Piece], reason: str) -> None:
            self.compacting = False
            for file in files:
                file.compacting = False
            if not reason:
                self._moved(name, list(zip(entries, old, pieces, strict=True)))
            for file in files:
                file.movable = not reason
                self._delete_unneeded(file)
            self._compact()

        disk.copy(name, old, then)

    def _moved(self, name: str, moves: list[tuple[Entry, Piece, Piece]]) -> None:
        if self.trace.enabled:
            self.trace.event("spill.compacted", name.encode(), len(moves))
        still = [(entry, new) for entry, old, new in moves if entry.piece is old]
        for entry, _ in still:
            self._forget(entry)
        self._note_file(name, still)
        file = self.files[name]
        written = sum(new.stored for _, _, new in moves)
        self.bytes_on_disk += written - file.size
        file.size = written
        self._delete_unneeded(file)
