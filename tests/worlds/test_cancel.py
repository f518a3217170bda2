"""Cancelling: a task that waits never starts, one that runs is interrupted, and ``get`` says so."""

from __future__ import annotations

import time
from typing import Any

import pytest

import thornback as ray
from thornback.exceptions import TaskCancelledError, WorkerCrashedError


@pytest.mark.cluster(cpus=1)
def test_a_queued_task_is_cancelled_and_never_starts(world: Any) -> None:
    gate, witness = world.signal(), world.counter()

    @ray.remote
    def hold() -> None:
        ref = gate.wait.remote()
        while not ray.wait([ref], timeout=0)[0]:
            time.sleep(0.02)

    @ray.remote
    def work() -> None:
        ray.get(witness.add.remote())

    holding = hold.remote()
    queued = [work.remote() for _ in range(3)]
    for ref in queued:
        ray.cancel(ref)
    for ref in queued:
        with pytest.raises(TaskCancelledError, match="work"):
            ray.get(ref, timeout=20)
    gate.send.remote()
    ray.get(holding)
    assert ray.get(witness.get.remote()) == 0


def test_a_task_that_waits_for_arguments_can_be_cancelled(world: Any) -> None:
    gate = world.signal()

    @ray.remote
    def late() -> int:
        ray.get(gate.wait.remote())
        return 1

    @ray.remote
    def use(x: int) -> int:
        return x

    first = late.remote()
    second = use.remote(first)
    ray.cancel(second)
    with pytest.raises(TaskCancelledError):
        ray.get(second, timeout=20)
    gate.send.remote()
    assert ray.get(first) == 1


def test_a_running_task_is_interrupted_where_it_waits(world: Any) -> None:
    started = world.counter()

    @ray.remote
    def sleep() -> None:
        ray.get(started.add.remote())
        time.sleep(1000)

    ref = sleep.remote()
    world.eventually(lambda: ray.get(started.get.remote()) == 1, "the task runs")
    ray.cancel(ref)
    with pytest.raises(TaskCancelledError):
        ray.get(ref, timeout=20)


def test_a_task_that_waits_in_get_is_interrupted(world: Any) -> None:
    gate = world.signal()

    @ray.remote
    def wait() -> None:
        ray.get(gate.wait.remote())

    ref = wait.remote()
    world.eventually(lambda: ray.get(gate.count.remote()) == 1, "the task waits")
    ray.cancel(ref)
    with pytest.raises(TaskCancelledError):
        ray.get(ref, timeout=20)
    gate.send.remote()


def test_a_cancelled_task_can_clean_up(world: Any) -> None:
    started, cleaned = world.counter(), world.counter()

    @ray.remote
    def work() -> None:
        try:
            ray.get(started.add.remote())
            time.sleep(1000)
        finally:
            cleaned.add.remote()

    ref = work.remote()
    world.eventually(lambda: ray.get(started.get.remote()) == 1, "the task runs")
    ray.cancel(ref)
    with pytest.raises(TaskCancelledError):
        ray.get(ref, timeout=20)
    world.eventually(lambda: ray.get(cleaned.get.remote()) == 1, "the task's finally block has run")


def test_the_worker_goes_on_after_a_cancelled_task(world: Any) -> None:
    started = world.counter()

    @ray.remote
    def sleep() -> None:
        ray.get(started.add.remote())
        time.sleep(1000)

    @ray.remote
    def work(x: int) -> int:
        return x

    ref = sleep.remote()
    world.eventually(lambda: ray.get(started.get.remote()) == 1, "the task runs")
    ray.cancel(ref)
    assert ray.get([work.remote(x) for x in range(50)]) == list(range(50))
    with pytest.raises(TaskCancelledError):
        ray.get(ref, timeout=20)


def test_force_ends_a_task_that_does_not_listen(world: Any) -> None:
    started = world.counter()

    @ray.remote
    def stubborn() -> None:
        ray.get(started.add.remote())
        while True:
            try:
                time.sleep(1000)
            except BaseException:
                pass

    ref = stubborn.remote()
    world.eventually(lambda: ray.get(started.get.remote()) == 1, "the task runs")
    ray.cancel(ref, force=True)
    with pytest.raises((TaskCancelledError, WorkerCrashedError)):
        ray.get(ref, timeout=20)
    time.sleep(0.3)
    assert ray.get(started.get.remote()) == 1, "a cancelled task is not retried"


def test_cancelling_is_recursive(world: Any) -> None:
    started, gate = world.counter(), world.signal()

    @ray.remote
    def child() -> None:
        ray.get(started.add.remote())
        ray.get(gate.wait.remote())

    @ray.remote
    def parent() -> None:
        ray.get([child.remote() for _ in range(2)])

    ref = parent.remote()
    world.eventually(lambda: ray.get(gate.count.remote()) == 2, "both children wait")
    ray.cancel(ref)
    with pytest.raises(TaskCancelledError):
        ray.get(ref, timeout=20)
    world.eventually(
        lambda: ray.available_resources().get("CPU") == ray.cluster_resources()["CPU"],
        "the children have been stopped too and hold no CPU",
    )
    gate.send.remote()


def test_children_live_on_when_cancelling_is_not_recursive(world: Any) -> None:
    gate, done = world.signal(), world.counter()

    @ray.remote
    def child() -> None:
        ray.get(gate.wait.remote())
        ray.get(done.add.remote())

    @ray.remote
    def parent() -> None:
        ray.get(child.remote())

    ref = parent.remote()
    world.eventually(lambda: ray.get(gate.count.remote()) == 1, "the child waits")
    ray.cancel(ref, recursive=False)
    with pytest.raises(TaskCancelledError):
        ray.get(ref, timeout=20)
    gate.send.remote()
    world.eventually(lambda: ray.get(done.get.remote()) == 1, "the child comes to its end")


def test_cancelling_a_finished_task_changes_nothing(world: Any) -> None:
    @ray.remote
    def work() -> int:
        return 5

    ref = work.remote()
    assert ray.get(ref) == 5
    ray.cancel(ref)
    ray.cancel(ref, force=True)
    assert ray.get(ref) == 5


def test_cancelling_twice_is_harmless(world: Any) -> None:
    gate = world.signal()

    @ray.remote
    def wait() -> None:
        ray.get(gate.wait.remote())

    ref = wait.remote()
    ray.cancel(ref)
    ray.cancel(ref)
    with pytest.raises(TaskCancelledError):
        ray.get(ref, timeout=20)
    gate.send.remote()


def test_a_borrower_can_cancel_the_task_behind_a_reference(world: Any) -> None:
    gate = world.signal()

    @ray.remote
    def wait() -> None:
        ray.get(gate.wait.remote())

    @ray.remote
    def stop(refs: list[Any]) -> None:
        ray.cancel(refs[0])

    ref = wait.remote()
    world.eventually(lambda: ray.get(gate.count.remote()) == 1, "the task waits")
    ray.get(stop.remote([ref]))
    with pytest.raises(TaskCancelledError):
        ray.get(ref, timeout=20)
    gate.send.remote()


def test_a_task_that_depends_on_a_cancelled_one_fails_with_it(world: Any) -> None:
    gate = world.signal()

    @ray.remote
    def wait() -> int:
        ray.get(gate.wait.remote())
        return 1

    @ray.remote
    def use(x: int) -> int:
        return x

    first = wait.remote()
    second = use.remote(first)
    ray.cancel(first)
    with pytest.raises(TaskCancelledError):
        ray.get(second, timeout=20)
    gate.send.remote()


def test_a_stream_can_be_cancelled(world: Any) -> None:
    gate = world.signal()

    @ray.remote
    def stream() -> Any:
        yield 1
        ray.get(gate.wait.remote())
        yield 2

    items = stream.remote()
    assert ray.get(next(items)) == 1
    world.eventually(lambda: ray.get(gate.count.remote()) == 1, "the generator waits after its first item")
    ray.cancel(items)
    with pytest.raises(TaskCancelledError):
        ray.get(next(items), timeout=20)
    gate.send.remote()


def test_a_queued_call_of_an_actor_can_be_cancelled(world: Any) -> None:
    gate = world.signal()

    @ray.remote
    class Worker:
        def wait(self) -> None:
            ray.get(gate.wait.remote())

        def work(self) -> int:
            return 1

    worker = Worker.remote()
    waiting = worker.wait.remote()
    world.eventually(lambda: ray.get(gate.count.remote()) == 1, "the first call runs")
    queued, last = worker.work.remote(), worker.work.remote()
    ray.cancel(queued)
    gate.send.remote()
    with pytest.raises(TaskCancelledError):
        ray.get(queued, timeout=20)
    assert ray.get([waiting, last]) == [None, 1]


def test_is_canceled_tells_a_busy_task(world: Any) -> None:
    started = world.counter()

    @ray.remote
    def busy() -> str:
        ray.get(started.add.remote())
        for _ in range(10_000):
            try:
                time.sleep(0.01)
            except BaseException:
                return f"noticed: {ray.get_runtime_context().is_canceled()}"
        return "never"

    ref = busy.remote()
    world.eventually(lambda: ray.get(started.get.remote()) == 1, "the task runs")
    ray.cancel(ref)
    with pytest.raises(TaskCancelledError):
        ray.get(ref, timeout=20)
