"""What the tasks on this worker wait for, and what it holds its resources for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thornback.core.ids import TaskId, owner_of
from thornback.core.messages.waits import (
    HANDLES,
    TASK,
    Held,
    IdleActor,
    Occupied,
    Queued,
    Reason,
    Running,
    Subject,
    Unknown,
)
from thornback.core.owner.reasons import OwnerReasons
from thornback.core.waits.blocked import BlockedThreads

if TYPE_CHECKING:
    from thornback.core.executor.execution import Execution
    from thornback.core.executor.executor import Executor


class ExecutorReasons:
    """Reads the executor's tables; changes nothing."""

    def __init__(self, owner: OwnerReasons, executor: Executor, blocked: BlockedThreads) -> None:
        self.owner = owner
        self.executor = executor
        self.blocked = blocked
        self.worker_id = blocked.worker_id

    def of_task(self, task_id: TaskId) -> Reason:
        """A task, call or constructor on this worker."""
        execution = self.executor.running.get(task_id)
        if execution is not None:
            return self._of_running(execution)
        for lane in self.executor.lanes.values():
            for queued in lane.queue:
                if queued.task_id == task_id:
                    running = [each for each in self.executor.running.values() if each.lane == queued.lane]
                    return Queued(name=queued.name, needs=self._tasks(running), needed=1, limit=lane.limit)
        return Unknown(why="has left its worker; its result is on the way")

    def _of_running(self, execution: Execution) -> Reason:
        wait = self.blocked.of_task(execution.task_id)
        awaits = [] if wait is not None else self.blocked.awaits_of(execution.task_id)
        if awaits:
            return self.owner.of_awaits(awaits, execution.name, self.executor.pid)
        if wait is None:
            return Running(name=execution.name, since=execution.started, pid=self.executor.pid)
        return self.owner.of_wait(self.blocked, wait, execution.name, self.executor.pid)

    def _tasks(self, executions: list[Execution]) -> tuple[Subject, ...]:
        return tuple(Subject(self.worker_id, TASK, each.task_id) for each in executions)

    def of_holder(self) -> Reason:
        """What this worker has its resources for."""
        running = list(self.executor.running.values())
        if running:
            since = max(each.started for each in running)
            return Occupied(name=running[0].name, needs=self._tasks(running), needed=len(running), since=since)
        spec = self.executor.actor.spec
        if spec is None or spec.detached or any(lane.queue for lane in self.executor.lanes.values()):
            return Unknown(why="has nothing to do at the moment")
        handles = Subject(owner_of(spec.actor_id), HANDLES, spec.actor_id)
        return IdleActor(name=spec.definition.name, needs=(handles,), needed=1)

    def of_process(self) -> Reason:
        """What this worker is about, as one that might act on others: any of its tasks can."""
        running = list(self.executor.running.values())
        if not running:
            return Unknown(why="has nothing to do at the moment")
        return Held(name=running[0].name, needs=self._tasks(running), needed=1)
