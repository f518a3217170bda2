"""The shared memory of a simulated node."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thornback.simulator.memory import NodeMemory


def test_what_was_written_is_read() -> None:
    memory = NodeMemory(1000)
    memory.write(100, [b"abc", memoryview(b"def")])
    assert bytes(memory.read(100, 6, lambda: None)) == b"abcdef"
    assert bytes(memory.read(102, 3, lambda: None)) == b"cde"


def test_views_are_read_only() -> None:
    memory = NodeMemory(1000)
    memory.write(0, [b"abc"])
    view = memory.read(0, 3, lambda: None)
    with pytest.raises(TypeError):
        view[0] = 1


def test_released_is_called_when_the_last_derived_view_is_gone() -> None:
    memory, released = NodeMemory(1000), []
    memory.write(0, [bytes(80)])
    view = memory.read(0, 80, lambda: released.append(1))
    array = np.frombuffer(view[8:], dtype=np.float64)
    part = array[2:4]
    del view, array
    gc.collect()
    assert not released and memory.views == 1
    del part
    gc.collect()
    assert released == [1] and memory.views == 0


def test_an_empty_block_can_be_read() -> None:
    memory, released = NodeMemory(1000), []
    memory.write(0, [])
    view = memory.read(0, 0, lambda: released.append(1))
    assert view.nbytes == 0
    del view
    assert released == [1]


def test_readers_keep_the_bytes_that_they_have() -> None:
    memory = NodeMemory(1000)
    memory.write(0, [b"old"])
    view = memory.read(0, 3, lambda: None)
    memory.discard(0, 3)
    memory.write(0, [b"new"])
    assert bytes(view) == b"old"
    assert bytes(memory.read(0, 3, lambda: None)) == b"new"


def test_reading_what_was_never_written_is_refused() -> None:
    memory = NodeMemory(1000)
    memory.write(0, [b"abc"])
    with pytest.raises(ValueError, match="nothing was written"):
        memory.read(2, 5, lambda: None)
    with pytest.raises(ValueError, match="outside"):
        memory.write(999, [b"ab"])


@given(st.binary(min_size=1, max_size=200), st.lists(st.integers(1, 50)), st.data())
def test_pieces_are_read_as_one(data: bytes, sizes: list[int], draw: st.DataObject) -> None:
    memory, position, base = NodeMemory(1000), 0, 64
    pieces = []
    for size in [*sizes, len(data)]:
        if position < len(data):
            pieces.append((position, data[position : position + size]))
            position += size
    for offset, piece in draw.draw(st.permutations(pieces)):
        memory.write(base + offset, [piece])
    begin = draw.draw(st.integers(0, len(data) - 1))
    end = draw.draw(st.integers(begin, len(data)))
    assert bytes(memory.read(base, len(data), lambda: None)) == data
    assert bytes(memory.read(base + begin, end - begin, lambda: None)) == data[begin:end]
    assert memory.used == len(data)
