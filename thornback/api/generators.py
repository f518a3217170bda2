"""References to the items of generator tasks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from thornback.api import coroutines, current
from thornback.api.lazy import blocking
from thornback.api.object_ref import ObjectRef, note_pickled, rebuild_ref
from thornback.core import runtime as core_runtime
from thornback.core import serialization
from thornback.core.errors import GetTimeoutError
from thornback.core.ids import ObjectId, TaskId
from thornback.core.runtime import Runtime

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")


class ObjectRefGenerator(Generic[T]):
    """The items of a task with ``num_returns="streaming"``, as references, in order, while the task still runs.

    ``next(generator)`` and ``async for`` wait until the next item exists. If the task fails, the next reference holds
    its error and is the last one.

    Args:
        task_id: of the generator task.
        runtime: of the process.
    """

    __slots__ = ("__weakref__", "_close", "_completed", "_ended", "_index", "_peeked", "_task_id")

    def __init__(self, task_id: TaskId, runtime: Runtime) -> None:
        self._task_id = task_id
        self._close: Callable[[bytes], None] = runtime.drop
        self._index = 0
        self._peeked: ObjectRef[T] | None = None
        self._ended = False
        self._completed: ObjectRef[Any] | None = None

    def __del__(self) -> None:
        try:
            self._close(self._task_id)
        except AttributeError:
            pass

    def __iter__(self) -> Iterator[ObjectRef[T]]:
        return self

    def __next__(self) -> ObjectRef[T]:
        ref = self._take(None)
        if ref is None:
            raise StopIteration
        return ref

    def __aiter__(self) -> AsyncIterator[ObjectRef[T]]:
        return self

    async def __anext__(self) -> ObjectRef[T]:
        await self._item_is_there()
        ref = self._take(None)
        if ref is None:
            raise StopAsyncIteration
        return ref

    def next_ready(self) -> bool:
        """Whether ``next`` would return an item at once."""
        if self._peeked is None and not self._ended:
            try:
                self._peeked = self._take(0)
            except GetTimeoutError:
                return False
        return self._peeked is not None

    def is_finished(self) -> bool:
        """Whether the last item has been taken and the task has ended."""
        return not self.next_ready() and self._ended

    def completed(self) -> ObjectRef[Any]:
        """A reference that is ready when the task has ended, and whose ``get`` raises if the task failed."""
        if self._completed is None:
            runtime = current.require()
            self._completed = ObjectRef(blocking.stream_completed(runtime, self._task_id), runtime.drop)
        return self._completed

    def task_id(self) -> TaskId:
        """The id of the generator task, as bytes."""
        return self._task_id

    def _take(self, timeout: float | None) -> ObjectRef[T] | None:
        if self._peeked is not None:
            ref, self._peeked = self._peeked, None
            return ref
        if self._ended:
            return None
        runtime = current.require()
        object_id = blocking.next_item(runtime, self._task_id, self._index, timeout)
        if object_id is None:
            self._ended = True
            return None
        self._index += 1
        return ObjectRef(object_id, runtime.drop)

    async def _item_is_there(self) -> None:
        if self._peeked is not None or self._ended:
            return
        import asyncio

        loop = asyncio.get_running_loop()
        there: asyncio.Future[None] = loop.create_future()

        def resolve() -> None:
            if not there.done():
                there.set_result(None)

        def ready() -> None:
            try:
                loop.call_soon_threadsafe(resolve)
            except RuntimeError:
                pass  # The loop was closed: nobody waits any more.

        runtime = current.require()
        with runtime.turn:
            waiter = runtime.core.owner.streams.wait(self._task_id, self._index)
            waiter.on_done = ready
        if waiter.done:
            resolve()
        await there

    def __repr__(self) -> str:
        return f"ObjectRefGenerator({self._task_id.hex()})"

    def __reduce__(self) -> Any:
        raise TypeError("an ObjectRefGenerator cannot be passed on: pass its items, or a list of them")


class DynamicObjectRefGenerator(Generic[T]):
    """The value of a task with ``num_returns="dynamic"``: references to all items that the task has made.

    Args:
        refs: the references, in order.
    """

    __slots__ = ("_refs",)

    def __init__(self, refs: Sequence[ObjectRef[T]]) -> None:
        self._refs = list(refs)

    def __iter__(self) -> Iterator[ObjectRef[T]]:
        return iter(self._refs)

    def __len__(self) -> int:
        return len(self._refs)

    def __getitem__(self, index: int) -> ObjectRef[T]:
        return self._refs[index]

    def __repr__(self) -> str:
        return f"DynamicObjectRefGenerator({self._refs!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return DynamicObjectRefGenerator, (self._refs,)


class _Item:
    """A reference to an item in the process that made it, which only passes it on and does not count it."""

    __slots__ = ("_id",)

    def __init__(self, object_id: ObjectId) -> None:
        self._id = object_id

    def __reduce__(self) -> tuple[Any, ...]:
        note_pickled(self._id)
        return rebuild_ref, (self._id,)


def wrap_dynamic(object_ids: Sequence[ObjectId]) -> DynamicObjectRefGenerator[Any]:
    """The value that a dynamic generator task returns, to be pickled at once."""
    items: list[Any] = [_Item(object_id) for object_id in object_ids]
    return DynamicObjectRefGenerator(items)


serialization.make_dynamic_generator = wrap_dynamic
core_runtime.wait_in_coroutine = coroutines.completed
