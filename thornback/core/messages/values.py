"""User values, and objects as their owners describe them."""

from __future__ import annotations

from typing import Union

from thornback.core.ids import NodeId, ObjectId
from thornback.core.messages.base import Record


class Value(Record, frozen=True, tag=1):
    """A serialized Python value, whole."""

    data: bytes
    """Pickle, protocol 5."""
    buffers: tuple[bytes, ...] = ()
    """Out-of-band buffers of ``data``."""
    contained: tuple[ObjectId, ...] = ()
    """References inside the value, in order of appearance."""
    is_error: bool = False
    """The value is an exception that ``get`` raises."""

    @property
    def size(self) -> int:
        """Bytes of data and buffers."""
        size = len(self.data)
        return size + sum(map(len, self.buffers)) if self.buffers else size


class Stored(Record, frozen=True, tag=2):
    """A value in the shared memory of at least one node."""

    size: int
    nodes: tuple[NodeId, ...]
    """Where it is; the first holds the primary copy."""
    contained: tuple[ObjectId, ...] = ()


Content = Union[Value, Stored]


class Dependency(Record, frozen=True):
    """One argument that was a reference: which object, and what its owner knew of it at the time of sending."""

    object_id: ObjectId
    content: Content
