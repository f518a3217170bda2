"""Large demands run among endless streams of small ones, and placement groups get their place."""

from __future__ import annotations

import time
from typing import Any

import pytest

import thornback as ray


def endless(seconds: float = 0.05) -> Any:
    """An actor whose small tasks never end: each submits the next."""

    class Stream:
        async def run(self, count: int, cpus: int = 1) -> None:
            import asyncio

            def step(seconds: float) -> None:
                time.sleep(seconds)

            task = ray.remote(step).options(num_cpus=cpus)

            async def lane() -> None:
                while True:
                    await task.remote(seconds)

            await asyncio.gather(*[lane() for _ in range(count)])

    return ray.remote(Stream).options(num_cpus=0).remote()


@pytest.mark.cluster(cpus=8)
def test_a_task_of_all_cpus_runs_among_an_endless_stream_of_small_ones(world: Any) -> None:
    stream = endless()
    running = stream.run.remote(24)

    def large() -> str:
        return "ran"

    assert not ray.wait([running], timeout=1)[0], "the stream goes on"
    task = ray.remote(large).options(num_cpus=8)
    for _ in range(3):
        start = time.monotonic()
        assert ray.get(task.remote(), timeout=20) == "ran"
        took = time.monotonic() - start
        if world.is_simulated:
            assert took < 1.5, f"the task of 8 CPUs waited {took:.2f} s among tasks of 0.05 s"
    ray.kill(stream)


@pytest.mark.only("simulated")
@pytest.mark.cluster(nodes=4, cpus=4)
def test_large_tasks_run_on_a_busy_cluster_of_which_some_nodes_belong_to_actors(world: Any) -> None:
    class Holder:
        def ping(self) -> None:
            pass

    actors = [ray.remote(Holder).options(num_cpus=2, scheduling_strategy="SPREAD").remote() for _ in range(3)]
    ray.get([actor.ping.remote() for actor in actors])
    stream = endless()
    stream.run.remote(40)
    time.sleep(1)

    def large() -> str:
        return ray.get_runtime_context().get_node_id()

    task = ray.remote(large).options(num_cpus=4)
    start = time.monotonic()
    assert len(set(ray.get([task.remote() for _ in range(5)], timeout=30))) == 1, "one node is without actors"
    assert time.monotonic() - start < 15
    ray.kill(stream)


@pytest.mark.cluster(cpus=4)
def test_short_tasks_go_ahead_of_a_large_one_that_has_to_wait_anyway(world: Any) -> None:
    def sleep(seconds: float) -> float:
        time.sleep(seconds)
        return time.monotonic()

    long_task = ray.remote(sleep).options(num_cpus=3, name="long")
    short = ray.remote(sleep).options(name="short")
    ray.get([long_task.remote(2.0), short.remote(0.01)], timeout=20)
    time.sleep(1)
    first = long_task.remote(2.0)
    ray.wait([first], timeout=0.2)
    large = ray.remote(sleep).options(num_cpus=4, name="large").remote(0.0)
    ray.wait([large], timeout=1.0)
    ended = ray.get([short.remote(0.01) for _ in range(4)], timeout=20)
    assert max(ended) < ray.get(large, timeout=20), "one CPU is idle until the long task ends: short tasks can use it"
