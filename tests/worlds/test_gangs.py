"""Many placement groups on many nodes: none partial, none starved, whatever dies meanwhile."""

from __future__ import annotations

import time
from typing import Any

import pytest

import thornback as ray
from thornback.util import placement_group, placement_group_table, remove_placement_group
from thornback.util.scheduling_strategies import PlacementGroupSchedulingStrategy as InGroup

pytestmark = [pytest.mark.only("simulated"), pytest.mark.timeout(120)]


def bundles_by_group(world: Any) -> dict[bytes, dict[int, str]]:
    """What the nodes alive have set aside: node by bundle index, by group."""
    found: dict[bytes, dict[int, str]] = {}
    for node in world.simulation.nodes:
        if node.alive:
            for group_id, group in node.process.core.raylet.bundles.groups.items():
                for index in group.bundles:
                    assert index not in found.get(group_id, {}), f"bundle {index} is set aside twice"
                    found.setdefault(group_id, {})[index] = node.name
    return found


def settled(world: Any, groups: list[Any]) -> None:
    """Each group has all of its bundles on nodes alive, and nothing else is set aside."""

    def is_settled() -> bool:
        held = bundles_by_group(world)
        whole = all(len(held.get(group.id.binary(), {})) == group.bundle_count for group in groups)
        return whole and len(held) == len(groups)

    world.eventually(is_settled, f"{len(groups)} groups have all their bundles, and no others any")


@pytest.mark.cluster(nodes=50, cpus=4)
def test_spread_puts_a_few_actors_on_as_many_nodes(world: Any) -> None:
    class Worker:
        def node(self) -> str:
            return ray.get_runtime_context().get_node_id()

    make = ray.remote(Worker).options(num_cpus=1, scheduling_strategy="SPREAD")
    for _ in range(6):
        actors = [make.remote() for _ in range(4)]
        places = ray.get([actor.node.remote() for actor in actors])
        assert len(set(places)) == 4, f"four actors on 50 nodes with room share nodes: {sorted(places)}"
        time.sleep(0.03)


@pytest.mark.cluster(nodes=3, cpus=4)
def test_a_group_gets_its_place_among_endless_tasks_and_smaller_groups(world: Any) -> None:
    class Stream:
        async def run(self) -> None:
            import asyncio

            task = ray.remote(time.sleep)

            async def lane() -> None:
                while True:
                    await task.remote(0.05)

            await asyncio.gather(*[lane() for _ in range(40)])

    stream = ray.remote(Stream).options(num_cpus=0).remote()
    stream.run.remote()
    small = [placement_group([{"CPU": 1}]) for _ in range(2)]
    time.sleep(1)
    start = time.monotonic()
    large = placement_group([{"CPU": 4}, {"CPU": 3}], strategy="STRICT_SPREAD")
    for _ in range(20):
        remove_placement_group(small.pop(0))
        small.append(placement_group([{"CPU": 1}]))
        if large.wait(0.5):
            break
    took = time.monotonic() - start
    assert placement_group_table(large)["state"] == "CREATED", "the large group waits for ever"
    assert took < 5, f"it took {took:.1f} s to set two nodes aside among tasks of 0.05 s"
    ray.kill(stream)


@pytest.mark.cluster(nodes=6, cpus=4)
@pytest.mark.parametrize("moment", [0.0002, 0.0006, 0.001, 0.002, 0.01])
def test_a_node_that_dies_while_groups_are_made_leaves_none_partial(world: Any, moment: float) -> None:
    groups = [placement_group([{"CPU": 1}] * 4, strategy="STRICT_SPREAD") for _ in range(3)]
    time.sleep(moment)
    world.simulation.kill_node(3)
    for group in groups:
        assert group.wait(60)
    settled(world, groups)


@pytest.mark.cluster(nodes=4, cpus=4)
def test_bundles_of_a_dead_node_are_placed_again_one_by_one(world: Any) -> None:
    group = placement_group([{"CPU": 2}] * 3, strategy="STRICT_SPREAD")
    assert group.wait(10)
    before = placement_group_table(group)["bundles_to_node_id"]
    lost = next(index for index, node in before.items() if node != ray.get_runtime_context().get_node_id())
    world.simulation.kill_node(next(i for i, n in enumerate(world.simulation.nodes) if n.node_id.hex() == before[lost]))

    def placed_again() -> bool:
        row = placement_group_table(group)
        return row["state"] == "CREATED" and row["bundles_to_node_id"] != before

    world.eventually(placed_again, "the bundle of the dead node has another place")
    after = placement_group_table(group)["bundles_to_node_id"]
    assert after[lost] != before[lost]
    assert {i: n for i, n in after.items() if i != lost} == {i: n for i, n in before.items() if i != lost}
    where = ray.remote(lambda: ray.get_runtime_context().get_node_id())
    assert ray.get(where.options(scheduling_strategy=InGroup(group, lost)).remote(), timeout=20) == after[lost]
    settled(world, [group])


@pytest.mark.cluster(nodes=3, cpus=4)
def test_a_node_that_does_not_answer_delays_a_group_and_no_more(world: Any) -> None:
    cut = world.simulation.cut([0, 1], [2])
    group = placement_group([{"CPU": 3}] * 2, strategy="STRICT_SPREAD")
    time.sleep(8)
    world.simulation.heal(cut)
    assert group.wait(60)
    settled(world, [group])
    remove_placement_group(group)
    world.eventually(lambda: ray.available_resources().get("CPU") == 12, "everything is given back")


@pytest.mark.cluster(nodes=3, cpus=2)
def test_only_detached_groups_outlive_the_program_that_made_them(world: Any) -> None:
    from tests.worlds.test_fairness import Program

    other = Program()
    with other.active():
        bound = placement_group([{"CPU": 1}])
        detached = placement_group([{"CPU": 1}], lifetime="detached", name="kept")
        assert bound.wait(10) and detached.wait(10)
    other.end()
    world.eventually(lambda: placement_group_table(bound)["state"] == "REMOVED", "it ends with its program")
    assert placement_group_table(detached)["state"] == "CREATED"
    settled(world, [detached])


@pytest.mark.cluster(nodes=2, cpus=2)
def test_a_removed_group_is_refused(world: Any) -> None:
    group = placement_group([{"CPU": 1}])
    assert group.wait(10)
    remove_placement_group(group)
    world.eventually(lambda: placement_group_table(group)["state"] == "REMOVED", "the group has ended")
    with pytest.raises(ray.exceptions.TaskPlacementGroupRemoved, match=r"was removed|has ended"):
        ray.get(ray.remote(time.sleep).options(scheduling_strategy=InGroup(group)).remote(0), timeout=20)
    with pytest.raises(ray.exceptions.TaskPlacementGroupRemoved):
        group.wait(5)


def gangs(world: Any, count: int, seconds: float) -> float:
    """Run that many groups of eight workers for some seconds each; returns the part of all CPU time that was used."""
    groups = [placement_group([{"CPU": 1}] * 8, strategy="PACK") for _ in range(count)]
    task = ray.remote(time.sleep)
    cpus = ray.cluster_resources()["CPU"]
    start = time.monotonic()
    running: dict[Any, tuple[Any, list[Any]]] = {}
    used = 0.0
    waiting = {group.ready(): group for group in groups}
    while waiting or running:
        done, _ = ray.wait([*waiting, *running], num_returns=1, timeout=60)
        assert done, f"{len(waiting)} groups wait for ever, {len(running)} run"
        for ref in done:
            if ref in waiting:
                group = waiting.pop(ref)
                held = bundles_by_group(world).get(group.id.binary(), {})
                assert len(held) == 8, f"a group is ready with bundles {sorted(held)}"
                refs = [task.options(scheduling_strategy=InGroup(group, i)).remote(seconds) for i in range(8)]
                running[refs[0]] = (group, refs)
            else:
                group, refs = running.pop(ref)
                ray.get(refs)
                used += 8 * seconds
                remove_placement_group(group)
    share = used / (cpus * (time.monotonic() - start))
    world.eventually(lambda: not bundles_by_group(world), "all bundles are given back")
    return share


@pytest.mark.cluster(nodes=20, cpus=8)
def test_gangs_use_the_cluster_and_none_is_partial(world: Any) -> None:
    share = gangs(world, 100, 10.0)
    assert share >= 0.9, f"gangs of eight use {share:.0%} of the cluster"


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.cluster(nodes=100, cpus=8)
def test_a_thousand_gangs_of_eight_use_nine_tenths_of_a_hundred_nodes(world: Any) -> None:
    share = gangs(world, 1000, 10.0)
    print(f"1,000 gangs of 8 on 100 nodes: {share:.1%} of the CPU time used")
    assert share >= 0.9, f"gangs of eight use {share:.0%} of the cluster"
