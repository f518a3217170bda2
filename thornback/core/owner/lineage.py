"""Finished tasks that can be run again, to rebuild the objects that they have made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thornback.core import errors
from thornback.core.config import Config
from thornback.core.ids import TaskId, short, task_of
from thornback.core.messages import Value
from thornback.core.owner.references import Reference
from thornback.core.owner.task import DONE, WAITING, Task
from thornback.core.serialization import error_value

if TYPE_CHECKING:
    from thornback.core.owner.owner import Owner
    from thornback.core.owner.tasks import Tasks


class Lineage:
    """What it takes to make lost objects again, up to :attr:`Config.lineage_limit` bytes of arguments."""

    def __init__(self, owner: Owner, tasks: Tasks, config: Config) -> None:
        self.owner = owner
        self.tasks = tasks
        self.limit = config.lineage_limit
        self.references = owner.references
        self.objects = owner.objects
        self.trace = owner.ports.trace
        self._sizes: dict[TaskId, int] = {}
        self._bytes = 0

    def keep(self, task: Task) -> None:
        """The task has finished, and its results could be lost."""
        for object_id in task.dependencies:
            self.references.add_lineage(object_id)
        size = self._sizes[task.task_id] = len(task.arguments.data) + 200
        self._bytes += size

    def trim(self) -> None:
        """Forget the oldest tasks where there are too many."""
        while self._bytes > self.limit:
            self.forget(self.tasks.table[next(iter(self._sizes))])

    def forget(self, task: Task) -> None:
        """A finished task need not be run again."""
        size = self._sizes.pop(task.task_id, None)
        if size is None:
            return
        self._bytes -= size
        self.tasks.table.pop(task.task_id, None)
        for object_id in task.dependencies:
            self.references.drop_lineage(object_id)
        for object_id in task.arguments.contained:
            self.references.release(object_id)

    def return_forgotten(self, reference: Reference) -> None:
        """The record of an owned object is gone; its task's lineage goes with the last of them."""
        task = self.tasks.table.get(task_of(reference.object_id))
        if task is not None:
            task.live_returns -= 1
            if task.live_returns <= 0 and task.state == DONE:
                self.forget(task)

    def recover(self, reference: Reference) -> bool:
        """Run the task of a lost object again; False if that cannot be done. ``reference.content`` is None."""
        task = self.tasks.table.get(task_of(reference.object_id))
        if task is None:
            return False
        if task.state != DONE:
            return True
        if not task.retries_left:
            return False
        size = self._sizes.pop(task.task_id)
        self._bytes -= size
        if task.retries_left > 0:
            task.retries_left -= 1
        task.attempt += 1
        task.state = WAITING
        self.tasks.unfinished += 1
        if self.trace.enabled:
            self.trace.event("task.rebuilding", task.task_id, task.attempt)
        for object_id in task.dependencies:
            dependency = self.references.hold(object_id)
            self.references.drop_lineage(object_id)
            if dependency.owned and dependency.released:
                dependency.released = False
                if not self.recover(dependency):
                    self.objects.set_content(dependency, self._not_rebuildable(dependency))
        if task.actor_id:
            self.owner.actors.admit(task)
        if task.template.num_returns < 0:
            self.owner.streams.reopen(task)
        self.tasks.resolve(task)
        return True

    def _not_rebuildable(self, reference: Reference) -> Value:
        text = (
            f"object {short(reference.object_id)}, needed to rebuild another, was freed and cannot be made again: it "
            "was put, its retries are used up, or its lineage was evicted"
        )
        return error_value(errors.ObjectReconstructionFailedError(text, reference.object_id.hex()))
