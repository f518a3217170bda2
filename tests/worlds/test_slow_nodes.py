"""Slow nodes are noticed from run times, avoided while they are slow, and forgiven."""

from __future__ import annotations

import time
from typing import Any

import pytest

import thornback as ray
from thornback.simulator import compute
from thornback.util.state import list_nodes

pytestmark = [pytest.mark.only("simulated"), pytest.mark.cluster(nodes=5, cpus=2)]


def all_up(world: Any) -> None:
    world.eventually(lambda: len([node for node in ray.nodes() if node["Alive"]]) == 5, "5 nodes are up")
    time.sleep(1)


def task() -> Any:
    @ray.remote
    def work() -> str:
        compute(0.1)
        return ray.get_runtime_context().get_node_id()

    return work


def make_slow(world: Any, index: int, factor: float) -> str:
    node = world.simulation.nodes[index]
    node.slowness = factor
    return str(node.node_id.hex())


def slowness_of(node_id: str) -> float:
    return next(float(row["slowness"]) for row in list_nodes() if row["node_id"] == node_id)


def notice(world: Any, work: Any, node_id: str) -> None:
    def slow() -> bool:
        ray.get([work.remote() for _ in range(40)])
        return slowness_of(node_id) > 2

    world.eventually(slow, "the slow node is noticed")


def test_the_list_of_nodes_says_who_is_slow_and_how_much(world: Any) -> None:
    all_up(world)
    slow = make_slow(world, 2, 5.0)
    notice(world, task(), slow)
    assert 4 < slowness_of(slow) < 6
    assert [slowness_of(row["node_id"]) for row in list_nodes() if row["node_id"] != slow] == [1.0] * 4


@pytest.mark.parametrize("index", [0, 2], ids=["the program's own", "another"])
def test_a_slow_node_gets_no_tasks_while_others_have_room(world: Any, index: int) -> None:
    all_up(world)
    slow = make_slow(world, index, 5.0)
    work = task()
    notice(world, work, slow)
    time.sleep(2)
    places = ray.get([work.remote() for _ in range(8)])
    assert slow not in places, "8 tasks have room on the other 4 nodes of 2 CPUs"


def test_a_slow_node_is_used_when_no_other_has_room(world: Any) -> None:
    all_up(world)
    slow = make_slow(world, 2, 5.0)
    work = task()
    notice(world, work, slow)
    time.sleep(2)
    places = ray.get([work.remote() for _ in range(60)])
    assert slow in places


def test_a_node_that_was_asked_for_is_used_even_if_it_is_slow(world: Any) -> None:
    all_up(world)
    slow = make_slow(world, 2, 5.0)
    work = task()
    notice(world, work, slow)
    strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(slow, soft=False)
    assert ray.get(work.options(scheduling_strategy=strategy).remote()) == slow


def test_a_node_that_recovers_is_forgiven(world: Any) -> None:
    all_up(world)
    slow = make_slow(world, 2, 5.0)
    work = task()
    notice(world, work, slow)
    make_slow(world, 2, 1.0)

    def forgiven() -> bool:
        ray.get([work.remote() for _ in range(40)])
        return slowness_of(slow) == 1.0

    world.eventually(forgiven, "the node is not called slow any more")
    time.sleep(2)
    assert slow in ray.get([work.remote() for _ in range(40)])


def test_a_node_that_nobody_uses_gets_another_chance(world: Any) -> None:
    all_up(world)
    slow = make_slow(world, 2, 5.0)
    notice(world, task(), slow)
    time.sleep(25)
    assert slowness_of(slow) == 1.0
