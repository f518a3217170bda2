"""Tasks of one scheduling class that wait, where some have another priority than others."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TypeAlias

from thornback.core.owner.task import Task


class PriorityQueue:
    """As much of a deque as a scheduling class uses; higher priorities first, equals in the order of arrival."""

    __slots__ = ("_by_priority",)

    def __init__(self, tasks: Iterable[Task] = ()) -> None:
        self._by_priority: dict[int, deque[Task]] = {}
        """Highest priority first; no empty entries."""
        for task in tasks:
            self.append(task)

    def append(self, task: Task) -> None:
        """Queue a task behind those of its priority."""
        priority = task.template.priority
        tasks = self._by_priority.get(priority)
        if tasks is None:
            self._by_priority[priority] = deque([task])
            self._by_priority = dict(sorted(self._by_priority.items(), reverse=True))
        else:
            tasks.append(task)

    def appendleft(self, task: Task) -> None:
        """Queue a task before those of its priority, of which there may be none."""
        self.append(task)
        tasks = self._by_priority[task.template.priority]
        tasks.appendleft(tasks.pop())

    def popleft(self) -> Task:
        """Take the first task.

        Raises:
            IndexError: there is none.
        """
        task = self[0]
        self.remove(task)
        return task

    def __getitem__(self, position: int) -> Task:
        for tasks in self._by_priority.values():
            if position < len(tasks):
                return tasks[position]
            position -= len(tasks)
        raise IndexError("no task at this position")

    def remove(self, task: Task) -> None:
        """Take a task out, which is here."""
        tasks = self._by_priority[task.template.priority]
        if tasks[0] is task:
            tasks.popleft()
        else:
            tasks.remove(task)
        if not tasks:
            del self._by_priority[task.template.priority]

    def clear(self) -> None:
        """Take all tasks out."""
        self._by_priority.clear()

    def __len__(self) -> int:
        return sum(map(len, self._by_priority.values()))

    def __contains__(self, task: object) -> bool:
        return any(task in tasks for tasks in self._by_priority.values())

    def __iter__(self) -> Iterator[Task]:
        for tasks in self._by_priority.values():
            yield from tasks


TaskQueue: TypeAlias = deque[Task] | PriorityQueue
"""A plain deque as long as all tasks of the process have the default priority."""
