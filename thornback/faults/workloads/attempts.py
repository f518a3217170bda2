"""Tasks that may run only so often: each start is noted with an actor before anything else happens."""

from __future__ import annotations

import time
import uuid
from typing import Any

import thornback as ray
from thornback.exceptions import WorkerCrashedError
from thornback.faults.workloads.checks import CheckFailed, check, outcome


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
class Starts:
    """Remembers the starts of tasks by a token for each. If it dies it forgets: then it knows of fewer."""

    def __init__(self) -> None:
        self.tokens: dict[tuple[int, int], set[str]] = {}

    def note(self, retries: int, task: int, token: str) -> int:
        """A task starts; returns its number of starts."""
        known = self.tokens.setdefault((retries, task), set())
        known.add(token)
        return len(known)


class Unlucky(Exception):
    """Raised by a task that wants to be repeated."""


EXCUSED = 3
"""Retries that do not count as such, since the worker was ended for want of memory or its node was leaving: no storm
has more of them for one task."""


def note_start(starts: Any, retries: int, task: int) -> int:
    """Note that a task starts, perhaps too often; returns how often it has. A task without retries starts once."""
    begun = int(ray.get(starts.note.remote(retries, task, uuid.uuid4().hex)))
    allowed = 1 + retries + (EXCUSED if retries else 0)
    if retries >= 0 and begun > allowed:
        raise CheckFailed(f"task {task} with max_retries={retries} may start {allowed} times; it has {begun} times")
    return begun


@ray.remote
def work(starts: Any, retries: int, task: int) -> int:
    """Some work; returns how often it has started."""
    begun = note_start(starts, retries, task)
    time.sleep(0.15)
    return begun


@ray.remote(retry_exceptions=[Unlucky])
def stubborn(starts: Any, retries: int, task: int) -> None:
    """Raises each time."""
    note_start(starts, retries, task)
    raise Unlucky(task)


def main(tasks: int = 30) -> None:
    """Tasks with no, one, two and any number of retries. Those with a limit may fail, but only with their worker."""
    ray.init(ignore_reinit_error=True)
    starts = Starts.remote()
    refs = {
        (retries, task): work.options(max_retries=retries).remote(starts, retries, task)
        for task in range(tasks)
        for retries in (0, 1, 2, -1)
    }
    raising = {task: stubborn.options(max_retries=2).remote(starts, 2, 1000 + task) for task in range(tasks // 3)}
    for (retries, task), ref in refs.items():
        allowed = () if retries < 0 else (WorkerCrashedError,)
        found = outcome(f"task {task} with max_retries={retries}", ref, allowed)
        check(isinstance(found, BaseException) or found >= 1, f"task {task} must have started, and has not")
    for task, failing in raising.items():
        found = outcome(f"task {task} that raises, with max_retries=2,", failing, (WorkerCrashedError, Unlucky))
        check(isinstance(found, BaseException), f"task {task} raises each time, and brought {found!r}")


if __name__ == "__main__":
    main()
