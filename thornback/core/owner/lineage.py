"""Finished tasks that can be run again, to rebuild the objects that they have made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from thornback.core import errors
from thornback.core.config import Config
from thornback.core.ids import ObjectId, TaskId, short, task_of
from thornback.core.messages import Value
from thornback.core.owner.references import Reference
from thornback.core.owner.task import DONE, WAITING, Task
from thornback.core.serialization import error_value

if TYPE_CHECKING:
    from thornback.core.owner.owner import Owner
    from thornback.core.owner.tasks import Tasks

FINAL_KEPT = 10_000
"""Finished tasks that cannot run again and of which an owner remembers why."""


class Lineage:
    """What it takes to make lost objects again, up to :attr:`Config.lineage_limit` bytes of arguments."""

    def __init__(self, owner: Owner, tasks: Tasks, config: Config) -> None:
        self.owner = owner
        self.tasks = tasks
        self.limit = config.lineage_limit
        self.references = owner.references
        self.objects = owner.objects
        self.trace = owner.ports.trace
        self.rebuilding: dict[TaskId, None] = {}
        """Unfinished tasks that run again since their results were lost."""
        self._sizes: dict[TaskId, int] = {}
        self._bytes = 0
        self._pinned: dict[TaskId, tuple[ObjectId, ...]] = {}
        """Arguments whose values are kept, by task."""
        self._final: dict[TaskId, str] = {}
        """Why finished tasks cannot run again though their results could be lost; the latest of them."""

    def keep(self, task: Task) -> None:
        """The task has finished, and its results could be lost."""
        size = len(task.arguments.data) + 200
        if task.dependencies:
            size += self._keep_arguments(task)
        self._sizes[task.task_id] = size
        self._bytes += size

    def _keep_arguments(self, task: Task) -> int:
        """Of arguments that this process can make again, their lineage is kept; of small ones and of those that others
        own, the value. Returns the bytes of these."""
        pinned: list[ObjectId] = []
        size = 0
        for object_id in task.dependencies:
            reference = self.references.lookup(object_id)
            content = reference.content
            if isinstance(content, Value) or not reference.owned:
                self.references.hold(object_id)
                pinned.append(object_id)
                size += 0 if content is None else content.size
            else:
                self.references.add_lineage(object_id)
        if pinned:
            self._pinned[task.task_id] = tuple(pinned)
        return size

    def _drop_arguments(self, task: Task) -> None:
        pinned = self._pinned.pop(task.task_id, ())
        for object_id in task.dependencies:
            if object_id not in pinned:
                self.references.drop_lineage(object_id)
        for object_id in pinned:
            self.references.release(object_id)

    def trim(self) -> None:
        """Forget the oldest tasks where there are too many."""
        while self._bytes > self.limit:
            task = self.tasks.table[next(iter(self._sizes))]
            limit = f"lineage_limit, {self.limit:,} bytes of arguments"
            self._note(task, f"the lineage of {task.template.name} was evicted ({limit})")
            self.forget(task)

    def note_final(self, task: Task) -> None:
        """The task has finished, its results could be lost, and it may not run again."""
        self._note(task, _why_final(task))

    def _note(self, task: Task, why: str) -> None:
        self._final[task.task_id] = why
        if len(self._final) > FINAL_KEPT:
            del self._final[next(iter(self._final))]

    def forget(self, task: Task) -> None:
        """A finished task need not be run again."""
        size = self._sizes.pop(task.task_id, None)
        if size is None:
            return
        self._bytes -= size
        self.tasks.table.pop(task.task_id, None)
        self._drop_arguments(task)
        for object_id in task.arguments.contained:
            self.references.release(object_id)

    def return_forgotten(self, reference: Reference) -> None:
        """The record of an owned object is gone; its task's lineage goes with the last of them."""
        task = self.tasks.table.get(task_of(reference.object_id))
        if task is not None:
            task.live_returns -= 1
            if task.live_returns <= 0 and task.state == DONE:
                self.forget(task)

    def recover(self, reference: Reference) -> str:
        """Run the task of a lost object again, after those whose freed results it needs; otherwise say why that cannot
        be done. ``reference.content`` is None."""
        task, obstacle = self._begin_again(reference)
        waiting = [(task, self._freed_arguments(task))] if task is not None else []
        while waiting:
            last, freed = waiting[-1]
            dependency = next(freed, None)
            if dependency is None:
                waiting.pop()
                self._run_again(last)
                continue
            dependency.released = False
            task, why = self._begin_again(dependency)
            if task is not None:
                waiting.append((task, self._freed_arguments(task)))
            elif why:
                self.objects.set_content(dependency, self._not_rebuildable(dependency, why))
        return obstacle

    def _freed_arguments(self, task: Task) -> Iterator[Reference]:
        needed = (self.references.lookup(object_id) for object_id in task.dependencies)
        return (dependency for dependency in needed if dependency.owned and dependency.released)

    def _begin_again(self, reference: Reference) -> tuple[Task | None, str]:
        """The task that is to run again for a lost object; or why it cannot; or neither: it runs already."""
        task = self.tasks.table.get(task_of(reference.object_id))
        if task is None:
            known = self._final.get(task_of(reference.object_id))
            return None, known or "it was put, or its task is too long ago to be remembered"
        if task.state != DONE:
            self.owner.streams.lost(task, reference.object_id)
            return None, ""
        if not task.retries_left or task.logged:
            return None, _why_final(task)
        size = self._sizes.pop(task.task_id)
        self._bytes -= size
        if task.retries_left > 0:
            task.retries_left -= 1
        task.attempt = task.next_attempt()
        task.failed_once = False
        self.rebuilding[task.task_id] = None
        task.state = WAITING
        self.tasks.unfinished += 1
        if self.trace.enabled:
            self.trace.event("task.rebuilding", task.task_id, task.attempt)
        for object_id in task.dependencies:
            self.references.hold(object_id)
        self._drop_arguments(task)
        if task.template.num_returns < 0:
            self.owner.streams.reopen(task)
            self.owner.streams.lost(task, reference.object_id)
        return task, ""

    def _run_again(self, task: Task) -> None:
        if task.actor_id:
            self.owner.actors.admit(task)
        self.tasks.resolve(task)

    def _not_rebuildable(self, reference: Reference, why: str) -> Value:
        name = short(reference.object_id)
        text = f"object {name}, needed to rebuild another, was freed and cannot be made again: {why}"
        return error_value(errors.ObjectReconstructionFailedError(text, reference.object_id.hex()))


def _why_final(task: Task) -> str:
    if task.template.replay:
        return f"{task.template.name} belongs to an actor with checkpoints, where each call counts once"
    retries = task.template.max_retries
    option = "max_task_retries" if task.actor_id else "max_retries"
    if not retries:
        return f"{task.template.name} has {option}=0"
    return f"{task.template.name} has used up its retries ({option}={retries})"
