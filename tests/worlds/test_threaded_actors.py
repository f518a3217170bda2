"""Actors with several threads, and concurrency groups."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

import thornback as ray


def test_a_threaded_actor_runs_several_calls_at_the_same_time(world: Any) -> None:
    gate = world.signal()

    @ray.remote(max_concurrency=4)
    class Pool:
        def wait(self) -> int:
            ray.get(gate.wait.remote())
            return 1

    pool = Pool.remote()
    refs = [pool.wait.remote() for _ in range(6)]
    world.eventually(lambda: ray.get(gate.count.remote()) == 4, "four of the six calls run, the others wait")
    gate.send.remote()
    assert ray.get(refs) == [1] * 6


def test_an_actor_without_options_runs_one_call_at_a_time(world: Any) -> None:
    @ray.remote
    class Single:
        def __init__(self) -> None:
            self.running = 0

        def work(self) -> int:
            self.running += 1
            time.sleep(0.02)
            running, self.running = self.running, self.running - 1
            return running

    single = Single.remote()
    assert ray.get([single.work.remote() for _ in range(5)]) == [1] * 5


def test_sleeping_calls_of_a_threaded_actor_overlap(world: Any) -> None:
    @ray.remote(max_concurrency=10)
    class Sleeper:
        def sleep(self) -> None:
            time.sleep(0.3)

    sleeper = Sleeper.remote()
    ray.get(sleeper.__ray_ready__.remote())
    start = time.monotonic()
    ray.get([sleeper.sleep.remote() for _ in range(10)])
    took = time.monotonic() - start
    assert took < 1.5, f"ten naps of 0.3 s in ten threads took {took:.2f} s"


def test_concurrency_groups_do_not_wait_for_each_other(world: Any) -> None:
    gate = world.signal()

    @ray.remote(concurrency_groups={"io": 2, "compute": 1})
    class Worker:
        @ray.method(concurrency_group="io")
        def wait(self) -> str:
            ray.get(gate.wait.remote())
            return "io"

        @ray.method(concurrency_group="compute")
        def compute(self) -> str:
            return "compute"

        def plain(self) -> str:
            return "plain"

    worker = Worker.remote()
    refs = [worker.wait.remote() for _ in range(3)]
    world.eventually(lambda: ray.get(gate.count.remote()) == 2, "two calls of the group io run")
    assert ray.get([worker.compute.remote(), worker.plain.remote()]) == ["compute", "plain"]
    assert ray.get(worker.plain.options(concurrency_group="compute").remote()) == "plain"
    assert ray.get(gate.count.remote()) == 2, "the third call of the group io still waits"
    gate.send.remote()
    assert ray.get(refs) == ["io"] * 3


def test_concurrency_groups_work_in_async_actors(world: Any) -> None:
    @ray.remote(concurrency_groups={"slow": 1})
    class Worker:
        def __init__(self) -> None:
            self.event = asyncio.Event()
            self.entered = 0

        @ray.method(concurrency_group="slow")
        async def wait(self) -> int:
            self.entered += 1
            await self.event.wait()
            return self.entered

        async def release(self) -> int:
            self.event.set()
            return self.entered

    worker = Worker.remote()
    refs = [worker.wait.remote() for _ in range(3)]
    world.eventually(lambda: ray.wait([worker.__ray_ready__.remote()], timeout=5)[0], "the actor is there")
    entered = ray.get(worker.release.remote())
    assert entered <= 1, f"one call of the group at a time, not {entered}"
    assert ray.get(refs) == [1, 2, 3]


def test_an_undeclared_group_is_refused(world: Any) -> None:
    @ray.remote(concurrency_groups={"io": 1})
    class Worker:
        @ray.method(concurrency_group="oi")
        def work(self) -> None: ...

    with pytest.raises(ValueError, match=r"'oi'.*'io'"):
        Worker.remote()


def test_threads_of_an_actor_share_its_state(world: Any) -> None:
    @ray.remote(max_concurrency=5)
    class Shared:
        def __init__(self) -> None:
            self.values: list[int] = []

        def add(self, value: int) -> None:
            time.sleep(0.001)
            self.values.append(value)

        def all(self) -> list[int]:
            return sorted(self.values)

    shared = Shared.remote()
    ray.get([shared.add.remote(value) for value in range(50)])
    assert ray.get(shared.all.remote()) == list(range(50))


def test_a_threaded_actor_can_wait_for_its_own_other_thread(world: Any) -> None:
    @ray.remote(max_concurrency=2)
    class Echo:
        def set_self(self, handles: list[Any]) -> None:
            self.me = handles[0]

        def outer(self) -> str:
            return "outer " + str(ray.get(self.me.inner.remote()))

        def inner(self) -> str:
            return "inner"

    echo = Echo.options(name="echo").remote()
    ray.get(echo.set_self.remote([echo]))
    assert ray.get(echo.outer.remote()) == "outer inner"
    ray.kill(echo)


def test_errors_in_one_thread_leave_the_others_alone(world: Any) -> None:
    @ray.remote(max_concurrency=3)
    class Mixed:
        def work(self, x: int) -> int:
            if x % 2:
                raise ValueError(f"odd {x}")
            return x

    mixed = Mixed.remote()
    refs = [mixed.work.remote(x) for x in range(6)]
    assert ray.get(refs[::2]) == [0, 2, 4]
    for ref in refs[1::2]:
        with pytest.raises(ValueError, match="odd"):
            ray.get(ref)
