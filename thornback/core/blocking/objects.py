"""Put, get and wait: values come to a user thread, and go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from thornback.core import errors
from thornback.core.ids import ObjectId
from thornback.core.messages import Content, ObjectAllocated, Stored, Value
from thornback.core.objects import layout
from thornback.core.owner.blocks import Block
from thornback.core.owner.references import Reference
from thornback.core.runtime import Runtime, Waiter
from thornback.core.serialization import Serialized, covering, dumps, loads, loads_value
from thornback.core.waits.blocked import GET, PUT, WAIT
from thornback.core.waits.thread import ROOM_PATIENCE, wait_for


def put(runtime: Runtime, value: Any, owner_pin: bool = False, origin: str = "") -> ObjectId:
    """Make an object of a value; the id carries one local reference.

    Args:
        owner_pin: keep it in memory: it is never spilled.
        origin: where the value comes from, for people.

    Raises:
        SerializationError: the value cannot be pickled.
        ObjectStoreFullError: there is no room for it.
    """
    serialized = dumps(value)
    owner = runtime.core.owner
    with runtime.turn:
        reference = owner.new_object(origin)
    try:
        content = store(runtime, reference.object_id, serialized, origin, owner_pin)
    except BaseException:
        owner.dropped.append(reference.object_id)
        raise
    with runtime.turn:
        owner.put(reference, content)
    return reference.object_id


def store(runtime: Runtime, object_id: ObjectId, value: Serialized, origin: str = "", pinned: bool = False) -> Content:
    """Bring a value to where it belongs by its size: inline, or sealed into the node's shared memory.

    Args:
        origin: where the value comes from, for people.
        pinned: never spill it.
    """
    owner = runtime.core.owner
    if value.size <= owner.config.inline_limit:
        return value.to_value()
    size, parts = layout.parts_of(value)
    with runtime.turn:
        waiter = owner.writing.allocate(object_id, size, origin, pinned)
    try:
        wait_for(runtime, waiter, None, (PUT, (object_id,), 1), ROOM_PATIENCE)
        answer: ObjectAllocated = waiter.result
        if answer.offset == -1:
            raise errors.ObjectStoreFullError(answer.reason)
        if answer.offset >= 0:
            owner.blocks.memory.write(answer.offset, parts)
    except BaseException:
        with runtime.turn:
            owner.writing.abort(object_id)
        raise
    if answer.offset >= 0:
        with runtime.turn:
            owner.writing.seal(object_id)
    return Stored(size, (owner.node_id,), value.contained)


class Fetch:
    """Several values on their way to this process."""

    __slots__ = ("abandoned", "blocks", "runtime", "waiter")

    def __init__(self, runtime: Runtime, object_ids: Sequence[ObjectId]) -> None:
        self.runtime = runtime
        self.abandoned = False
        self.blocks: dict[ObjectId, Block | None] = {}
        unique = dict.fromkeys(object_ids)
        self.waiter = Waiter(len(unique))
        hold, watch, known = runtime.core.owner.references.hold, runtime.core.owner.objects.watch, self._known
        for object_id in unique:
            reference = hold(object_id)
            if reference.content is None:
                watch(reference, known)
            else:
                known(reference)

    def _known(self, reference: Reference) -> None:
        if type(reference.content) is Value:
            self._arrived(reference.object_id, None)
        else:
            self.runtime.core.owner.blocks.make_local(reference, partial(self._arrived, reference.object_id))

    def _arrived(self, object_id: ObjectId, block: Block | None) -> None:
        if self.abandoned:
            if block is not None:
                self.runtime.core.owner.blocks.unused(object_id)
            self.runtime.core.owner.references.release(object_id)
        else:
            self.blocks[object_id] = block
            self.waiter.count_down()

    def abandon(self) -> None:
        """Within a turn: give back what came, and what still comes."""
        self.abandoned = True
        owner = self.runtime.core.owner
        for object_id, block in self.blocks.items():
            if block is not None:
                owner.blocks.unused(object_id)
            owner.references.release(object_id)

    def contents(self) -> dict[ObjectId, Value | memoryview]:
        """Within a turn: what to unpickle; call :meth:`release` afterwards."""
        owner = self.runtime.core.owner
        found: dict[ObjectId, Value | memoryview] = {}
        for object_id, block in self.blocks.items():
            if block is not None:
                found[object_id] = block.failure or owner.blocks.read(object_id, block)
            else:
                content = owner.references.table[object_id].content
                assert isinstance(content, Value)
                found[object_id] = content
        return found

    def release(self) -> None:
        """Within a turn: the values are unpickled."""
        for object_id in self.blocks:
            self.runtime.core.owner.references.release(object_id)


def get(runtime: Runtime, object_ids: Sequence[ObjectId], timeout: float | None) -> list[Any]:
    """The values of several objects, in order.

    Raises:
        GetTimeoutError: not all were there after ``timeout`` seconds.
        ThornbackError: the error of the first failed one, in order.
    """
    with runtime.turn:
        contents = _present(runtime, object_ids)
        if contents is None:
            fetch = Fetch(runtime, object_ids)
    if contents is None:
        contents = _fetched(runtime, fetch, object_ids, timeout)
    try:
        if len(object_ids) == 1:
            return [_value_of(runtime, object_ids[0], contents[object_ids[0]])]
        return [_value_of(runtime, object_id, contents[object_id]) for object_id in object_ids]
    finally:
        for object_id, content in contents.items():
            if type(content) is not Value or content.contained:
                runtime.drop(object_id)
        contents.clear()


def _fetched(
    runtime: Runtime, fetch: Fetch, object_ids: Sequence[ObjectId], timeout: float | None
) -> dict[ObjectId, Value | memoryview]:
    count = len(object_ids)
    try:
        done = wait_for(runtime, fetch.waiter, timeout, (GET, object_ids, count))
    except BaseException:
        with runtime.turn:
            fetch.abandon()
        raise
    with runtime.turn:
        if done:
            contents = fetch.contents()
            for object_id, content in contents.items():
                _cover(runtime, object_id, content)
            fetch.release()
            return contents
        missing = fetch.waiter.remaining
        fetch.abandon()
    raise errors.GetTimeoutError(f"{missing} of {count} values were not ready after {timeout:g} s")


def _cover(runtime: Runtime, object_id: ObjectId, content: Value | memoryview) -> None:
    """Within a turn: while it is unpickled, what may contain references is kept by a local reference of its own."""
    if type(content) is not Value or content.contained:
        runtime.core.owner.references.table[object_id].local += 1


def _present(runtime: Runtime, object_ids: Sequence[ObjectId]) -> dict[ObjectId, Value | memoryview] | None:
    """Within a turn: what to unpickle, if all of it is in this process already."""
    owner = runtime.core.owner
    table, blocks = owner.references.table, owner.blocks.table
    for object_id in object_ids:
        reference = table.get(object_id)
        if reference is None or not (type(reference.content) is Value or object_id in blocks):
            return None
    found: dict[ObjectId, Value | memoryview] = {}
    for object_id in object_ids:
        if object_id in found:
            continue
        content = table[object_id].content
        if type(content) is Value:
            found[object_id] = content
        else:
            block = blocks[object_id]
            block.users += 1
            found[object_id] = owner.blocks.read(object_id, block)
        _cover(runtime, object_id, found[object_id])
    return found


def _value_of(runtime: Runtime, object_id: ObjectId, content: Value | memoryview) -> Any:
    if type(content) is Value and not content.contained:
        value = loads_value(content)
        if content.is_error:
            raise value.as_instance_of_cause() if isinstance(value, errors.TaskError) else value
        return value
    token = covering.set(object_id)
    try:
        if isinstance(content, Value):
            return loads_value(content)
        data, buffers = layout.split(content)
        known = runtime.core.owner.references.table[object_id].content
        return loads(data, buffers, () if known is None else known.contained)
    finally:
        covering.reset(token)


def wait(
    runtime: Runtime, object_ids: Sequence[ObjectId], num_returns: int, timeout: float | None, fetch_local: bool
) -> list[int]:
    """Positions of the ready ones: at most ``num_returns``, in the order given."""
    owner = runtime.core.owner
    with runtime.turn:
        ready = _first_known(runtime, object_ids, num_returns)
        if len(ready) < num_returns:
            waiter = owner.when_known(object_ids, num_returns)
    if len(ready) < num_returns:
        try:
            wait_for(runtime, waiter, timeout, (WAIT, object_ids, num_returns))
        finally:
            with runtime.turn:
                owner.forget_waiter(object_ids, waiter)
                ready = _first_known(runtime, object_ids, num_returns)
    return ready


def _first_known(runtime: Runtime, object_ids: Sequence[ObjectId], count: int) -> list[int]:
    """Within a turn: positions of the first ``count`` that have a content."""
    table = runtime.core.owner.references.table
    known: list[int] = []
    for position, object_id in enumerate(object_ids):
        reference = table.get(object_id)
        if reference is not None and reference.content is not None:
            known.append(position)
            if len(known) == count:
                break
    return known


def when_ready(runtime: Runtime, object_id: ObjectId, callback: Callable[[], None]) -> None:
    """Call ``callback`` in some turn, possibly of another thread, once the value can be read here without waiting."""
    owner = runtime.core.owner
    with runtime.turn:
        reference = owner.references.hold(object_id)

        def local(block: Block | None) -> None:
            if block is not None:
                owner.blocks.unused(object_id)
            owner.references.release(object_id)
            callback()

        owner.blocks.make_local(reference, local)
