"""Queued work goes to idle workers: on one node, and between nodes with the bytes of arguments counted in."""

from __future__ import annotations

import time
from typing import Any

import numpy
import pytest

import thornback as ray
from thornback.simulator import compute

SIMULATED = pytest.mark.only("simulated")


def all_up(world: Any, count: int) -> list[str]:
    """Ids of the nodes, the program's own first."""
    world.eventually(lambda: len([node for node in ray.nodes() if node["Alive"]]) == count, f"{count} nodes are up")
    time.sleep(1)
    here = ray.get_runtime_context().get_node_id()
    return [here, *(node["NodeID"] for node in ray.nodes() if node["NodeID"] != here)]


def on(node_id: str) -> Any:
    return ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node_id, soft=False)


# --- On one node


@pytest.mark.cluster(cpus=2)
def test_short_tasks_do_not_wait_for_a_long_one_that_was_sent_before_them(world: Any) -> None:
    @ray.remote
    def work(seconds: float) -> float:
        if seconds:
            time.sleep(seconds)
        return seconds

    ray.get([work.remote(0) for _ in range(200)])
    long = work.remote(3.0)
    short = [work.remote(0) for _ in range(200)]
    start = time.monotonic()
    assert ray.get(short, timeout=20) == [0] * 200
    took = time.monotonic() - start
    assert took < 2.5, f"200 empty tasks took {took:.2f} s on the worker beside one that runs a long task"
    assert ray.get(long) == 3.0


@pytest.mark.cluster(cpus=2)
def test_a_long_task_behind_short_ones_delays_none_of_them(world: Any) -> None:
    @ray.remote
    def work(seconds: float) -> float:
        if seconds:
            time.sleep(seconds)
        return seconds

    ray.get([work.remote(0) for _ in range(200)])
    before = [work.remote(0) for _ in range(100)]
    long = work.remote(3.0)
    behind = [work.remote(0) for _ in range(100)]
    start = time.monotonic()
    ray.get(before + behind, timeout=20)
    took = time.monotonic() - start
    assert took < 2.5, f"200 empty tasks around a long one took {took:.2f} s"
    ray.cancel(long)


@pytest.mark.cluster(cpus=3)
def test_tasks_with_and_without_large_arguments_share_all_workers(world: Any) -> None:
    large = ray.put(numpy.ones(300_000))

    @ray.remote
    def work(array: Any, seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    start = time.monotonic()
    with_large = [work.remote(large, 0.2) for _ in range(9)]
    without = [work.remote(None, 0.2) for _ in range(9)]
    ray.get(with_large + without, timeout=20)
    took = time.monotonic() - start
    assert took < 2.4, f"3.6 s of work took {took:.2f} s on 3 CPUs"


# --- Between nodes


@SIMULATED
@pytest.mark.cluster(nodes=4, cpus=1)
def test_a_task_waits_for_the_node_with_its_argument_if_that_is_shorter_than_moving_it(world: Any) -> None:
    """8 MB take 6.4 ms to move; the node is free again after 2 ms."""
    nodes = all_up(world, 4)

    @ray.remote
    def make() -> Any:
        return numpy.zeros(1_000_000)

    @ray.remote
    def where(array: Any) -> str:
        compute(0.002)
        return ray.get_runtime_context().get_node_id()

    array = make.options(scheduling_strategy=on(nodes[2])).remote()
    ray.get([where.remote(array) for _ in range(3)])
    time.sleep(1)
    assert ray.get([where.remote(array) for _ in range(2)]) == [nodes[2]] * 2


@SIMULATED
@pytest.mark.cluster(nodes=4, cpus=1)
def test_idle_nodes_take_tasks_whose_arguments_are_quicker_to_move_than_to_wait_for(world: Any) -> None:
    nodes = all_up(world, 4)

    @ray.remote
    def make() -> Any:
        return numpy.zeros(1_000_000)

    @ray.remote
    def where(array: Any) -> str:
        compute(0.5)
        return ray.get_runtime_context().get_node_id()

    array = make.options(scheduling_strategy=on(nodes[2])).remote()
    ray.wait([array], fetch_local=False)
    start = time.monotonic()
    places = ray.get([where.remote(array) for _ in range(8)])
    took = time.monotonic() - start
    assert set(places) == set(nodes), "all four nodes take part"
    assert took < 1.2, f"8 tasks of 0.5 s on 4 CPUs took {took:.2f} s"


@SIMULATED
@pytest.mark.cluster(nodes=3, cpus=2)
def test_a_worker_without_work_takes_tasks_that_prefer_another_node(world: Any) -> None:
    """The worker was leased for tasks with arguments on its own node; it need not be asked for again."""
    nodes = all_up(world, 3)

    @ray.remote
    def make() -> Any:
        return numpy.zeros(100_000)

    @ray.remote
    def work(array: Any, seconds: float) -> None:
        compute(seconds)

    left, right = [make.options(scheduling_strategy=on(node)).remote() for node in nodes[1:]]
    ray.wait([left, right], num_returns=2, fetch_local=False)
    time.sleep(1)
    start = time.monotonic()
    few = [work.remote(left, 0.2) for _ in range(4)]
    many = [work.remote(right, 0.2) for _ in range(20)]
    ray.get(few + many)
    took = time.monotonic() - start
    assert took < 1.1, f"24 tasks of 0.2 s on 6 CPUs took {took:.2f} s; 0.8 s is the least"


# --- Under faults


@SIMULATED
@pytest.mark.cluster(nodes=4, cpus=1)
@pytest.mark.parametrize("dies", [1, 2], ids=["the node with the argument", "a node that has stolen"])
def test_stolen_tasks_end_when_a_node_dies(world: Any, dies: int) -> None:
    nodes = all_up(world, 4)

    @ray.remote
    def make() -> Any:
        return numpy.full(1_000_000, 7)

    @ray.remote
    def work(array: Any, number: int) -> int:
        compute(0.5)
        return int(array[-1]) + number

    array = make.options(
        scheduling_strategy=ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(nodes[1], soft=True)
    ).remote()
    ray.wait([array], fetch_local=False)
    refs = [work.remote(array, number) for number in range(16)]
    time.sleep(0.75)
    world.simulation.kill_node(
        next(index for index, node in enumerate(world.simulation.nodes) if node.node_id.hex() == nodes[dies])
    )
    assert ray.get(refs) == [7 + number for number in range(16)]


@SIMULATED
@pytest.mark.cluster(nodes=4, cpus=1, lossy=True)
def test_stealing_works_when_messages_are_lost_doubled_and_late(world: Any) -> None:
    from thornback.simulator.conditions import Rule

    nodes = all_up(world, 4)

    @ray.remote
    def make(number: int) -> Any:
        return numpy.full(100_000, number)

    @ray.remote
    def work(array: Any) -> int:
        compute(0.05)
        return int(array[-1])

    arrays = [make.options(scheduling_strategy=on(nodes[1])).remote(number) for number in range(10)]
    ray.wait(arrays, num_returns=10, fetch_local=False)
    rule = world.simulation.network.conditions.add(Rule(loss=0.2, duplicate=0.2, reorder=0.2, window=10_000_000))
    assert ray.get([work.remote(array) for array in arrays * 6]) == list(range(10)) * 6
    world.simulation.network.conditions.remove(rule)
