"""Identifiers as objects, for programs that keep, print or compare them. The engine itself uses plain ``bytes``."""

from __future__ import annotations

from typing import ClassVar, Self

from thornback.core import ids


class BaseID:
    """An identifier: immutable, hashable, ordered by its bytes.

    Args:
        binary: exactly :attr:`SIZE` bytes.

    Raises:
        TypeError: not bytes.
        ValueError: wrong length.
    """

    SIZE: ClassVar[int] = 16
    __slots__ = ("_binary",)

    def __init__(self, binary: bytes) -> None:
        if not isinstance(binary, bytes):
            raise TypeError(f"{type(self).__name__} is made from bytes, not {type(binary).__name__}; see from_hex()")
        if len(binary) != self.SIZE:
            raise ValueError(f"{type(self).__name__} has {self.SIZE} bytes, not {len(binary)}")
        self._binary = binary

    @classmethod
    def from_binary(cls, binary: bytes) -> Self:
        """From the bytes that :meth:`binary` gave."""
        return cls(binary)

    @classmethod
    def from_hex(cls, text: str) -> Self:
        """From the text that :meth:`hex` gave."""
        return cls(bytes.fromhex(text))

    @classmethod
    def nil(cls) -> Self:
        """The identifier of nothing."""
        return cls(b"\xff" * cls.SIZE)

    @classmethod
    def size(cls) -> int:
        """Length in bytes."""
        return cls.SIZE

    def binary(self) -> bytes:
        """The identifier as bytes."""
        return self._binary

    def hex(self) -> str:
        """The identifier as lower-case hexadecimal text."""
        return self._binary.hex()

    def is_nil(self) -> bool:
        """Whether this names nothing."""
        return self._binary == b"\xff" * self.SIZE

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._binary == other._binary

    def __lt__(self, other: Self) -> bool:
        return self._binary < other._binary

    def __hash__(self) -> int:
        return hash(self._binary)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.hex()})"

    def __reduce__(self) -> tuple[type[Self], tuple[bytes]]:
        return type(self), (self._binary,)


class UniqueID(BaseID):
    """An identifier of no particular kind."""

    __slots__ = ()


class JobID(BaseID):
    """A driver's program."""

    SIZE = 4
    __slots__ = ()

    @classmethod
    def from_int(cls, number: int) -> JobID:
        """From the engine's number of the job."""
        return cls(number.to_bytes(4, "little"))

    def int(self) -> int:
        """The engine's number of the job."""
        return int.from_bytes(self._binary, "little")


class NodeID(BaseID):
    """One life of one node."""

    SIZE = ids.NODE_ID_SIZE
    __slots__ = ()


class WorkerID(BaseID):
    """One worker or driver process."""

    SIZE = ids.WORKER_ID_SIZE
    __slots__ = ()


class TaskID(BaseID):
    """One task, over all its attempts."""

    SIZE = ids.TASK_ID_SIZE
    __slots__ = ()


class ActorID(BaseID):
    """One actor, over all its restarts."""

    SIZE = ids.TASK_ID_SIZE
    __slots__ = ()


class FunctionID(UniqueID):
    """The content of a pickled function."""

    __slots__ = ()


class ActorClassID(UniqueID):
    """The content of a pickled actor class."""

    __slots__ = ()


class PlacementGroupID(BaseID):
    """One placement group."""

    SIZE = ids.TASK_ID_SIZE
    __slots__ = ()
