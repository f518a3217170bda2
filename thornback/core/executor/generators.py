"""Items of streaming generators: sent one by one, no further ahead of their consumer than the user allows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thornback.core.ids import Address, TaskId
from thornback.core.messages import STREAMING, Content, StreamConsumed, StreamItem
from thornback.core.runtime import Waiter

if TYPE_CHECKING:
    from thornback.core.executor.execution import Execution
    from thornback.core.executor.executor import Executor


class Generators:
    """The generator tasks of one worker."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._consumed: dict[TaskId, int] = {}
        """How many items the consumer has taken; -1: nobody takes any more."""
        self._room: dict[TaskId, tuple[int, Waiter]] = {}
        """Generators that wait, and for which count of taken items."""

    def item_made(self, execution: Execution, index: int, content: Content) -> None:
        """A generator has an item: send it once the caller is registered for what is in it, and let go of that."""
        message = StreamItem(execution.task_id, execution.attempt, index, content)
        replies = self._executor.replies
        handed, execution.handed = execution.handed, []

        def registered() -> None:
            self._executor.transport.send(execution.caller, message)
            replies.let_go(handed)

        replies.hand_over(execution.caller, content, registered)

    def room_for(self, execution: Execution, made: int) -> Waiter:
        """Completes when the generator may make its next item; its result is False if nobody wants any more."""
        limit = execution.template.backpressure
        consumed = self._consumed.get(execution.task_id, 0)
        if execution.template.num_returns != STREAMING or limit <= 0 or (consumed >= 0 and made - consumed < limit):
            return Waiter(0)
        waiter = Waiter()
        if consumed < 0:
            waiter.complete(False)
        else:
            self._room[execution.task_id] = (made - limit + 1, waiter)
        return waiter

    def on_stream_consumed(self, sender: Address, message: StreamConsumed) -> None:
        """The consumer has taken items, or is gone."""
        if not self._executor.has(message.task_id):
            return
        if message.count < 0 or message.count > self._consumed.get(message.task_id, 0):
            self._consumed[message.task_id] = message.count
        needed, waiter = self._room.get(message.task_id, (0, None))
        if waiter is not None and (message.count < 0 or message.count >= needed):
            del self._room[message.task_id]
            waiter.complete(message.count >= 0)

    def wake(self, task: TaskId) -> None:
        """Let a generator go on that waits for its consumer: it was cancelled."""
        waiter = self._room.pop(task, (0, None))[1]
        if waiter is not None:
            waiter.complete(False)

    def close(self, task: TaskId) -> None:
        """Nobody takes further items."""
        self._consumed[task] = -1
        self.wake(task)

    def forget(self, task: TaskId) -> None:
        """The task has ended."""
        self._consumed.pop(task, None)
        self._room.pop(task, None)
