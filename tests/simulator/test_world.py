"""A simulated cluster: limits, crashes, partitions, costs, and running a program more than once in it."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import pytest

import thornback as ray
from thornback.exceptions import GetTimeoutError, WorkerCrashedError
from thornback.simulator import simulate
from thornback.simulator.threads import DeadlockError


def test_tasks_run_at_the_same_time_on_all_nodes() -> None:
    with simulate(nodes=5, cpus=2) as world:
        ray.init()
        assert ray.cluster_resources()["CPU"] == 10
        begin = world.now

        @ray.remote
        def work(x: int) -> int:
            time.sleep(10)
            return x

        assert ray.get([work.remote(x) for x in range(10)]) == list(range(10))
        assert world.now - begin < 12
        assert world.stats["tasks"] == 10
        ray.shutdown()


def test_a_program_that_waits_for_ever_is_told() -> None:
    with simulate(nodes=1, cpus=1) as world:
        ray.init()

        @ray.remote(resources={"unobtainium": 1})
        def never() -> None: ...

        with pytest.raises(DeadlockError, match=r"stuck at .* s of virtual time.*\n.*never"):
            ray.get(never.remote())
        assert world.now < 3000


def test_the_time_limit_ends_a_program() -> None:
    with simulate(nodes=1, time_limit=50) as world:
        with pytest.raises(DeadlockError, match="time limit of 50 s"):
            time.sleep(100)
        assert world.now == 50


def test_timeouts_pass_in_virtual_time() -> None:
    with simulate(nodes=1, cpus=1) as world:
        ray.init()
        begin = world.now
        with pytest.raises(GetTimeoutError):
            ray.get(ray.remote(time.sleep).remote(1000), timeout=100)
        assert 100 <= world.now - begin < 101
        ray.shutdown()


def test_several_sessions_in_one_simulation() -> None:
    with simulate(nodes=2, cpus=2):
        pids = set()
        for number in range(3):
            ray.init()
            assert ray.get(ray.remote(lambda x: x + 1).remote(number)) == number + 1
            pids.add(ray.get_runtime_context().get_job_id())
            ray.shutdown()
            assert not ray.is_initialized()
        assert len(pids) == 3


def test_one_simulation_after_the_other() -> None:
    for _ in range(3):
        with simulate(nodes=2):
            ray.init()
            assert ray.get(ray.put(1)) == 1
        assert not ray.is_initialized()


def test_costs_stand_for_computing() -> None:
    with simulate(nodes=1, cpus=1, costs={"work": 2.0, "step": lambda: 3.0}) as world:
        ray.init()

        @ray.remote
        def work() -> None: ...

        @ray.remote
        class Actor:
            async def step(self) -> None: ...

        begin = world.now
        ray.get([work.remote(), work.remote()])
        assert 4 <= world.now - begin < 4.1
        begin = world.now
        ray.get(Actor.remote().step.remote())
        assert 3 <= world.now - begin < 3.5
        ray.shutdown()


def test_a_killed_worker_is_replaced() -> None:
    with simulate(nodes=1, cpus=1) as world:
        ray.init()

        @ray.remote
        def pid() -> int:
            time.sleep(1)
            return os.getpid()

        ref = pid.remote()
        world.run_for(0.5)
        assert world.kill_worker(0)
        assert ray.get(ref) > 0
        assert world.stats["faults"] == 1
        ray.shutdown()


def test_code_that_ends_its_own_process() -> None:
    with simulate(nodes=1, cpus=1):
        ray.init()
        ways = [lambda: os._exit(3), os.abort, lambda: os.kill(os.getpid(), signal.SIGKILL)]
        for way in ways:

            @ray.remote(max_retries=0)
            def die(way: Any) -> None:
                try:
                    way()
                finally:
                    raise AssertionError("the process is gone")

            with pytest.raises(WorkerCrashedError):
                ray.get(die.remote(way))
        ray.shutdown()


def test_a_node_that_crashes_comes_back_as_a_new_one() -> None:
    with simulate(nodes=3, cpus=1) as world:
        ray.init()

        @ray.remote
        def work(x: int) -> int:
            time.sleep(30)
            return x

        refs = [work.remote(x) for x in range(3)]
        world.run_for(5)
        old = world.nodes[2].node_id
        world.kill_node(2, reboot_after=1.0)
        assert ray.get(refs) == [0, 1, 2]
        world.run_for(30)
        assert world.nodes[2].alive and world.nodes[2].node_id != old
        assert ray.cluster_resources()["CPU"] == 3
        with pytest.raises(ValueError, match="head"):
            world.kill_node(0)
        ray.shutdown()


@pytest.mark.parametrize("lossy", [False, True])
def test_a_short_cut_delays_and_loses_nothing(lossy: bool) -> None:
    with simulate(nodes=2, cpus=1, lossy=lossy, seed=4) as world:
        ray.init()

        @ray.remote
        def work(x: int) -> int:
            time.sleep(1)
            return x

        refs = [work.remote(x) for x in range(6)]
        world.run_for(1)
        number = world.cut(0, 1)
        world.run_for(5)
        world.heal(number)
        assert ray.get(refs, timeout=30) == list(range(6))
        ray.shutdown()


def test_a_node_behind_a_long_cut_starts_anew() -> None:
    with simulate(nodes=2, cpus=1, lossy=True) as world:
        ray.init()
        old = world.nodes[1].node_id
        world.cut(0, 1)
        world.run_for(60)
        assert ray.cluster_resources()["CPU"] == 1
        world.heal()
        world.run_for(60)
        assert world.nodes[1].node_id != old
        assert ray.cluster_resources()["CPU"] == 2
        ray.shutdown()


def test_nodes_can_differ() -> None:
    nodes = [{"cpus": 1}, {"cpus": 2, "gpus": 1, "labels": {"zone": "b"}}, {"resources": {"special": 3}}]
    with simulate(nodes=nodes, cpus=4):
        ray.init()
        found = ray.cluster_resources()
        assert (found["CPU"], found["GPU"], found["special"]) == (7, 1, 3)
        ray.shutdown()
    with pytest.raises(ValueError, match="unknown key 'cpu'"):
        simulate(nodes=[{"cpu": 1}])


@pytest.mark.parametrize("options", [{"codec": True}, {"lossy": True}])
def test_other_ways_of_passing_messages(options: dict[str, Any]) -> None:
    with simulate(nodes=3, cpus=2, **options):
        ray.init()

        @ray.remote
        def total(values: Any, *more: Any) -> float:
            return float(sum(values)) + sum(more)

        import numpy as np

        big = ray.put(np.ones(200_000))
        assert ray.get([total.remote(big, x) for x in range(12)]) == [200_000.0 + x for x in range(12)]
        ray.shutdown()
