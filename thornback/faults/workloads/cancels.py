"""Storms of cancellations: a task that was cancelled never brings a value afterwards, all others always do."""

from __future__ import annotations

import random
import time
from typing import Any

import thornback as ray
from thornback.exceptions import TaskCancelledError, WorkerCrashedError
from thornback.faults.workloads.checks import check, check_equal, outcome


@ray.remote(max_retries=-1, num_cpus=0.5)
def work(number: int, seconds: float) -> int:
    """Sleeps, so that there is something to interrupt."""
    time.sleep(seconds)
    return number


@ray.remote(max_retries=-1, num_cpus=0.5)
def parent(number: int, children: int) -> int:
    """Waits for tasks of its own, which are cancelled with it."""
    return number + sum(ray.get([work.remote(0, 0.2) for _ in range(children)]))


@ray.remote(max_retries=-1, num_cpus=0.5)
def after(value: int) -> int:
    """Depends on a task that may be cancelled."""
    return value + 1


@ray.remote(num_cpus=0.5, max_restarts=-1, max_task_retries=-1)
class Busy:
    """Its calls wait in a queue, and can be cancelled there."""

    def work(self, number: int, seconds: float) -> int:
        """One call at a time."""
        time.sleep(seconds)
        return number


def submit(actor: Any, chance: random.Random, number: int) -> Any:
    """A task or call of some kind."""
    seconds = chance.choice((0.0, 0.05, 0.3))
    kind = chance.randrange(4)
    if kind == 0:
        return actor.work.remote(number, seconds / 3)
    if kind == 1:
        return parent.remote(number, 3)
    return work.remote(number, seconds)


def storm(actor: Any, chance: random.Random, tasks: int) -> None:
    """Submit, cancel about half, and look at all results twice."""
    refs = {number: submit(actor, chance, number) for number in range(tasks)}
    dependants = {number: after.remote(ref) for number, ref in refs.items() if number % 3 == 0}
    time.sleep(chance.choice((0.0, 0.1, 0.4)))
    cancelled = sorted(chance.sample(sorted(refs), tasks // 2))
    for number in cancelled:
        ray.cancel(refs[number], recursive=chance.random() < 0.5)
        if chance.random() < 0.2:
            time.sleep(0.02)
    first: dict[int, Any] = {}
    for number, ref in refs.items():
        allowed: tuple[type[BaseException], ...] = (TaskCancelledError,) if number in cancelled else ()
        first[number] = found = outcome(f"task {number} of the storm", ref, allowed)
        check_equal(f"the value of task {number}", found if isinstance(found, int) else number, number)
    time.sleep(0.3)
    for number, ref in refs.items():
        again = outcome(f"task {number} of the storm, read again,", ref, (TaskCancelledError,))
        check_equal(f"the kind of result of task {number}, read again,", type(again), type(first[number]))
    for number, ref in dependants.items():
        failed = isinstance(first[number], BaseException)
        found = outcome(f"what depends on task {number}", ref, (TaskCancelledError,) if failed else ())
        check(failed or found == number + 1, f"what depends on task {number} must be {number + 1}, and is {found!r}")


def by_force(tasks: int) -> None:
    """The worker ends with the task; other tasks that it had are not cancelled with it."""
    doomed, others = [], []
    for number in range(tasks):
        doomed.append(work.remote(number, 30))
        others.append(work.remote(number, 0.05))
    time.sleep(0.3)
    for ref in doomed:
        ray.cancel(ref, force=True)
    for number, ref in enumerate(doomed):
        found = outcome(f"task {number}, cancelled by force,", ref, (TaskCancelledError, WorkerCrashedError))
        check(isinstance(found, BaseException), f"task {number} was cancelled in time, and brought {found!r}")
    check_equal("the tasks that nobody cancelled", ray.get(others), list(range(tasks)))


def main(storms: int = 3, tasks: int = 24, seed: int = 1) -> None:
    """Several storms, then some cancellations by force."""
    ray.init(ignore_reinit_error=True)
    actor, chance = Busy.remote(), random.Random(seed)
    for _ in range(storms):
        storm(actor, chance, tasks)
    by_force(4)


if __name__ == "__main__":
    main()
