"""Tasks whose worker dies, or that raise, are tried again: as often as they may be, and never more."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

import thornback as ray
from thornback.exceptions import WorkerCrashedError


def test_a_task_whose_worker_dies_is_tried_again(world: Any) -> None:
    counter = world.counter()

    @ray.remote(max_retries=2)
    def fragile() -> str:
        if ray.get(counter.add.remote()) <= 2:
            os._exit(1)
        return "survived"

    assert ray.get(fragile.remote()) == "survived"
    assert ray.get(counter.get.remote()) == 3


def test_a_killed_worker_is_no_different(world: Any) -> None:
    counter = world.counter()

    @ray.remote(max_retries=1)
    def fragile() -> str:
        if ray.get(counter.add.remote()) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return "survived"

    assert ray.get(fragile.remote()) == "survived"


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_a_task_starts_at_most_once_plus_its_retries(world: Any, retries: int) -> None:
    counter = world.counter()

    @ray.remote(max_retries=retries)
    def doomed() -> None:
        ray.get(counter.add.remote())
        os._exit(1)

    with pytest.raises(WorkerCrashedError, match="doomed"):
        ray.get(doomed.remote())
    assert ray.get(counter.get.remote()) == 1 + retries


def test_three_retries_are_the_default(world: Any) -> None:
    counter = world.counter()

    @ray.remote
    def doomed() -> None:
        ray.get(counter.add.remote())
        os._exit(1)

    with pytest.raises(WorkerCrashedError):
        ray.get(doomed.remote())
    assert ray.get(counter.get.remote()) == 4


def test_retries_without_limit_go_on(world: Any) -> None:
    counter = world.counter()

    @ray.remote(max_retries=-1)
    def stubborn() -> str:
        if ray.get(counter.add.remote()) <= 6:
            os._exit(1)
        return "at last"

    assert ray.get(stubborn.remote()) == "at last"


@pytest.mark.cluster(cpus=1)
def test_tasks_that_wait_behind_one_that_crashes_lose_nothing(world: Any) -> None:
    @ray.remote(max_retries=0)
    def work(x: int) -> int:
        if x == 5:
            os._exit(1)
        return x

    ray.get([work.remote(0) for _ in range(200)])  # known as short: from now on many are sent to the worker at once
    refs = [work.remote(x) for x in range(20)]
    results: list[Any] = []
    for ref in refs:
        try:
            results.append(ray.get(ref))
        except WorkerCrashedError:
            results.append("crashed")
    assert results == [x if x != 5 else "crashed" for x in range(20)], (
        "only the task that was running when the worker died has failed: results of those before it have left, and "
        "those that had not started run elsewhere"
    )


def test_an_exception_is_not_retried_unless_asked_for(world: Any) -> None:
    counter = world.counter()

    @ray.remote
    def fail() -> None:
        ray.get(counter.add.remote())
        raise ValueError("once")

    with pytest.raises(ValueError):
        ray.get(fail.remote())
    assert ray.get(counter.get.remote()) == 1


def test_every_exception_is_retried_when_asked_for(world: Any) -> None:
    counter = world.counter()

    @ray.remote(max_retries=2, retry_exceptions=True)
    def unsure() -> int:
        count = int(ray.get(counter.add.remote()))
        if count <= 2:
            raise ValueError(f"try {count}")
        return count

    assert ray.get(unsure.remote()) == 3


def test_after_the_last_retry_the_last_exception_is_raised(world: Any) -> None:
    counter = world.counter()

    @ray.remote(max_retries=2, retry_exceptions=True)
    def fail() -> None:
        raise ValueError(f"try {ray.get(counter.add.remote())}")

    with pytest.raises(ValueError, match="try 3"):
        ray.get(fail.remote())


def test_only_listed_exceptions_are_retried(world: Any) -> None:
    class Flaky(Exception):
        pass

    class VeryFlaky(Flaky):
        pass

    @ray.remote(max_retries=5, retry_exceptions=[Flaky, OSError])
    def unsure(counter: Any, kinds: list[Any]) -> str:
        count = int(ray.get(counter.add.remote()))
        if count <= len(kinds):
            raise kinds[count - 1]("no")
        return "done"

    counter = world.counter()
    assert ray.get(unsure.remote(counter, [Flaky, VeryFlaky, FileNotFoundError])) == "done"
    assert ray.get(counter.get.remote()) == 4
    with pytest.raises(ValueError):
        ray.get(unsure.remote(world.counter(), [Flaky, ValueError]))


def test_a_retry_knows_its_number(world: Any) -> None:
    @ray.remote(max_retries=3, retry_exceptions=True)
    def count() -> int:
        attempt = int(ray.get_runtime_context().get_attempt_number())
        if attempt < 2:
            raise ValueError
        return attempt

    assert ray.get(count.remote()) == 2


def test_a_retry_gets_its_arguments_again(world: Any) -> None:
    import numpy

    counter = world.counter()

    @ray.remote(max_retries=1)
    def fragile(array: Any, value: int) -> int:
        if ray.get(counter.add.remote()) == 1:
            os._exit(1)
        return int(array.sum()) + value

    ref = fragile.remote(ray.put(numpy.ones(50_000)), ray.put(7))
    assert ray.get(ref) == 50_007


def test_max_calls_ends_the_worker(world: Any) -> None:
    @ray.remote(max_calls=1)
    def where() -> str:
        return ray.get_runtime_context().get_worker_id()

    workers = [ray.get(where.remote()) for _ in range(4)]
    assert len(set(workers)) == 4, "each call has a worker of its own"
    assert len(set(ray.get([where.remote() for _ in range(6)]))) == 6


def test_max_calls_counts_calls_of_the_function(world: Any) -> None:
    @ray.remote(max_calls=3)
    def where() -> str:
        return ray.get_runtime_context().get_worker_id()

    workers = [ray.get(where.remote()) for _ in range(12)]
    assert all(workers.count(worker) <= 3 for worker in workers)
    assert len(set(workers)) >= 4


def test_a_crash_does_not_disturb_tasks_of_other_workers(world: Any) -> None:
    @ray.remote(max_retries=0)
    def crash() -> None:
        os._exit(1)

    @ray.remote
    def work(x: int) -> int:
        return x

    crashes = [crash.remote() for _ in range(3)]
    assert ray.get([work.remote(x) for x in range(100)]) == list(range(100))
    for ref in crashes:
        with pytest.raises(WorkerCrashedError):
            ray.get(ref)


def test_a_dead_worker_is_described(world: Any) -> None:
    @ray.remote(max_retries=0)
    def crash() -> None:
        os._exit(7)

    with pytest.raises(WorkerCrashedError, match="exit code 7"):
        ray.get(crash.remote())
