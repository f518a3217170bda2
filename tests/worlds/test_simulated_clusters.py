"""Clusters of many nodes that fail: crashed machines, lost messages, cuts, and a thousand nodes.

All of these run in the simulated world only: on one machine there are not so many nodes, and no real network loses a
message when a test wants it to. The program is the same as it would be on a real cluster.
"""

from __future__ import annotations

import time
from typing import Any

import numpy
import pytest

import thornback as ray
from thornback.exceptions import NodeDiedError, ObjectLostError

pytestmark = [pytest.mark.only("simulated")]


def others() -> list[str]:
    """Ids of all nodes but the program's own."""
    here = ray.get_runtime_context().get_node_id()
    return [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["NodeID"] != here]


def on(node_id: str) -> Any:
    return ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node_id, soft=False)


def all_up(world: Any, count: int) -> None:
    world.eventually(lambda: len([node for node in ray.nodes() if node["Alive"]]) == count, f"{count} nodes are up")


def index_of(world: Any, node_id: str) -> int:
    return next(index for index, node in enumerate(world.simulation.nodes) if node.node_id.hex() == node_id)


@pytest.mark.cluster(nodes=4, cpus=2)
def test_tasks_use_all_nodes(world: Any) -> None:
    all_up(world, 4)

    @ray.remote(scheduling_strategy="SPREAD")
    def where() -> str:
        time.sleep(0.2)
        return ray.get_runtime_context().get_node_id()

    assert len(set(ray.get([where.remote() for _ in range(16)]))) == 4


@pytest.mark.cluster(nodes=3, cpus=2)
def test_a_task_for_one_node_waits_there_where_idle_leases_are_asked_back_for_it(world: Any) -> None:
    all_up(world, 3)
    time.sleep(1)

    @ray.remote
    def work() -> str:
        time.sleep(0.2)
        return ray.get_runtime_context().get_node_id()

    assert len(set(ray.get([work.remote() for _ in range(12)]))) == 3, "this program has leases of all nodes"
    target = others()[0]
    begin = time.monotonic()
    assert ray.get(work.options(scheduling_strategy=on(target)).remote()) == target
    assert time.monotonic() - begin < 0.3, "nothing runs there that it could have waited for"


@pytest.mark.cluster(nodes=4, cpus=2)
def test_tasks_on_a_node_that_crashes_run_elsewhere(world: Any) -> None:
    all_up(world, 4)

    @ray.remote(scheduling_strategy="SPREAD")
    def work(x: int) -> int:
        time.sleep(1)
        return x

    refs = [work.remote(x) for x in range(16)]
    time.sleep(0.5)
    world.simulation.kill_node(2)
    assert ray.get(refs) == list(range(16))
    assert len([node for node in ray.nodes() if node["Alive"]]) == 3


@pytest.mark.cluster(nodes=2, cpus=2)
def test_a_task_without_retries_names_the_node_that_died(world: Any) -> None:
    all_up(world, 2)

    @ray.remote(max_retries=0)
    def work() -> None:
        time.sleep(100)

    ref = work.options(scheduling_strategy=on(others()[0])).remote()
    time.sleep(1)
    world.simulation.kill_node(1)
    with pytest.raises(NodeDiedError, match=r"work.*died"):
        ray.get(ref)


@pytest.mark.cluster(nodes=3, cpus=2)
def test_a_lost_object_is_made_again(world: Any) -> None:
    all_up(world, 3)
    runs = world.counter()

    @ray.remote(scheduling_strategy="SPREAD")
    def make(x: int) -> Any:
        ray.get(runs.add.remote())
        return numpy.full(100_000, x)

    @ray.remote(scheduling_strategy="SPREAD")
    def double(array: Any) -> Any:
        return array * 2

    first = [make.remote(x) for x in range(8)]
    second = [double.remote(ref) for ref in first]
    ray.wait(second, num_returns=8)
    before = ray.get(runs.get.remote())
    world.simulation.kill_node(1)
    world.simulation.kill_node(2)
    assert [int(ray.get(ref)[-1]) for ref in second] == [2 * x for x in range(8)]
    assert before == 8, "nothing was lost before"


@pytest.mark.cluster(nodes=2, cpus=2)
def test_an_object_that_cannot_be_made_again_says_why(world: Any) -> None:
    all_up(world, 2)

    @ray.remote(max_retries=0)
    def make() -> Any:
        return numpy.zeros(100_000)

    ref = make.options(scheduling_strategy=on(others()[0])).remote()
    ray.wait([ref], fetch_local=False)
    world.simulation.kill_node(1)
    with pytest.raises(ObjectLostError, match="cannot be made again"):
        ray.get(ref)


@pytest.mark.cluster(nodes=3, cpus=2)
def test_an_actor_moves_when_its_node_dies(world: Any) -> None:
    all_up(world, 3)

    @ray.remote(max_restarts=1, max_task_retries=-1)
    class Worker:
        def node(self) -> str:
            return ray.get_runtime_context().get_node_id()

    worker = Worker.options(scheduling_strategy="SPREAD").remote()
    handles = [worker]
    while ray.get(handles[-1].node.remote()) not in others():
        handles.append(Worker.options(scheduling_strategy="SPREAD").remote())
    before = ray.get(handles[-1].node.remote())
    world.simulation.kill_node(index_of(world, before))
    assert ray.get(handles[-1].node.remote()) != before


@pytest.mark.cluster(nodes=3, cpus=2, lossy=True)
def test_a_program_does_not_notice_lost_messages(world: Any) -> None:
    """The links send again what was lost, and deliver once and in order what came twice or late."""
    from thornback.simulator.conditions import Rule

    all_up(world, 3)
    conditions = world.simulation.network.conditions
    assert conditions is not None

    @ray.remote(scheduling_strategy="SPREAD")
    def square(x: int) -> int:
        return x * x

    with_loss = conditions.add(Rule(loss=0.2, duplicate=0.1, reorder=0.1, window=10_000_000))
    assert ray.get([square.remote(x) for x in range(200)]) == [x * x for x in range(200)]
    conditions.remove(with_loss)


@pytest.mark.cluster(nodes=3, cpus=2)
def test_work_goes_on_through_a_short_cut(world: Any) -> None:
    all_up(world, 3)

    @ray.remote(scheduling_strategy="SPREAD")
    def work(x: int) -> int:
        time.sleep(0.1)
        return x

    refs = [work.remote(x) for x in range(60)]
    time.sleep(0.2)
    cut = world.simulation.cut([0, 1], [2])
    time.sleep(3)
    world.simulation.heal(cut)
    assert ray.get(refs) == list(range(60))
    assert len([node for node in ray.nodes() if node["Alive"]]) == 3, "three seconds are not enough to give a node up"


@pytest.mark.cluster(nodes=3, cpus=2)
def test_a_node_that_stays_cut_off_is_given_up_and_its_work_done_elsewhere(world: Any) -> None:
    all_up(world, 3)

    @ray.remote(scheduling_strategy="SPREAD")
    def work(x: int) -> int:
        time.sleep(1)
        return x

    refs = [work.remote(x) for x in range(12)]
    time.sleep(0.5)
    world.simulation.cut([0, 1], [2])
    assert ray.get(refs) == list(range(12))
    world.eventually(lambda: len([node for node in ray.nodes() if node["Alive"]]) == 2, "the node is declared dead")


@pytest.mark.cluster(nodes=3, cpus=1)
def test_a_node_that_comes_back_is_a_new_one(world: Any) -> None:
    all_up(world, 3)
    before = set(others())
    world.simulation.kill_node(1, reboot_after=2.0)
    time.sleep(60)
    after = set(others())
    assert len(after) == 2 and len(before & after) == 1


@pytest.mark.cluster(nodes=3, cpus=2)
def test_large_values_move_between_nodes(world: Any) -> None:
    all_up(world, 3)
    ref = ray.put(numpy.arange(3_000_000))

    @ray.remote
    def total(array: Any) -> int:
        return int(array.sum())

    refs = [total.options(scheduling_strategy=on(node)).remote(ref) for node in others() * 3]
    assert set(ray.get(refs)) == {2_999_999 * 3_000_000 // 2}


@pytest.mark.cluster(nodes=1000, cpus=2)
def test_a_thousand_nodes_run_ten_thousand_tasks(world: Any) -> None:
    all_up(world, 1000)

    @ray.remote
    def work(x: int) -> int:
        time.sleep(0.1)
        return x

    start = time.monotonic()
    assert sum(ray.get([work.remote(x) for x in range(10_000)])) == sum(range(10_000))
    took = time.monotonic() - start
    assert took < 20, f"10,000 tasks of 0.1 s on 2,000 CPUs took {took:.1f} s of virtual time; the least is 0.5 s"


@pytest.mark.soak
@pytest.mark.timeout(180)
@pytest.mark.cluster(nodes=1000, cpus=2)
def test_a_thousand_nodes_run_a_hundred_thousand_tasks_within_30_seconds(world: Any) -> None:
    """Of CPU time of this process, which is the wall time on a machine that does nothing else."""
    import resource

    def cpu_seconds() -> float:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return usage.ru_utime + usage.ru_stime

    start = cpu_seconds()
    all_up(world, 1000)

    @ray.remote
    def work(x: int) -> int:
        return x

    assert sum(ray.get([work.remote(x) for x in range(100_000)])) == sum(range(100_000))
    took = cpu_seconds() - start
    assert took < 30, f"100,000 short tasks on 1,000 nodes took {took:.1f} s"
