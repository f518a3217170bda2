"""Resources: what limits parallelism, who holds what, and demands that nobody can serve."""

from __future__ import annotations

import time
from typing import Any

import pytest

import thornback as ray
from thornback.exceptions import ActorUnschedulableError, TaskUnschedulableError

CUSTOM = {"resources": {"license": 2}}


def overlap(world: Any, options: dict[str, Any], count: int) -> int:
    """How many of ``count`` tasks with these options run at the same time."""

    class Gauge:
        def __init__(self) -> None:
            self.now = self.most = 0

        def enter(self) -> None:
            self.now += 1
            self.most = max(self.most, self.now)

        def leave(self) -> int:
            self.now -= 1
            return self.most

    gauge = ray.remote(Gauge).options(num_cpus=0).remote()

    @ray.remote
    def work() -> int:
        gauge.enter.remote()
        time.sleep(0.1)
        ref = gauge.leave.remote()
        while not ray.wait([ref], timeout=0)[0]:
            time.sleep(0.005)
        return int(ray.get(ref))

    return max(ray.get([work.options(**options).remote() for _ in range(count)]))


@pytest.mark.parametrize(("cpus", "most"), [(1, 4), (2, 2), (4, 1), (0.5, 8)])
def test_cpus_limit_how_many_tasks_run_at_the_same_time(world: Any, cpus: float, most: int) -> None:
    assert overlap(world, {"num_cpus": cpus}, 10) <= most


def test_all_cpus_are_used(world: Any) -> None:
    assert overlap(world, {"num_cpus": 1}, 12) == 4, "four tasks of one CPU each run on four CPUs"


@pytest.mark.cluster(init=CUSTOM)
def test_custom_resources_limit_tasks_as_well(world: Any) -> None:
    assert overlap(world, {"num_cpus": 0, "resources": {"license": 1}}, 6) == 2


@pytest.mark.cluster(init=CUSTOM)
def test_custom_resources_are_part_of_the_clusters(world: Any) -> None:
    assert ray.cluster_resources()["license"] == 2
    assert ray.cluster_resources()["CPU"] == 4


def test_an_actor_holds_no_cpu_unless_it_asks_for_one(world: Any) -> None:
    class Idle:
        def ping(self) -> int:
            return 1

    free = [ray.remote(Idle).remote() for _ in range(6)]
    assert ray.get([actor.ping.remote() for actor in free]) == [1] * 6
    held = [ray.remote(Idle).options(num_cpus=1).remote() for _ in range(3)]
    assert ray.get([actor.ping.remote() for actor in held]) == [1] * 3
    world.eventually(lambda: ray.available_resources().get("CPU") == 1, "three actors hold one CPU each")
    del held
    world.eventually(lambda: ray.available_resources().get("CPU") == 4, "the CPUs of ended actors are free again")


def test_an_actor_waits_for_its_cpus(world: Any) -> None:
    class Big:
        def ping(self) -> int:
            return 1

    first = ray.remote(Big).options(num_cpus=3).remote()
    ray.get(first.ping.remote())
    second = ray.remote(Big).options(num_cpus=2).remote()
    ref = second.ping.remote()
    assert ray.wait([ref], timeout=0.3)[0] == [], "there is one CPU left, and it needs two"
    ray.kill(first)
    assert ray.get(ref, timeout=30) == 1


def test_resources_are_given_back_when_tasks_end_or_fail(world: Any) -> None:
    import os

    @ray.remote(max_retries=0, num_cpus=2)
    def work(how: str) -> None:
        if how == "raise":
            raise ValueError
        if how == "crash":
            os._exit(1)

    for how in ("return", "raise", "crash") * 2:
        ray.wait([work.remote(how)])
    world.eventually(lambda: ray.available_resources().get("CPU") == 4, "all CPUs are free again")


def test_a_task_knows_what_it_was_given(world: Any) -> None:
    @ray.remote(num_cpus=2)
    def ask() -> Any:
        return ray.get_runtime_context().get_assigned_resources()

    assert ray.get(ask.remote())["CPU"] == 2


@pytest.mark.cluster(init={"num_gpus": 2})
def test_gpus_are_given_by_number(world: Any) -> None:
    gate = world.signal()

    @ray.remote(num_gpus=1, num_cpus=0)
    def which() -> Any:
        ray.get(gate.wait.remote())
        return ray.get_gpu_ids()

    refs = [which.remote() for _ in range(2)]
    world.eventually(lambda: ray.get(gate.count.remote()) == 2, "both GPUs are in use")
    gate.send.remote()
    assert sorted(ray.get(refs)) == [[0], [1]]


def test_an_infeasible_task_is_reported_and_waits(world: Any, caplog: pytest.LogCaptureFixture) -> None:
    @ray.remote(num_cpus=100)
    def huge() -> None: ...

    ref = huge.remote()
    world.eventually(lambda: ray.wait([ref], timeout=0.05)[0] or caplog.text, "the program is told at once")
    assert "huge" in caplog.text and "{CPU: 100}" in caplog.text and "{CPU: 4}" in caplog.text
    assert ray.wait([ref], timeout=0)[0] == [], "it waits for a node that is large enough"
    ray.cancel(ref)


def test_an_infeasible_task_raises_where_asked_for(world: Any) -> None:
    @ray.remote(resources={"unobtainium": 1}, fail_if_infeasible=True)
    def huge() -> None: ...

    with pytest.raises(TaskUnschedulableError, match="unobtainium"):
        ray.get(huge.remote(), timeout=30)


def test_an_infeasible_actor_raises_where_asked_for(world: Any) -> None:
    class Huge:
        def ping(self) -> int:
            return 1

    actor = ray.remote(Huge).options(num_cpus=100, fail_if_infeasible=True).remote()
    with pytest.raises(ActorUnschedulableError, match="CPU"):
        ray.get(actor.ping.remote(), timeout=30)


def test_infeasible_tasks_do_not_hold_up_others(world: Any) -> None:
    @ray.remote
    def work(x: int) -> int:
        return x

    stuck = [work.options(num_cpus=64).remote(-1) for _ in range(3)]
    assert ray.get([work.remote(x) for x in range(50)], timeout=30) == list(range(50))
    for ref in stuck:
        ray.cancel(ref)


def test_a_waiting_task_gives_its_cpu_to_others(world: Any) -> None:
    gate = world.signal()

    @ray.remote
    def wait() -> int:
        ray.get(gate.wait.remote())
        return 1

    @ray.remote
    def work() -> int:
        return 2

    waiting = [wait.remote() for _ in range(8)]
    world.eventually(lambda: ray.get(gate.count.remote()) == 8, "eight tasks wait, on four CPUs")
    assert ray.get([work.remote() for _ in range(8)], timeout=30) == [2] * 8
    gate.send.remote()
    assert ray.get(waiting) == [1] * 8


@pytest.mark.cluster(nodes=1, cpus=2)
def test_large_tasks_are_not_starved_by_small_ones(world: Any) -> None:
    @ray.remote(num_cpus=1)
    def small() -> None:
        time.sleep(0.02)

    @ray.remote(num_cpus=2)
    def large() -> str:
        return "ran"

    many = [small.remote() for _ in range(200)]
    ref = large.remote()
    ready, _ = ray.wait([ref, many[-1]], timeout=30)
    assert ray.get(ref, timeout=30) == "ran"
    del ready


@pytest.mark.cluster(init={"num_gpus": 4})
@pytest.mark.only("real")
def test_cuda_sees_just_the_gpus_that_were_given(world: Any) -> None:
    """In tasks, actors and asyncio actors, also in their constructors; simulated processes share one environment."""

    def visible() -> tuple[list[int], str | None]:
        import os

        return ray.get_gpu_ids(), os.environ.get("CUDA_VISIBLE_DEVICES")

    class Plain:
        def __init__(self) -> None:
            self.first = visible()

        def get(self) -> list[Any]:
            return [self.first, visible()]

    class Asynchronous:
        def __init__(self) -> None:
            self.first = visible()

        async def get(self) -> list[Any]:
            return [self.first, visible()]

    plain = ray.remote(Plain).options(num_gpus=1).remote()
    asynchronous = ray.remote(Asynchronous).options(num_gpus=2).remote()
    for actor, count in ((plain, 1), (asynchronous, 2)):
        for gpus, shown in ray.get(actor.get.remote(), timeout=20):
            assert len(gpus) == count and shown == ",".join(map(str, gpus)), f"of GPUs {gpus}, CUDA sees {shown!r}"
    gpus, shown = ray.get(ray.remote(visible).options(num_gpus=0.5).remote(), timeout=20)
    assert len(gpus) == 1 and shown == str(gpus[0])
    held = [ray.get(actor.get.remote())[0][0] for actor in (plain, asynchronous)]
    assert len({gpu for each in [*held, gpus] for gpu in each}) == 4, "nobody shares a GPU"
