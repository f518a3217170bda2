"""The tasks that this process has submitted: their arguments, ends and retries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from thornback.core import errors
from thornback.core.backoff import Backoff
from thornback.core.config import Config
from thornback.core.ids import ActorId, Address, ObjectId, TaskId, return_id, short, task_id, task_of
from thornback.core.messages import (
    Content,
    Dependency,
    FunctionDefinition,
    Stored,
    TaskCall,
    TaskReply,
    TaskTemplate,
    Value,
)
from thornback.core.owner.lineage import Lineage
from thornback.core.owner.references import Reference
from thornback.core.owner.task import BACKOFF, DONE, PUSHED, QUEUED, SUPERSEDED, WAITING, Task
from thornback.core.serialization import error_value

if TYPE_CHECKING:
    from thornback.core.owner.owner import Owner


class _Resolution(msgspec.Struct, frozen=True, gc=False):
    """Tells a task that an argument is known: equal, and so counted once, however often the task asks."""

    tasks: Tasks
    task: Task

    def __call__(self, _reference: Reference) -> None:
        self.tasks.one_resolved(self.task)


class Tasks:
    """Submission, completion and retries.

    Every change of a task's state goes through this class; :mod:`.leases` and :mod:`.actors` carry tasks to workers.
    """

    def __init__(self, owner: Owner, config: Config) -> None:
        self.owner = owner
        self.config = config
        self.references = owner.references
        self.objects = owner.objects
        self.trace = owner.ports.trace
        self.table: dict[TaskId, Task] = {}
        self.definitions: dict[bytes, FunctionDefinition] = {}
        self.unfinished = 0
        self.lineage = Lineage(owner, self, config)
        self._backoff = Backoff(config.retry_backoff, config.retry_backoff_limit)
        self._jitter = owner.ports.random.stream("retry-jitter")
        self._oom_retries: dict[TaskId, int] = {}
        """Retries that unfinished tasks have had since memory was short; these do not count as ``max_retries``."""

    # --- Submission

    def submit(
        self,
        template: TaskTemplate,
        definition: FunctionDefinition | None,
        arguments: Value,
        dependencies: tuple[ObjectId, ...],
        parent: TaskId,
        actor_id: ActorId = b"",
    ) -> Task:
        """Register a call; its returns exist from now on, with one local reference each."""
        owner = self.owner
        if definition is not None and definition.function_id not in self.definitions:
            self.definitions[definition.function_id] = definition
            for object_id in definition.contained:
                self.references.hold(object_id)
        owner.counter += 1
        identifier = task_id(owner.worker_id, owner.counter)
        task = Task(identifier, template, arguments, dependencies, parent, actor_id, template.max_retries)
        self.table[task.task_id] = task
        self.unfinished += 1
        now = owner.ports.clock.now()
        if template.num_returns == 1:
            self.references.new_owned(return_id(identifier, 0), 1, template, now)
            task.live_returns = 1
        else:
            for object_id in task.returns():
                self.references.new_owned(object_id, 1, template, now)
                task.live_returns += 1
            if template.num_returns < 0:
                owner.streams.open(task)
        if self.trace.enabled:
            self.trace.event("task.submitted", task.task_id, (template.name, template.max_retries, actor_id))
        if actor_id:
            owner.actors.admit(task)
        if dependencies or arguments.contained:
            for object_id in arguments.contained:
                self.references.hold(object_id)
            for object_id in dependencies:
                self.references.hold(object_id)
            self.resolve(task)
        else:
            self._resolved(task)
        return task

    def resolve(self, task: Task) -> None:
        """Wait until all arguments are known; then the task may run."""
        task.state = WAITING
        task.unresolved = 1
        for object_id in dict.fromkeys(task.dependencies):
            reference = self.references.lookup(object_id)
            if reference.content is None:
                task.unresolved += 1
                self.objects.watch(reference, _Resolution(self, task))
        self.one_resolved(task)

    def one_resolved(self, task: Task) -> None:
        """An argument that the task waits for is known."""
        if task.state != WAITING:
            return
        task.unresolved -= 1
        if task.unresolved > 0:
            return
        for object_id in task.dependencies:
            content = self.references.lookup(object_id).content
            if content is None:
                self.resolve(task)
                return
            if isinstance(content, Value) and content.is_error:
                self._finish(task, content)
                return
        self._resolved(task)

    def _resolved(self, task: Task) -> None:
        task.state = QUEUED
        if task.actor_id:
            self.owner.actors.ready(task)
        else:
            self.owner.leases.enqueue(task)

    def call_of(self, task: Task) -> TaskCall:
        """The task as it travels; its dependencies are resolved."""
        dependencies: tuple[Dependency, ...] = ()
        if task.dependencies:
            table = self.references.table
            known = [(object_id, table[object_id].content) for object_id in task.dependencies]
            dependencies = tuple(Dependency(object_id, content) for object_id, content in known if content is not None)
        return TaskCall(
            task.task_id, task.template.key, task.arguments, dependencies, task.attempt, task.sequence, task.parent
        )

    def still_resolved(self, task: Task) -> bool:
        """Whether all arguments are (still) known. If not, the task goes back to waiting for them; if one has failed
        meanwhile, the task fails with it."""
        for object_id in task.dependencies:
            content = self.references.lookup(object_id).content
            if content is None or (isinstance(content, Value) and content.is_error):
                if task.twin is not None and self.owner.speculation.is_copy(task):
                    self.owner.speculation.copy_ended(task)
                elif content is None:
                    self.resolve(task)
                else:
                    self._finish(task, content)
                return False
        return True

    # --- Ends

    def reply(self, sender: Address, source: bytes, reply: TaskReply) -> Task | None:
        """One attempt has ended. Returns the task if the reply was for its present attempt, else None."""
        for object_id in reply.kept:
            self.references.add_borrower(object_id, sender)
        task = self.table.get(reply.task_id)
        if (
            task is None
            or task.state != PUSHED
            or task.attempt != reply.attempt
            or task.worker != sender
            or (self.references.peers.dead and self.references.is_dead(sender))
        ) and not self._is_from_copy(task, sender, reply):
            for index, content in enumerate(reply.results):
                self.refuse(return_id(reply.task_id, index), content, sender)
            return None
        assert task is not None
        if task.twin is not None and reply.error is not None:
            ended = self.owner.speculation.run_failed(task)
            if ended is not None:
                return ended
        if task.template.replay and not (reply.cancelled or task.cancelled):
            task.logged = True
        if reply.error is None and task.cancelled:
            self.cancelled(task)
            for index, content in enumerate(reply.results):
                self.refuse(return_id(task.task_id, index), content, sender)
        elif reply.error is None:
            self._succeed(task, reply, sender)
        elif reply.cancelled:
            self._finish(task, reply.error)
        elif reply.retryable and task.retries_left and not task.cancelled:
            self._retry(task)
        else:
            self._finish(task, reply.error)
        return task

    def _is_from_copy(self, task: Task | None, sender: Address, reply: TaskReply) -> bool:
        if task is None or task.twin is None or self.references.is_dead(sender):
            return False
        return self.owner.speculation.reply_of_copy(task, sender, reply)

    def let_go(self, content: Content, sender: Address) -> None:
        """A content arrived that nobody wants: give back the registrations that came with it."""
        for object_id in content.contained:
            self.references.handed_over(object_id, sender)
            self.references.release(object_id)

    def refuse(self, object_id: ObjectId, content: Content, sender: Address) -> None:
        """As :meth:`let_go`; a stored copy that nothing here knows of is deleted too. If the object is just being made
        once more, that may be on the same node, where the two are one: then the copy goes when the object does."""
        self.let_go(content, sender)
        if isinstance(content, Stored):
            reference = self.references.table.get(object_id)
            if reference is not None and reference.content is None and not reference.released:
                reference.strays = tuple(dict.fromkeys((*reference.strays, *content.nodes)))
                return
            known = None if reference is None else reference.content
            kept = known.nodes if isinstance(known, Stored) else ()
            self.objects.free(object_id, [node for node in content.nodes if node not in kept])

    def accept(self, object_id: ObjectId, content: Content, sender: Address) -> None:
        """A return value or generator item has been made by the process ``sender``."""
        reference = self.references.table.get(object_id)
        if reference is None or reference.released or reference.content is not None:
            self.refuse(object_id, content, sender)
        else:
            for contained in content.contained:
                self.references.handed_over(contained, sender)
            self.objects.set_content(reference, content)

    def _succeed(self, task: Task, reply: TaskReply, sender: Address) -> None:
        stored = False
        self._end(task)
        for index, content in enumerate(reply.results):
            stored = stored or isinstance(content, Stored)
            self.accept(return_id(task.task_id, index), content, sender)
        lost: list[Reference] = []
        if task.template.num_returns < 0:
            lost = self.owner.streams.still_lost(task)
            stored = self.owner.streams.finished(task, reply.items, None) or stored
        if self.trace.enabled:
            self.trace.event("task.finished", task.task_id, task.attempt)
        self._settle_arguments(task, stored)
        for reference in lost:
            self.objects.rebuild(reference)

    def _finish(self, task: Task, error: Value) -> None:
        self._end(task)
        if self.trace.enabled:
            self.trace.event("task.failed", task.task_id, task.attempt)
        for object_id in task.returns():
            reference = self.references.table.get(object_id)
            if reference is not None and reference.content is None and not reference.released:
                self.objects.set_content(reference, error)
        if task.template.num_returns < 0:
            for reference in self.owner.streams.still_lost(task):
                self.objects.set_content(reference, error)
            self.owner.streams.finished(task, None, error)
        self._settle_arguments(task, False)

    def _end(self, task: Task) -> None:
        task.state = DONE
        task.worker = b""
        task.lease_id = b""
        self.unfinished -= 1
        if task.twin is not None:
            self.owner.speculation.settle(task)
        if self._oom_retries:
            self._oom_retries.pop(task.task_id, None)
        if self.lineage.rebuilding:
            self.lineage.rebuilding.pop(task.task_id, None)

    def is_running(self, object_id: ObjectId) -> bool:
        """Whether the task that makes an object is with a worker."""
        task = self.table.get(task_of(object_id))
        return task is not None and task.state == PUSHED

    def replay(self, task: Task) -> None:
        """An acknowledged call runs once more, for what it does to the actor; whoever called has the result."""
        task.attempt += 1
        self.unfinished += 1
        for object_id in task.dependencies:
            self.references.hold(object_id)
        if self.trace.enabled:
            self.trace.event("task.replayed", task.task_id, task.attempt)
        self.resolve(task)

    def forget_logged(self, task: Task) -> None:
        """An acknowledged call need not be replayed any more."""
        task.logged = False
        self.table.pop(task.task_id, None)
        for object_id in (*task.dependencies, *task.arguments.contained):
            self.references.release(object_id)

    def _settle_arguments(self, task: Task, keep: bool) -> None:
        if task.logged:
            if keep:
                self.lineage.note_final(task)
            self.owner.actors.log.acknowledged(task)
            return
        if keep and not task.retries_left:
            self.lineage.note_final(task)
        keep = keep and task.retries_left != 0 and task.live_returns > 0
        if keep:
            self.lineage.keep(task)
        for object_id in task.dependencies:
            self.references.release(object_id)
        if keep:
            self.lineage.trim()
        else:
            for object_id in task.arguments.contained:
                self.references.release(object_id)
            self.table.pop(task.task_id, None)
        if task.actor_id:
            self.owner.actors.ended(task)

    # --- Trouble

    def _other_run_decides(self, task: Task) -> bool:
        """Whether this run, which has come to nothing, is not the only one of its task, or has been given up."""
        if task.twin is None and task.state != SUPERSEDED:
            return False
        speculation = self.owner.speculation
        if speculation.is_copy(task):
            speculation.copy_ended(task)
            return True
        return speculation.other_goes_on(task) is not None

    def lost(self, task: Task, error: BaseException, started: bool, drained: bool = False) -> None:
        """The worker that had the task ended. One that never started is sent elsewhere and keeps its retries; so does
        one that may be retried at all, if it was ended since its node leaves (``drained``)."""
        if self._other_run_decides(task):
            return
        if task.cancelled:
            self.cancelled(task)
        elif not started:
            self._requeue(task)
        elif isinstance(error, errors.OutOfMemoryError):
            if self._may_retry_memory(task):
                self._retry(task, counted=False)
            else:
                self._finish(task, error_value(error))
        elif drained and task.template.max_retries:
            self._retry(task, counted=False)
        elif task.retries_left:
            self._retry(task)
        else:
            self._finish(task, error_value(error))

    def fail(self, task: Task, error: BaseException) -> None:
        """End an unfinished task with an error."""
        if (task.twin is not None or task.state == SUPERSEDED) and self.owner.speculation.is_copy(task):
            self.owner.speculation.copy_ended(task)
        elif task.state != DONE:
            self._finish(task, error_value(error))

    def cancelled(self, task: Task) -> None:
        """End an unfinished task as cancelled."""
        self.fail(task, errors.TaskCancelledError(f"task {task.template.name} ({short(task.task_id)}) was cancelled"))

    def returned(self, task: Task) -> None:
        """A worker gave the task back without starting it."""
        if self._other_run_decides(task):
            return
        if task.cancelled:
            self.cancelled(task)
        else:
            self._requeue(task)

    def _requeue(self, task: Task) -> None:
        task.worker = b""
        task.lease_id = b""
        if self.still_resolved(task):
            self._resolved(task)

    def _may_retry_memory(self, task: Task) -> bool:
        """Count one more end for want of memory; False if the budget for that is used up."""
        if not task.template.max_retries:
            return False
        count = self._oom_retries[task.task_id] = self._oom_retries.get(task.task_id, 0) + 1
        return self.config.oom_retries < 0 or count <= self.config.oom_retries

    def _retry(self, task: Task, counted: bool = True) -> None:
        if counted and task.retries_left > 0:
            task.retries_left -= 1
        elif not counted and self.trace.enabled:
            self.trace.event("task.excused", task.task_id, task.attempt)
        task.attempt = task.next_attempt()
        task.failed_once = False
        task.state = BACKOFF
        task.worker = b""
        for object_id in task.returns():
            reference = self.references.table.get(object_id)
            if reference is not None and reference.content is None:
                self.objects.free_strays(reference)
        if self.trace.enabled:
            self.trace.event("task.retried", task.task_id, task.attempt)
        delay = self._backoff.delay(task.attempt, self._jitter)
        self.owner.ports.clock.call_after(delay, lambda: self._retry_now(task))

    def _retry_now(self, task: Task) -> None:
        if task.state == BACKOFF:
            self._requeue(task)
