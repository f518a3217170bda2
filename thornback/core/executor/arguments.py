"""Large arguments of tasks: on their way to this process before and while the tasks start."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from thornback.core.blocking import Fetch
from thornback.core.config import Config
from thornback.core.ids import ObjectId, TaskId
from thornback.core.messages import Dependency, Stored
from thornback.core.owner import Owner

if TYPE_CHECKING:
    from thornback.core.executor.execution import Execution
    from thornback.core.executor.executor import Executor


class Arguments:
    """The transfers of large arguments of all tasks that run or wait here."""

    def __init__(self, executor: Executor, config: Config) -> None:
        self._executor = executor
        self._owner: Owner = executor.owner
        self._fetches: dict[tuple[TaskId, ObjectId], Fetch] = {}
        self._ahead = 0
        """Bytes of arguments that were brought here before their tasks have started."""
        self._ahead_limit = min(config.prefetch_limit, self._owner.objects.memory.capacity // 16)
        self._owner.objects.before_trim = self._give_up_prefetched

    def prefetch(self, execution: Execution) -> bool:
        """Bring the large arguments of a task here, as far as :attr:`Config.prefetch_limit` allows; False if it does
        not."""
        for dependency in execution.dependencies:
            content = dependency.content
            if isinstance(content, Stored) and (execution.task_id, dependency.object_id) not in self._fetches:
                if self._ahead and self._ahead + content.size > self._ahead_limit:
                    return False
                self._ahead += content.size
                self._fetch(execution.task_id, dependency).ahead = content.size
        return True

    def _prefetch_next(self, queue: Iterable[Execution]) -> None:
        for execution in queue:
            if not self.prefetch(execution):
                return

    def _give_up_prefetched(self) -> None:
        """Room is short: arguments of tasks that have not started make way."""
        for key, fetch in list(self._fetches.items()):
            if key[0] not in self._executor.running:
                del self._fetches[key]
                self._ahead -= fetch.ahead
                fetch.abandon()

    def _fetch(self, task: TaskId, dependency: Dependency) -> Fetch:
        key = (task, dependency.object_id)
        fetch = self._fetches.get(key)
        if fetch is None:
            reference = self._owner.references.hold(dependency.object_id)
            if reference.content is None and not reference.owned:
                reference.content = dependency.content
            fetch = self._fetches[key] = Fetch(self._executor.runtime, [dependency.object_id])
            self._owner.references.release(dependency.object_id)
        return fetch

    def fetch(self, execution: Execution, dependency: Dependency) -> Fetch:
        """The transfer of a large argument, under way since its task arrived here. Called in a user thread."""
        with self._executor.runtime.turn:
            fetch = self._fetch(execution.task_id, dependency)
            del self._fetches[(execution.task_id, dependency.object_id)]
            self._ahead -= fetch.ahead
            if fetch.ahead:
                self._prefetch_next(self._executor.lanes[""].queue)
        return fetch

    def forget(self, execution: Execution) -> None:
        """The task has ended, or will not run here."""
        for dependency in execution.dependencies:
            fetch = self._fetches.pop((execution.task_id, dependency.object_id), None)
            if fetch is not None:
                self._ahead -= fetch.ahead
                fetch.abandon()
