"""Stopping tasks that somebody has cancelled, with what they have submitted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thornback.core.ids import Address, ObjectId, TaskId, owner_of, task_of
from thornback.core.messages import CancelRequest, CancelTask
from thornback.core.owner.task import DONE, PUSHED, Task

if TYPE_CHECKING:
    from thornback.core.owner.owner import Owner


class Cancellation:
    """Cancels tasks of this process, and asks the owners of others."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._tasks = owner.tasks

    def cancel(self, object_id: ObjectId, force: bool, recursive: bool) -> None:
        """Stop the task that makes an object, wherever it is; finished ones are left alone."""
        if owner_of(object_id) != self._owner.worker_id:
            self._owner.ports.transport.send(owner_of(object_id), CancelRequest(object_id, force, recursive))
            return
        task = self._tasks.table.get(task_of(object_id))
        if task is not None:
            self.cancel_task(task, force, recursive)

    def cancel_task(self, task: Task, force: bool, recursive: bool) -> None:
        """As :meth:`cancel`, for a task of this process."""
        if task.state == DONE or task.logged:
            return
        task.cancelled = True
        if self._owner.ports.trace.enabled:
            self._owner.ports.trace.event("task.cancel", task.task_id, task.state)
        if task.twin is not None:
            self._owner.speculation.settle(task, force)
        if task.state == PUSHED:
            self._owner.ports.transport.send(task.worker, CancelTask(task.task_id, force, recursive))
        else:
            self._owner.leases.withdraw(task)
            self._owner.actors.withdraw(task)
            self._tasks.cancelled(task)

    def on_cancel_request(self, sender: Address, message: CancelRequest) -> None:
        """A borrower wants one of our tasks stopped."""
        self.cancel(message.object_id, message.force, message.recursive)

    def children(self, parent: TaskId, force: bool) -> None:
        """Stop what a task of this process has submitted."""
        for task in [task for task in self._tasks.table.values() if task.parent == parent]:
            self.cancel_task(task, force, True)
