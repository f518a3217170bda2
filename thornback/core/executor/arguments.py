"""Large arguments of tasks: brought to this process, all of a task together, before and when it starts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from thornback.core import errors
from thornback.core.config import Config
from thornback.core.ids import Address, ObjectId, TaskId
from thornback.core.messages import (
    ArgumentsFailed,
    ArgumentsInUse,
    ArgumentsPinned,
    DropArguments,
    PinArguments,
    Stored,
    UnpinObject,
    Value,
    Wanted,
)
from thornback.core.owner.references import Reference
from thornback.core.runtime import Waiter
from thornback.core.serialization import error_value

if TYPE_CHECKING:
    from thornback.core.executor.execution import Execution
    from thornback.core.executor.executor import Executor


class Large:
    """The large arguments of one task."""

    __slots__ = ("ahead", "ask", "failure", "object_ids", "pinned", "request", "started", "taken", "waiter")

    def __init__(self, object_ids: tuple[ObjectId, ...], ask: Callable[[Large], None]) -> None:
        self.object_ids = object_ids
        self.pinned: tuple[ObjectId, ...] = ()
        """Those that this process has pinned for the task and that no view keeps yet."""
        self.request = 0
        """At the raylet, not answered; 0: none."""
        self.started = False
        self.ask = ask
        self.ahead = 0
        """Bytes, if the task has not started."""
        self.taken = False
        """The task has got them."""
        self.failure: Value | None = None
        self.waiter = Waiter()
        """Done when all are here, or can never be."""

    def known(self, _reference: Reference) -> None:
        """It is known where one of them is."""
        self.ask(self)


class Arguments:
    """The large arguments of all tasks that run or wait here.

    The raylet brings those of a task together or not at all (:mod:`thornback.core.objects.arguments`). What waits in
    the queue gets them ahead, as far as :attr:`Config.prefetch_limit` allows, and gives them up when room is short.

    Attributes:
        waiting: queued tasks whose large arguments are not asked for, in order.
    """

    def __init__(self, executor: Executor, config: Config) -> None:
        self._executor = executor
        self._owner = executor.owner
        self._objects = executor.owner.objects
        self._blocks = executor.owner.blocks
        self._references = executor.owner.references
        self._transport = executor.transport
        self._large: dict[TaskId, Large] = {}
        self._requests: dict[int, Large] = {}
        self._counter = 0
        self.waiting: dict[TaskId, Execution] = {}
        self._ahead = 0
        self._ahead_limit = min(config.prefetch_limit, self._blocks.memory.capacity // 16)
        self._blocks.before_trim = self._make_way

    # --- Of tasks

    def queued(self, execution: Execution) -> None:
        """A task with dependencies waits here."""
        if _has_large(execution):
            self.waiting[execution.task_id] = execution

    def started(self, execution: Execution) -> None:
        """It starts: what it needs comes before all that others may need later."""
        self.waiting.pop(execution.task_id, None)
        large = self._large.get(execution.task_id)
        if large is None:
            if _has_large(execution):
                large = self._begin(execution)
                large.started = True
                self._ask(large)
            return
        large.started = True
        self._ahead -= large.ahead
        large.ahead = 0
        if large.request:
            self._send(large, large.request)

    def prefetch(self) -> None:
        """Bring what tasks in the queue need, in order, as far as the limit allows."""
        for task_id, execution in list(self.waiting.items()):
            large = self._begin(execution)
            size = sum(
                dependency.content.size
                for dependency in execution.dependencies
                if type(dependency.content) is Stored and dependency.object_id in large.object_ids
            )
            if self._ahead and self._ahead + size > self._ahead_limit:
                self._end(task_id)
                return
            del self.waiting[task_id]
            large.ahead = size
            self._ahead += size
            self._ask(large)

    def waiter_of(self, execution: Execution) -> Waiter | None:
        """Done when the large arguments of a task that runs can be taken; None if it has none."""
        large = self._large.get(execution.task_id)
        return None if large is None else large.waiter

    def take(self, execution: Execution) -> dict[ObjectId, Value | memoryview]:
        """Within a turn: what to unpickle; call :meth:`taken` afterwards."""
        large = self._large[execution.task_id]
        if large.failure is not None:
            return dict.fromkeys(large.object_ids, large.failure)
        found: dict[ObjectId, Value | memoryview] = {}
        for object_id in large.object_ids:
            if object_id in large.pinned:
                found[object_id] = self._blocks.read(object_id, self._blocks.table[object_id])
            else:
                content = self._references.table[object_id].content
                assert isinstance(content, Value)
                found[object_id] = content
        large.pinned = ()
        return found

    def taken(self, execution: Execution) -> None:
        """Within a turn: the arguments are unpickled; views keep them."""
        large = self._large[execution.task_id]
        large.taken = True
        self._release(large)

    def forget(self, execution: Execution) -> None:
        """The task has ended, or will not run here."""
        self.waiting.pop(execution.task_id, None)
        if execution.task_id in self._large:
            self._end(execution.task_id)

    # --- Bringing them here

    def _begin(self, execution: Execution) -> Large:
        dependencies = [each for each in execution.dependencies if type(each.content) is Stored]
        large = self._large[execution.task_id] = Large(
            tuple(dict.fromkeys(each.object_id for each in dependencies)), self._ask
        )
        for dependency in {each.object_id: each for each in dependencies}.values():
            reference = self._references.hold(dependency.object_id)
            if reference.content is None and not reference.owned:
                reference.content = dependency.content
        return large

    def _ask(self, large: Large) -> None:
        """Have all of them pinned, once it is known where they are."""
        wanted = []
        for object_id in large.object_ids:
            reference = self._references.table[object_id]
            content = reference.content
            if content is None:
                self._objects.watch(reference, large.known)
                return
            if isinstance(content, Stored):
                wanted.append(Wanted(object_id, content.size, content.nodes))
        blocks = self._blocks.table
        if all(each.object_id in blocks for each in wanted):
            for each in wanted:
                blocks[each.object_id].users += 1
            self._here(large, tuple(each.object_id for each in wanted))
            return
        self._counter += 1
        large.request = self._counter
        self._requests[large.request] = large
        self._send(large, large.request, tuple(wanted))

    def _send(self, large: Large, request: int, wanted: tuple[Wanted, ...] = ()) -> None:
        self._transport.send(self._owner.node_id, PinArguments(request, wanted, not large.started))

    def _here(self, large: Large, object_ids: tuple[ObjectId, ...]) -> None:
        large.pinned = object_ids
        large.waiter.complete()

    def on_arguments_pinned(self, sender: Address, message: ArgumentsPinned) -> None:
        """All arguments of a task are in this node's memory."""
        large = self._requests.pop(message.request, None)
        if large is None:
            for object_id, _, _ in message.blocks:
                self._transport.send(sender, UnpinObject(object_id, 1))
            return
        large.request = 0
        for object_id, offset, size in message.blocks:
            self._blocks.adopt(object_id, offset, size, 1)
        self._here(large, tuple(object_id for object_id, _, _ in message.blocks))

    def on_arguments_failed(self, sender: Address, message: ArgumentsFailed) -> None:
        """One argument is not where it should be, or there is no room for all."""
        large = self._requests.pop(message.request, None)
        if large is None:
            return
        large.request = 0
        if message.full:
            large.failure = error_value(errors.ObjectStoreFullError(message.reason))
            large.waiter.complete()
        else:
            self._objects.not_there(self._references.lookup(message.object_id), message.nodes)
            self._ask(large)

    # --- Giving them back

    def _end(self, task_id: TaskId) -> None:
        large = self._large.pop(task_id)
        self._ahead -= large.ahead
        if large.request:
            del self._requests[large.request]
            self._transport.send(self._owner.node_id, DropArguments(large.request))
        self._objects.unwatch(large.object_ids, large.known)
        pinned, large.pinned = large.pinned, ()
        for object_id in pinned:
            self._blocks.unused(object_id)
        if not large.taken:
            self._release(large)

    def _release(self, large: Large) -> None:
        for object_id in large.object_ids:
            self._references.release(object_id)

    def _make_way(self) -> None:
        """Room is short: what tasks that have not started need makes way. Those that run need what they have."""
        for task_id, large in list(self._large.items()):
            if not large.started:
                self._end(task_id)
        makes_progress = self._executor.makes_progress
        if any(large.taken and makes_progress(task_id) for task_id, large in self._large.items()):
            self._transport.send(self._owner.node_id, ArgumentsInUse())


def _has_large(execution: Execution) -> bool:
    return any(type(dependency.content) is Stored for dependency in execution.dependencies)
