"""Spill files of one node: in directories of this machine, or anywhere that ``pyarrow.fs`` reaches.

The work is done by threads, so that the node's loop never waits for a disk; the end of each job is a turn of its own.

A block is compressed chunk by chunk where a sample of it shows that this makes it smaller: each chunk lies in the file
behind its length (8 bytes, little-endian). The checksum covers what lies in the file.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from struct import Struct
from typing import Any
from zlib import crc32

from thornback.core.config import KIB, MIB, Config
from thornback.core.ports import Piece
from thornback.transports.arena import Arena
from thornback.transports.loop import EventLoop
from thornback.transports.spill_places import Directory, Place, open_places

CHUNK = 8 * MIB
SAMPLE = 64 * KIB
WORTH_IT = 0.9
"""A sample must shrink to less than this share for its block to be compressed."""
THREADS = 2
_LENGTH = Struct("<Q")


def open_disk(config: Config, session_directory: Path, loop: EventLoop, memory: Arena) -> SpillDisk | None:
    """The disk of a node; None if it must not spill."""
    if config.spill_limit == 0:
        return None
    places = open_places(config.spill_directories, session_directory)
    local = next((place for place in places if isinstance(place, Directory)), None)
    if local is not None:
        memory.outside.put_in(local.path)
    return SpillDisk(loop, memory, places, config.spill_codec)


class SpillDisk:
    """The :class:`thornback.core.ports.Disk` of one node.

    Args:
        places: used in turn; one that fails is passed over for the next.
        codec: of Arrow: "lz4", "zstd", ...; "" never compresses.
    """

    def __init__(self, loop: EventLoop, memory: Arena, places: Sequence[Place], codec: str) -> None:
        self._loop = loop
        self._memory = memory
        self._places = list(places)
        self._codec = codec
        self._turn = 0
        self._place_of: dict[str, Place] = {}
        self._checked: Piece | None = None
        """The piece of which parts were read last."""
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    # --- The port -----------------------------------------------------------------------------------------------------

    def write(self, file: str, blocks: Sequence[tuple[int, int]], then: Callable[[Sequence[Piece], str], None]) -> None:
        """Write the blocks to a new file."""
        self._into_new_file(file, lambda place: self._write_file(place, file, blocks), then)

    def _into_new_file(
        self, file: str, write: Callable[[Place], list[Piece]], then: Callable[[Sequence[Piece], str], None]
    ) -> None:
        self._turn += 1
        first = self._turn % len(self._places)
        order = self._places[first:] + self._places[:first]

        def job() -> None:
            reasons = []
            for place in order:
                try:
                    call = partial(then, write(place), "")
                except Exception as error:
                    reasons.append(f"{place.name}: {error}")
                    self._delete_quietly(place, file)
                else:
                    self._place_of[file] = place
                    self._finish(call)
                    return
            self._finish(lambda: then((), "; ".join(reasons)))

        self._submit(job)

    def read(self, piece: Piece, offset: int, then: Callable[[str], None]) -> None:
        """Fill the block at ``offset`` with a piece."""

        def job() -> None:
            try:
                self._read_piece(piece, offset)
                reason = ""
            except Exception as error:
                reason = f"{type(error).__name__}: {error}"
            self._finish(lambda: then(reason))

        self._submit(job)

    def fetch(self, piece: Piece, offset: int, size: int, then: Callable[[bytes, str], None]) -> None:
        """Read a part of a piece; all of it is checked at the first part."""

        def job() -> None:
            try:
                call = partial(then, self._read_part(piece, offset, size), "")
            except Exception as error:
                call = partial(then, b"", f"{type(error).__name__}: {error}")
            self._finish(call)

        self._submit(job)

    def copy(self, file: str, pieces: Sequence[Piece], then: Callable[[Sequence[Piece], str], None]) -> None:
        """Copy pieces of other files to a new one, as they are."""
        self._into_new_file(file, lambda place: self._copy_pieces(place, file, pieces), then)

    def delete(self, file: str) -> None:
        """Remove a file."""
        place = self._place_of.pop(file, None)
        if place is not None:
            self._submit(lambda: self._delete_quietly(place, file))

    def extend(self, offset: int, size: int, then: Callable[[str], None]) -> None:
        """Make a file beside the shared memory."""

        def job() -> None:
            try:
                self._memory.outside.make(offset, size)
                reason = ""
            except OSError as error:
                reason = str(error)
            self._finish(lambda: then(reason))

        self._submit(job)

    def shorten(self, offset: int) -> None:
        """Remove a file beside the shared memory."""
        self._submit(lambda: self._memory.outside.remove(offset))

    def close(self) -> None:
        """Remove all files; what is under way is given up."""
        for _ in self._threads:
            self._jobs.put(None)
        for place in self._places:
            place.remove()

    # --- Threads ------------------------------------------------------------------------------------------------------

    def _submit(self, job: Callable[[], None]) -> None:
        if len(self._threads) < THREADS:
            thread = threading.Thread(target=self._work, name="thornback-disk", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._jobs.put(job)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _finish(self, call: Callable[[], None]) -> None:
        self._loop.soon.append(call)
        self._loop.kick()

    @staticmethod
    def _delete_quietly(place: Place, file: str) -> None:
        try:
            place.delete(file)
        except Exception:
            pass

    # --- Bytes --------------------------------------------------------------------------------------------------------

    def _write_file(self, place: Place, file: str, blocks: Sequence[tuple[int, int]]) -> list[Piece]:
        pieces = []
        with place.create(file, sum(size for _, size in blocks)) as stream:
            at = 0
            for offset, size in blocks:
                block = self._memory.view(offset, size)
                codec = self._codec if self._shrinks(block) else ""
                checksum, stored = 0, 0
                for part in self._encoded(block, codec):
                    _write_all(stream, part)
                    checksum = crc32(part, checksum)
                    stored += len(part)
                pieces.append(Piece(file, at, stored, size, codec, checksum))
                at += stored
        return pieces

    def _read_part(self, piece: Piece, offset: int, size: int) -> bytes:
        place = self._place_holding(piece.file)
        with place.open(piece.file) as stream:
            if self._checked is not piece:
                stream.seek(piece.offset)
                checksum = 0
                for start in range(0, piece.stored, CHUNK):
                    checksum = crc32(_read_exactly(stream, min(CHUNK, piece.stored - start)), checksum)
                if checksum != piece.checksum:
                    raise OSError(f"the spill file {piece.file} in {place.name} is corrupt")
                self._checked = piece
            if not piece.codec:
                stream.seek(piece.offset + offset)
                return bytes(_read_exactly(stream, size))
            return _decode_part(stream, piece, offset, size)

    def _copy_pieces(self, place: Place, file: str, pieces: Sequence[Piece]) -> list[Piece]:
        copies = []
        with place.create(file, sum(piece.stored for piece in pieces)) as target:
            at = 0
            for piece in pieces:
                with self._place_holding(piece.file).open(piece.file) as source:
                    source.seek(piece.offset)
                    for start in range(0, piece.stored, CHUNK):
                        _write_all(target, _read_exactly(source, min(CHUNK, piece.stored - start)))
                copies.append(piece._replace(file=file, offset=at))
                at += piece.stored
        return copies

    def _place_holding(self, file: str) -> Place:
        place = self._place_of.get(file)
        if place is None:
            raise OSError(f"the spill file {file} is gone")
        return place

    def _shrinks(self, block: memoryview) -> bool:
        if not self._codec:
            return False
        codec = _arrow_codec(self._codec)
        middle = len(block) // 2
        sample = bytes(block[:SAMPLE]) + bytes(block[middle : middle + SAMPLE]) + bytes(block[-SAMPLE:])
        return bool(codec.compress(sample).size < WORTH_IT * len(sample))

    @staticmethod
    def _encoded(block: memoryview, codec: str) -> Iterator[Any]:
        if not codec:
            yield block
            return
        compress = _arrow_codec(codec).compress
        for start in range(0, len(block), CHUNK):
            packed = memoryview(compress(block[start : start + CHUNK])).cast("B")
            yield _LENGTH.pack(len(packed))
            yield packed

    def _read_piece(self, piece: Piece, offset: int) -> None:
        place = self._place_holding(piece.file)
        with place.open(piece.file) as stream:
            stream.seek(piece.offset)
            target = self._memory.view(offset, piece.size)
            if piece.codec:
                data = bytearray(piece.stored)
                _read_all(stream, memoryview(data))
                if crc32(data) != piece.checksum:
                    raise OSError(f"the spill file {piece.file} in {place.name} is corrupt")
                _decode(data, piece.codec, target)
            else:
                _read_all(stream, target)
                if crc32(target) != piece.checksum:
                    raise OSError(f"the spill file {piece.file} in {place.name} is corrupt")


def _decode(data: bytearray, name: str, target: memoryview) -> None:
    decompress = _arrow_codec(name).decompress
    view, at, start = memoryview(data), 0, 0
    while at < len(view):
        (length,) = _LENGTH.unpack_from(view, at)
        at += _LENGTH.size
        size = min(CHUNK, len(target) - start)
        target[start : start + size] = memoryview(decompress(view[at : at + length], size)).cast("B")
        at += length
        start += size


def _decode_part(stream: Any, piece: Piece, offset: int, size: int) -> bytes:
    """Some bytes of a compressed piece, of which only the chunks are read that hold them."""
    decompress = _arrow_codec(piece.codec).decompress
    parts: list[bytes] = []
    at = piece.offset
    for start in range(0, piece.size, CHUNK):
        stream.seek(at)
        (length,) = _LENGTH.unpack(_read_exactly(stream, _LENGTH.size))
        end = min(start + CHUNK, piece.size)
        if start < offset + size and end > offset:
            plain = memoryview(decompress(_read_exactly(stream, length), end - start)).cast("B")
            parts.append(bytes(plain[max(0, offset - start) : offset + size - start]))
        at += _LENGTH.size + length
    return b"".join(parts)


def _arrow_codec(name: str) -> Any:
    import pyarrow

    return pyarrow.Codec(name)


def _write_all(stream: Any, part: Any) -> None:
    view = memoryview(part)
    while len(view):
        view = view[stream.write(view) or len(view) :]


def _read_exactly(stream: Any, size: int) -> memoryview:
    data = memoryview(bytearray(size))
    _read_all(stream, data)
    return data


def _read_all(stream: Any, target: memoryview) -> None:
    while len(target):
        count = stream.readinto(target)
        if not count:
            raise OSError("the spill file is torn: it ends too early")
        target = target[count:]
