"""Priorities within a program: higher ones run first, equals in the order in which they were submitted."""

from __future__ import annotations

import time
from typing import Any

import pytest

import thornback as ray


@pytest.mark.cluster(cpus=1)
def test_tasks_that_wait_run_by_priority_and_then_in_order(world: Any) -> None:
    log, gate = world.counter(), world.signal()

    def blocker(signal: Any) -> None:
        ray.get(signal.wait.remote())

    def step(name: str, log: Any) -> None:
        ray.get(log.add.remote(name))
        time.sleep(0.01)

    run = ray.remote(step).options(num_cpus=1)
    first = ray.remote(blocker).options(num_cpus=1, priority=100).remote(gate)
    world.eventually(lambda: ray.get(gate.count.remote()) == 1, "the first task runs")
    holder = ray.remote(time.sleep).options(num_cpus=1, priority=100).remote(0.5)
    refs = []
    for number, priority in enumerate([0, 5, -1, 5, 0, 9]):
        refs.append(run.options(priority=priority).remote(f"{priority}:{number}", log))
    ray.get([holder, gate.send.remote(), first, *refs], timeout=20)
    assert ray.get(log.log.remote()) == ["9:5", "5:1", "5:3", "0:0", "0:4", "-1:2"]


@pytest.mark.cluster(cpus=2)
def test_an_urgent_task_does_not_wait_for_the_end_of_a_long_queue(world: Any) -> None:
    def work() -> None:
        time.sleep(0.05)

    task = ray.remote(work)
    many = [task.remote() for _ in range(200)]
    ray.wait(many)
    start = time.monotonic()
    ray.get(task.options(priority=1).remote(), timeout=20)
    took = time.monotonic() - start
    ray.get(task.options(priority=1, num_cpus=2).remote(), timeout=20)
    left = len(ray.wait(many, num_returns=len(many), timeout=0)[1])
    assert left > 50, f"{left} of 200 tasks without priority are left; the two urgent ones were to overtake them"
    if world.is_simulated:
        assert took < 0.3, f"the urgent task waited {took:.2f} s"
    ray.get(many, timeout=25)


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ("high", TypeError, r"'priority' of a remote function must be a whole number.*'high'"),
        (1.5, TypeError, "not 1.5"),
        (True, TypeError, "not True"),
    ],
)
def test_a_bad_priority_is_refused(value: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ray.remote(priority=value)(lambda: None)


def test_actors_take_a_priority_too() -> None:
    class Some:
        pass

    assert ray.remote(priority=3)(Some) is not None
    with pytest.raises(TypeError, match="of an actor class must be a whole number"):
        ray.remote(priority="urgent")(Some)
