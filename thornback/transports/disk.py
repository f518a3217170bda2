"""Spill files of one node: in directories of this machine, or anywhere that ``pyarrow.fs`` reaches.

The work is done by threads, so that the node's loop never waits for a disk; the end of each job is a turn of its own.

A block is compressed chunk by chunk where a sample of it shows that this makes it smaller: each chunk lies in the file
behind its length (8 bytes, little-endian). The checksum covers what lies in the file.
"""

from __future__ import annotations

import os
import queue
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from struct import Struct
from typing import Any, BinaryIO, Protocol
from zlib import crc32

from thornback.core.config import KIB, MIB, Config
from thornback.core.ports import Piece
from thornback.transports import session
from thornback.transports.arena import Arena
from thornback.transports.loop import EventLoop

CODECS = ("", "lz4", "zstd", "snappy", "gzip", "brotli")
CHUNK = 8 * MIB
SAMPLE = 64 * KIB
WORTH_IT = 0.9
"""A sample must shrink to less than this share for its block to be compressed."""
FULL = 0.95
"""Share of a disk beyond which nothing is spilled to it."""
THREADS = 2
_LENGTH = Struct("<Q")
_PREFIX = "thornback-spill-"


class Place(Protocol):
    """A directory for spill files."""

    name: str

    def create(self, file: str, room: int) -> BinaryIO:
        """Open a new file for up to ``room`` bytes; OSError if it cannot be."""

    def open(self, file: str) -> BinaryIO:
        """Open a file for reading."""

    def delete(self, file: str) -> None:
        """Remove a file; no harm if it is not there."""

    def remove(self) -> None:
        """Remove all files."""


class Directory:
    """A directory of this machine."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path
        path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def create(self, file: str, room: int) -> BinaryIO:
        """Open a new file."""
        usage = shutil.disk_usage(self._path)
        if usage.used + room > FULL * usage.total:
            raise OSError(f"{self.name} has only {usage.free:,} bytes left")
        return open(self._path / file, "xb", buffering=0)

    def open(self, file: str) -> BinaryIO:
        """Open a file for reading."""
        return open(self._path / file, "rb", buffering=0)

    def delete(self, file: str) -> None:
        """Remove a file."""
        (self._path / file).unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove all files."""
        shutil.rmtree(self._path, ignore_errors=True)


class RemoteDirectory:
    """A directory behind a URI of ``pyarrow.fs``."""

    def __init__(self, uri: str, subdirectory: str) -> None:
        from pyarrow import fs

        self.name = uri
        self._files, path = fs.FileSystem.from_uri(uri)
        self._path = f"{path.rstrip('/')}/{subdirectory}"
        self._files.create_dir(self._path, recursive=True)

    def create(self, file: str, room: int) -> BinaryIO:
        """Open a new file."""
        stream: BinaryIO = self._files.open_output_stream(f"{self._path}/{file}")
        return stream

    def open(self, file: str) -> BinaryIO:
        """Open a file for reading."""
        stream: BinaryIO = self._files.open_input_file(f"{self._path}/{file}")
        return stream

    def delete(self, file: str) -> None:
        """Remove a file."""
        try:
            self._files.delete_file(f"{self._path}/{file}")
        except FileNotFoundError:
            pass

    def remove(self) -> None:
        """Remove all files."""
        try:
            self._files.delete_dir(self._path)
        except OSError:
            pass


def open_disk(config: Config, session_directory: Path, loop: EventLoop, memory: Arena) -> SpillDisk | None:
    """The disk of a node; None if it must not spill."""
    if config.spill_limit == 0:
        return None
    places = open_places(config.spill_directories, session_directory)
    return SpillDisk(loop, memory, places, config.spill_codec)


def check_places(config: Config) -> None:
    """Find out, before anything is started, whether objects can be spilled where they should be.

    Raises:
        ValueError: a directory cannot be written (it is named), or the codec is not known.
    """
    if config.spill_limit == 0:
        return
    if config.spill_codec not in CODECS:
        raise ValueError(f"spill_codec must be one of {', '.join(map(repr, CODECS))}, not {config.spill_codec!r}")
    for name in config.spill_directories:
        _open_place(name, f"{_PREFIX}probe-{os.getpid()}").remove()


def open_places(directories: Sequence[str], session_directory: Path) -> list[Place]:
    """The places for spill files, checked by writing to each; what earlier sessions left in them is removed.

    Raises:
        ValueError: one of them cannot be written; names it and says why.
    """
    if not directories:
        runtime = os.environ.get("XDG_RUNTIME_DIR")
        if not runtime or not session_directory.is_relative_to(runtime):
            return [Directory(session_directory / "spill")]
        directories = (tempfile.gettempdir(),)  # the session directory is in memory
    for name in directories:
        if "://" not in name:
            _sweep(Path(name), session_directory.parent)
    return [_open_place(name, _PREFIX + session_directory.name) for name in directories]


def _open_place(name: str, subdirectory: str) -> Place:
    try:
        remote = "://" in name
        place: Place = RemoteDirectory(name, subdirectory) if remote else Directory(Path(name) / subdirectory)
        with place.create("probe", 0) as probe:
            probe.write(b"thornback")
        place.delete("probe")
    except (OSError, ValueError) as error:
        raise ValueError(f"objects cannot be spilled to {name!r} (spill_directories): {error}") from None
    return place


def _sweep(directory: Path, sessions: Path) -> None:
    if not directory.is_dir():
        return
    for path in directory.iterdir():
        name = path.name.removeprefix(_PREFIX)
        if path.name.startswith(_PREFIX + "session-") and not session.is_live(sessions / name):
            shutil.rmtree(path, ignore_errors=True)


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
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    # --- The port -----------------------------------------------------------------------------------------------------

    def write(self, file: str, blocks: Sequence[tuple[int, int]], then: Callable[[Sequence[Piece], str], None]) -> None:
        """Write the blocks to a new file."""
        self._turn += 1
        first = self._turn % len(self._places)
        order = self._places[first:] + self._places[:first]

        def job() -> None:
            reasons = []
            for place in order:
                try:
                    call = partial(then, self._write_file(place, file, blocks), "")
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

    def delete(self, file: str) -> None:
        """Remove a file."""
        place = self._place_of.pop(file, None)
        if place is not None:
            self._submit(lambda: self._delete_quietly(place, file))

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
        place = self._place_of.get(piece.file)
        if place is None:
            raise OSError(f"the spill file {piece.file} is gone")
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


def _arrow_codec(name: str) -> Any:
    import pyarrow

    return pyarrow.Codec(name)


def _write_all(stream: Any, part: Any) -> None:
    view = memoryview(part)
    while len(view):
        view = view[stream.write(view) or len(view) :]


def _read_all(stream: Any, target: memoryview) -> None:
    while len(target):
        count = stream.readinto(target)
        if not count:
            raise OSError("the spill file is torn: it ends too early")
        target = target[count:]
