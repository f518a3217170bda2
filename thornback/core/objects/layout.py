"""How a value lies in shared memory: a table of sizes, the pickle, then its out-of-band buffers, each aligned."""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct

from thornback.core.serialization import Serialized

ALIGNMENT = 64
_SIZE = Struct("<Q")
_PADDING = bytes(ALIGNMENT)


def aligned(size: int) -> int:
    """``size`` rounded up to the alignment of buffers (64 bytes, a cache line)."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def parts_of(value: Serialized) -> tuple[int, list[memoryview | bytes]]:
    """Total size, and the parts to write one after the other."""
    sizes = [len(value.data), *(buffer.nbytes for buffer in value.buffers)]
    header = _SIZE.pack(len(sizes)) + b"".join(map(_SIZE.pack, sizes))
    parts: list[memoryview | bytes] = []
    total = 0
    pieces: list[memoryview | bytes] = [header, value.data, *value.buffers]
    for part in pieces:
        size = part.nbytes if isinstance(part, memoryview) else len(part)
        parts.append(part)
        padding = aligned(size) - size
        if padding:
            parts.append(_PADDING[:padding])
        total += size + padding
    return total, parts


def split(block: memoryview) -> tuple[memoryview, Sequence[memoryview]]:
    """The pickle and the buffers of a block that :func:`parts_of` laid out, without copying."""
    (count,) = _SIZE.unpack_from(block, 0)
    sizes = [_SIZE.unpack_from(block, _SIZE.size * (1 + index))[0] for index in range(count)]
    at = aligned(_SIZE.size * (1 + count))
    views: list[memoryview] = []
    for size in sizes:
        views.append(block[at : at + size])
        at += aligned(size)
    return views[0], views[1:]
