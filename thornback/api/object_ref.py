"""References to values that exist, or will exist, somewhere in the cluster."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from thornback.api import current
from thornback.api.ids import JobID, TaskID
from thornback.core import ids, serialization
from thornback.core.ids import ObjectId
from thornback.core.runtime import Runtime

if TYPE_CHECKING:
    import asyncio
    import concurrent.futures

T = TypeVar("T")


class ObjectRef(msgspec.Struct, Generic[T], gc=False, eq=False):
    """A reference to a value of type ``T``, made by ``.remote()`` or ``put``.

    ``get(ref)`` fetches the value; ``await ref`` does so in a coroutine. References can be passed to tasks and actors
    and stored inside other values. The value lives as long as a reference to it exists anywhere.

    Not tracked by Python's garbage collector, whose passes would otherwise grow with the number of references; it has
    no part in cycles.
    """

    _id: ObjectId
    """Carries one local reference, which this object gives back when it is collected."""
    _drop: Callable[[bytes], None]
    """``runtime.drop`` of the process."""

    def __del__(self) -> None:
        try:
            self._drop(self._id)
        except AttributeError:
            pass

    def binary(self) -> bytes:
        """The id as bytes."""
        return self._id

    def hex(self) -> str:
        """The id as hexadecimal text."""
        return self._id.hex()

    def task_id(self) -> TaskID:
        """The task that makes the value, or the put that made it."""
        return TaskID(ids.task_of(self._id))

    def job_id(self) -> JobID:
        """The job that this process works for."""
        from thornback.api import identity

        return JobID.from_int(identity.job_id_of(current.require()))

    def is_nil(self) -> bool:
        """Whether this refers to nothing (never the case)."""
        return False

    @classmethod
    def size(cls) -> int:
        """Length of the id in bytes."""
        return ids.OBJECT_ID_SIZE

    def future(self) -> concurrent.futures.Future[T]:
        """A :class:`concurrent.futures.Future` for the value; cancelling it leaves the task alone."""
        from thornback.api import futures

        return futures.concurrent_future(self)

    def as_future(self) -> asyncio.Future[T]:
        """An :class:`asyncio.Future` of the running event loop for the value; cancelling it leaves the task alone."""
        from thornback.api import futures

        return futures.asyncio_future(self)

    def __await__(self) -> Generator[Any, None, T]:
        return self.as_future().__await__()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObjectRef) and self._id == other._id

    def __hash__(self) -> int:
        return hash(self._id)

    def __lt__(self, other: ObjectRef[Any]) -> bool:
        return self._id < other._id

    def __repr__(self) -> str:
        return f"ObjectRef({self._id.hex()})"

    def __copy__(self) -> ObjectRef[T]:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> ObjectRef[T]:
        return self

    def __reduce__(self) -> tuple[Callable[[bytes], ObjectRef[Any]], tuple[bytes]]:
        note_pickled(self._id)
        return rebuild_ref, (self._id,)


def rebuild_ref(object_id: ObjectId) -> ObjectRef[Any]:
    """A reference that arrived inside a value.

    Raises:
        RuntimeError: this process is not part of a cluster.
    """
    runtime = current.runtime or connected()
    runtime.core.owner.references_deserialized((object_id,))
    return ObjectRef(object_id, runtime.drop)


def rebuild_refs(object_ids: Sequence[ObjectId]) -> Iterable[ObjectRef[Any]]:
    """As :func:`rebuild_ref`, of all references that a value contains.

    Raises:
        RuntimeError: this process is not part of a cluster.
    """
    runtime = current.runtime or connected()
    runtime.core.owner.references_deserialized(object_ids)
    return map(ObjectRef, object_ids, repeat(runtime.drop))


def connected() -> Runtime:
    """The runtime, for values that make no sense without one.

    Raises:
        RuntimeError: this process is not part of a cluster.
    """
    runtime = current.runtime
    if runtime is None:
        raise RuntimeError("a reference or actor handle can only be pickled and unpickled after thornback.init()")
    return runtime


def note_pickled(object_id: ObjectId) -> None:
    """A reference, or the hidden one of an actor handle, is being pickled."""
    if not serialization.note_reference(object_id):
        runtime = connected()
        with runtime.turn:
            runtime.core.owner.reference_exported(object_id)


serialization.reference_type = ObjectRef
serialization.rebuild_reference = rebuild_ref
serialization.rebuild_references = rebuild_refs
