"""Spill files on a real disk: what is read is what was written, whole or in parts, or there is an error."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thornback.core.ports import OUTSIDE, Piece
from thornback.transports import arena
from thornback.transports.disk import CHUNK, SpillDisk
from thornback.transports.loop import EventLoop
from thornback.transports.spill_places import Directory

CAPACITY = 8 * CHUNK
SIZE = 2 * CHUNK + 12_345


class Rig:
    """One disk, its memory, and a loop that the test turns."""

    def __init__(self, path: Path, codec: str) -> None:
        self.path = path
        self.loop = EventLoop()
        self.memory = arena.Arena(arena.create(CAPACITY), CAPACITY, path)
        place = Directory(path / "spill")
        self.memory.outside.put_in(place.path)
        self.disk = SpillDisk(self.loop, self.memory, [place], codec)

    def result(self, start: Callable[[Callable[..., None]], None]) -> tuple[Any, ...]:
        answers: list[tuple[Any, ...]] = []
        start(lambda *values: answers.append(values))
        end = self.loop.now() + 20_000_000_000
        while not answers:
            assert self.loop.now() < end, "the disk should answer"
            self.loop.dispatch(self.loop.poll(self.loop.now() + 100_000_000))
            while self.loop.soon:
                self.loop.soon.popleft()()
        return answers[0]

    def write(self, file: str, blocks: list[tuple[int, int]]) -> list[Piece]:
        pieces, reason = self.result(lambda then: self.disk.write(file, blocks, then))
        assert reason == ""
        return list(pieces)


@pytest.fixture(params=["", "lz4", "zstd"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path, request.param)
    yield rig
    rig.disk.close()
    os.close(rig.memory.fd)


def pattern(seed: int) -> bytes:
    small = np.random.default_rng(seed).integers(0, 255, 1000, dtype=np.uint8)
    return np.resize(small, SIZE).tobytes()


def test_parts_of_a_piece_are_what_was_written(rig: Rig) -> None:
    data = pattern(1)
    rig.memory.write(0, [pattern(0)])
    rig.memory.write(3 * CHUNK, [data])
    _, piece = rig.write("one", [(0, SIZE), (3 * CHUNK, SIZE)])
    for offset, size in ((0, 10), (CHUNK - 5, 10), (CHUNK, CHUNK), (5, 2 * CHUNK), (SIZE - 3, 3), (0, SIZE)):
        part, reason = rig.result(lambda then, at=offset, size=size: rig.disk.fetch(piece, at, size, then))  # type: ignore[misc]
        assert reason == "" and part == data[offset : offset + size], f"{size} bytes at {offset}"


def test_copied_pieces_are_read_as_before_also_when_the_first_file_is_gone(rig: Rig) -> None:
    rig.memory.write(0, [pattern(0)])
    rig.memory.write(3 * CHUNK, [pattern(1)])
    first, second = rig.write("one", [(0, SIZE), (3 * CHUNK, SIZE)])
    (copy,), reason = rig.result(lambda then: rig.disk.copy("two", [second], then))
    assert reason == "" and copy.file == "two" and copy.offset == 0
    rig.disk.delete("one")
    assert rig.result(lambda then: rig.disk.read(copy, 0, then)) == ("",)
    assert bytes(rig.memory.view(0, SIZE)) == pattern(1)
    (reason,) = rig.result(lambda then: rig.disk.read(first, 0, then))
    assert "gone" in reason


@pytest.mark.parametrize("damage", ["flip", "tear"])
def test_a_damaged_file_gives_an_error_and_never_bytes(rig: Rig, damage: str) -> None:
    rig.memory.write(0, [pattern(1)])
    (piece,) = rig.write("one", [(0, SIZE)])
    path = rig.path / "spill" / "one"
    if damage == "tear":
        os.truncate(path, piece.stored // 2)
    else:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    (reason,) = rig.result(lambda then: rig.disk.read(piece, 3 * CHUNK, then))
    assert "corrupt" in reason or "torn" in reason
    part, reason = rig.result(lambda then: rig.disk.fetch(piece, 0, 10, then))
    assert part == b"" and ("corrupt" in reason or "torn" in reason)


def test_files_beside_the_memory_are_written_read_and_removed(rig: Rig) -> None:
    assert rig.result(lambda then: rig.disk.extend(OUTSIDE, SIZE, then)) == ("",)
    rig.memory.write(OUTSIDE, [pattern(1)[:1000]])
    rig.memory.write(OUTSIDE + 1000, [pattern(1)[1000:]])
    ended: list[int] = []
    view = rig.memory.read(OUTSIDE, SIZE, lambda: ended.append(1))
    assert view == pattern(1) and view.readonly
    rig.disk.shorten(OUTSIDE)
    rig.result(lambda then: rig.disk.extend(2 * OUTSIDE, 100, then))
    assert bytes(view[:10]) == pattern(1)[:10], "what is mapped should stay"
    assert not ended
    del view
    assert ended == [1]


def test_a_file_beside_the_memory_that_finds_no_room_is_refused_with_the_reason(rig: Rig) -> None:
    (reason,) = rig.result(lambda then: rig.disk.extend(OUTSIDE, 1 << 50, then))
    assert "bytes are left" in reason
