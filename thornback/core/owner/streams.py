"""Results of generators on the caller's side: items become objects one by one, as the worker makes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thornback.core.ids import Address, ObjectId, TaskId, index_of, return_id
from thornback.core.messages import DYNAMIC, Stored, StreamConsumed, StreamItem, Value
from thornback.core.owner.references import Reference
from thornback.core.owner.task import DONE, PUSHED, Task
from thornback.core.runtime import Waiter
from thornback.core.serialization import dumps

if TYPE_CHECKING:
    from thornback.core.owner.owner import Owner


NONE = dumps(None).to_value()
NO_LIMIT = 1 << 60
"""More items than any generator makes."""


class Stream:
    """The items of one generator task. Item ``i`` is the object ``return_id(task, i + 1)``."""

    __slots__ = ("arrived", "closed", "consumed", "lost", "stored", "task", "total", "waiters")

    def __init__(self, task: Task) -> None:
        self.task = task
        self.arrived: dict[int, None] = {}
        """Items that are here and not taken yet; the stream holds them."""
        self.consumed = 0
        self.total: int | None = None
        """Number of items, once known."""
        self.closed = False
        self.stored = False
        self.lost: dict[ObjectId, None] = {}
        """Items that were here once and must be made again."""
        self.waiters: dict[int, list[Waiter]] = {}


class Streams:
    """All generators whose caller is this process."""

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.table: dict[TaskId, Stream] = {}

    def open(self, task: Task) -> None:
        """A generator task was submitted."""
        self.table[task.task_id] = Stream(task)

    def reopen(self, task: Task) -> None:
        """A finished generator runs again to rebuild lost items."""
        stream = self.table.get(task.task_id)
        if stream is None:
            stream = self.table[task.task_id] = Stream(task)
            stream.closed = True
        stream.task = task

    def on_stream_item(self, sender: Address, message: StreamItem) -> None:
        """The worker has made an item; made again, it only fills what was lost."""
        tasks = self.owner.tasks
        stream = self.table.get(message.task_id)
        object_id = return_id(message.task_id, message.index + 1)
        if stream is None or stream.task.attempt != message.attempt or self._stale(stream, sender):
            tasks.refuse(object_id, message.content, sender)
            return
        references = self.owner.references
        stream.stored = stream.stored or isinstance(message.content, Stored)
        if object_id in references.table:
            stream.lost.pop(object_id, None)
            tasks.accept(object_id, message.content, sender)
        elif stream.closed or message.index < stream.consumed:
            tasks.refuse(object_id, message.content, sender)
        else:
            now = self.owner.ports.clock.now()
            references.new_owned(object_id, 0, stream.task.template, now).holds = 1
            stream.task.live_returns += 1
            stream.arrived[message.index] = None
            tasks.accept(object_id, message.content, sender)
            self._wake(stream, message.index)
        if stream.task.template.backpressure > 0:
            self._let_pass(stream, sender, message.index)

    def _let_pass(self, stream: Stream, worker: Address, index: int) -> None:
        """A generator that runs again does not wait where its consumer has been before, nor beyond what is wanted."""
        task_id = stream.task.task_id
        if not stream.closed:
            if index < stream.consumed:
                self.owner.ports.transport.send(worker, StreamConsumed(task_id, stream.consumed))
        elif any(index_of(lost) > index + 1 for lost in stream.lost):
            self.owner.ports.transport.send(worker, StreamConsumed(task_id, index + 1))
        else:
            self.owner.ports.transport.send(worker, StreamConsumed(task_id, -1))

    def lost(self, task: Task, object_id: ObjectId) -> None:
        """An item of a generator that runs, or is about to run again, must be made again. One that runs does not come
        back to it before it has ended: it no longer waits for its consumer, who may wait for just this item."""
        stream = self.table.get(task.task_id)
        if stream is not None:
            stream.lost[object_id] = None
            if task.state == PUSHED and task.template.backpressure > 0:
                self.owner.ports.transport.send(task.worker, StreamConsumed(task.task_id, NO_LIMIT))

    def still_lost(self, task: Task) -> list[Reference]:
        """Items that were lost while the generator ran, and that this run has not made again."""
        stream = self.table.get(task.task_id)
        table = self.owner.references.table
        known = [table.get(object_id) for object_id in stream.lost] if stream is not None else []
        return [reference for reference in known if reference is not None and reference.content is None]

    def _stale(self, stream: Stream, sender: Address) -> bool:
        return stream.task.state != PUSHED or self.owner.references.is_dead(sender)

    def _wake(self, stream: Stream, index: int | None) -> None:
        indexes = sorted(stream.waiters) if index is None else [index]
        for position in indexes:
            for waiter in stream.waiters.pop(position, ()):
                waiter.complete()

    def finished(self, task: Task, items: int | None, error: Value | None) -> bool:
        """The generator's task has ended; with an error, that becomes the last item. Returns whether items live in
        shared memory."""
        stream = self.table.get(task.task_id)
        if stream is None:
            return False
        if task.template.num_returns == DYNAMIC:
            self._drop(stream)
            del self.table[task.task_id]
            return stream.stored
        if items is not None:
            stream.total = items
        elif error is not None and not stream.closed and stream.total is None:
            index = max(stream.consumed, 1 + max(stream.arrived, default=-1))
            object_id = return_id(task.task_id, index + 1)
            reference = self.owner.references.new_owned(object_id, 0, task.template, self.owner.ports.clock.now())
            reference.holds = 1
            task.live_returns += 1
            stream.arrived[index] = None
            stream.total = index + 1
            self.owner.objects.set_content(reference, error)
        completion = self.owner.references.table.get(return_id(task.task_id, 0))
        if completion is not None and completion.content is None:
            self.owner.objects.set_content(completion, error or NONE)
        self._wake(stream, None)
        stream.lost.clear()
        if stream.closed or (stream.total is not None and stream.consumed >= stream.total):
            del self.table[task.task_id]
        return stream.stored

    def _drop(self, stream: Stream) -> None:
        for index in sorted(stream.arrived):
            self.owner.references.release(return_id(stream.task.task_id, index + 1))
        stream.arrived.clear()

    def wait(self, task_id: TaskId, index: int) -> Waiter:
        """Completes when item ``index`` is here, or the generator has ended."""
        stream = self.table.get(task_id)
        if stream is None or index in stream.arrived or stream.total is not None:
            return Waiter(0)
        waiter = Waiter()
        stream.waiters.setdefault(index, []).append(waiter)
        return waiter

    def take(self, task_id: TaskId, index: int) -> ObjectId | None:
        """The item, with one local reference, or None when there is none at that index (any more)."""
        stream = self.table.get(task_id)
        if stream is None or index not in stream.arrived:
            return None
        del stream.arrived[index]
        object_id = return_id(task_id, index + 1)
        reference = self.owner.references.table[object_id]
        reference.local += 1
        reference.holds -= 1
        stream.consumed = max(stream.consumed, index + 1)
        if stream.task.state == PUSHED and stream.task.template.backpressure > 0:
            self.owner.ports.transport.send(stream.task.worker, StreamConsumed(task_id, stream.consumed))
        if stream.task.state == DONE and stream.total is not None and stream.consumed >= stream.total:
            self.table.pop(task_id)
        return object_id

    def close(self, task_id: TaskId) -> None:
        """The consumer is gone: items that it has not taken are dropped, as those still to come."""
        stream = self.table.get(task_id)
        if stream is None:
            return
        stream.closed = True
        self._drop(stream)
        if stream.task.state == DONE:
            del self.table[task_id]
        elif stream.task.template.backpressure > 0 and not stream.lost:
            if stream.task.state == PUSHED:
                self.owner.ports.transport.send(stream.task.worker, StreamConsumed(task_id, -1))
            else:
                self.owner.cancellation.cancel_task(stream.task, False, True)

    def completion(self, task_id: TaskId) -> ObjectId:
        """An object, with one local reference, that is ready (its value is None) when the generator has ended."""
        object_id = return_id(task_id, 0)
        references = self.owner.references
        reference = references.table.get(object_id)
        if reference is None:
            reference = references.new_owned(object_id)
            stream = self.table.get(task_id)
            if stream is None or stream.total is not None:
                self.owner.objects.set_content(reference, NONE)
            else:
                stream.task.live_returns += 1
        else:
            reference.local += 1
        return object_id

    def is_finished(self, task_id: TaskId) -> bool:
        """Whether no further item will come."""
        stream = self.table.get(task_id)
        return stream is None or (stream.total is not None and not stream.arrived)
