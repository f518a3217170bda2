"""How values lie in shared memory: split finds what parts_of laid out, aligned and without copying."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from thornback.core.objects.layout import ALIGNMENT, aligned, parts_of, split
from thornback.core.serialization import Serialized

BYTES = st.binary(max_size=300)


def block_of(value: Serialized) -> memoryview:
    """The bytes as they lie in memory."""
    size, parts = parts_of(value)
    block = b"".join(bytes(part) for part in parts)
    assert len(block) == size, f"parts of {len(block)} bytes do not fill the {size} bytes that were asked for"
    return memoryview(block)


@given(BYTES, st.lists(BYTES, max_size=5))
def test_split_finds_the_pickle_and_every_buffer(data: bytes, buffers: list[bytes]) -> None:
    block = block_of(Serialized(data, [memoryview(buffer) for buffer in buffers], ()))
    found, views = split(block)
    assert bytes(found) == data
    assert [bytes(view) for view in views] == buffers


@given(BYTES, st.lists(BYTES, max_size=5))
def test_every_part_is_aligned(data: bytes, buffers: list[bytes]) -> None:
    block = block_of(Serialized(data, [memoryview(buffer) for buffer in buffers], ()))
    _size, parts = parts_of(Serialized(data, [memoryview(buffer) for buffer in buffers], ()))
    assert len(block) % ALIGNMENT == 0
    at, starts = 0, []
    for part in parts:
        starts.append(at)
        at += len(part)
    assert at == len(block)
    meant = [start for start, part in zip(starts, parts, strict=True) if not _is_padding(part)]
    assert all(start % ALIGNMENT == 0 for start in meant)


def _is_padding(part: memoryview | bytes) -> bool:
    return isinstance(part, bytes) and len(part) < ALIGNMENT and not any(part)


@given(BYTES)
def test_views_share_the_block(data: bytes) -> None:
    block = block_of(Serialized(data, [memoryview(b"x" * 100)], ()))
    _pickle, (view,) = split(block)
    assert view.obj is block.obj


@given(st.integers(0, 10**9))
def test_rounding_goes_up_to_the_next_multiple(size: int) -> None:
    assert 0 <= aligned(size) - size < ALIGNMENT
    assert aligned(size) % ALIGNMENT == 0
