"""Placement groups: set aside together or not at all, used by tasks and actors, ended with what runs in them."""

from __future__ import annotations

import time
from typing import Any

import pytest

import thornback as ray
from thornback.util import (
    get_current_placement_group,
    get_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from thornback.util.placement_group import PlacementGroup
from thornback.util.scheduling_strategies import PlacementGroupSchedulingStrategy as InGroup


def current_group() -> Any:
    """A remote function that says which group it runs in."""

    def where() -> PlacementGroup | None:
        return get_current_placement_group()

    return ray.remote(where)


def free_cpus() -> float:
    return ray.available_resources().get("CPU", 0)


def all_free(world: Any, cpus: float = 4) -> None:
    world.eventually(lambda: free_cpus() == cpus, "all CPUs are free again")


def test_a_group_sets_resources_aside_and_gives_them_back(world: Any) -> None:
    all_free(world)
    group = placement_group([{"CPU": 1}, {"CPU": 2}])
    assert group.wait(10)
    assert ray.get(group.ready(), timeout=10) == group
    assert group.bundle_specs == [{"CPU": 1}, {"CPU": 2}] and group.bundle_count == 2
    world.eventually(lambda: free_cpus() == 1, "three of four CPUs are set aside")
    assert placement_group_table(group)["state"] == "CREATED"
    remove_placement_group(group)
    all_free(world)
    assert placement_group_table(group)["state"] == "REMOVED"


def test_tasks_and_actors_run_in_their_bundle(world: Any) -> None:
    group = placement_group([{"CPU": 1}, {"CPU": 1}], strategy="STRICT_PACK")
    where = current_group()
    found = [where.options(scheduling_strategy=InGroup(group, index)).remote() for index in (0, 1, -1)]
    assert ray.get(found, timeout=20) == [group] * 3
    assert ray.get(where.options(placement_group=group, placement_group_bundle_index=1).remote()) == group
    assert ray.get(where.remote()) is None

    class Here:
        def group(self) -> PlacementGroup | None:
            return get_current_placement_group()

    actor = ray.remote(Here).options(num_cpus=1, scheduling_strategy=InGroup(group, 0)).remote()
    assert ray.get(actor.group.remote(), timeout=20) == group
    remove_placement_group(group)


def test_captured_children_run_in_the_group_unless_they_say_otherwise(world: Any) -> None:
    group = placement_group([{"CPU": 2}])
    where = current_group()

    def parent() -> list[Any]:
        inside = where.remote()
        outside = where.options(scheduling_strategy="DEFAULT").remote()
        return ray.get([inside, outside])

    run = ray.remote(parent)
    assert ray.get(run.options(scheduling_strategy=InGroup(group, 0, True)).remote(), timeout=20) == [group, None]
    assert ray.get(run.options(scheduling_strategy=InGroup(group, 0)).remote(), timeout=20) == [None, None]
    remove_placement_group(group)


def test_what_runs_in_a_removed_group_ends_with_its_own_error(world: Any) -> None:
    group = placement_group([{"CPU": 1}])
    where = InGroup(group, 0)

    def forever() -> None:
        time.sleep(1000)

    class Idle:
        def ping(self) -> None:
            pass

    running = ray.remote(forever).options(scheduling_strategy=where).remote()
    waiting = ray.remote(forever).options(scheduling_strategy=where).remote()
    actor = ray.remote(Idle).options(num_cpus=0, scheduling_strategy=where).remote()
    ray.get(actor.ping.remote(), timeout=20)
    remove_placement_group(group)
    for ref in (running, waiting, current_group().options(scheduling_strategy=where).remote()):
        with pytest.raises(ray.exceptions.TaskPlacementGroupRemoved):
            ray.get(ref, timeout=20)
    world.eventually(lambda: _has_ended(actor), "the actor has ended with its group")
    with pytest.raises(ray.exceptions.ActorPlacementGroupRemoved):
        ray.get(actor.ping.remote(), timeout=20)
    with pytest.raises(ray.exceptions.TaskPlacementGroupRemoved):
        group.wait(5)


def _has_ended(actor: Any) -> bool:
    try:
        ray.get(actor.ping.remote(), timeout=5)
    except ray.exceptions.ActorError:
        return True
    return False


def test_a_group_waits_until_there_is_room(world: Any) -> None:
    all_free(world)
    first = placement_group([{"CPU": 3}])
    assert first.wait(10)
    second = placement_group([{"CPU": 1}, {"CPU": 1}])
    assert not second.wait(0.3), "two CPUs are not free, so not even one is taken"
    assert "waits until {CPU: 2} is free" in placement_group_table(second)["reason"]
    remove_placement_group(first)
    assert second.wait(10)
    remove_placement_group(second)


def test_a_group_that_can_never_fit_says_so_at_once(world: Any) -> None:
    group = placement_group([{"CPU": 1}, {"CPU": 64}])
    assert not group.wait(0.2)
    reason = placement_group_table(group)["reason"]
    assert "bundle 1 needs {CPU: 64}" in reason and "the largest node" in reason and "{CPU: 4}" in reason
    remove_placement_group(group)
    strict = placement_group([{"CPU": 64}], fail_if_infeasible=True)
    with pytest.raises(ray.exceptions.TaskUnschedulableError, match="CPU: 64"):
        strict.wait(5)
    with pytest.raises(ray.exceptions.TaskUnschedulableError, match="CPU: 64"):
        ray.get(strict.ready(), timeout=5)


def test_a_task_that_its_bundle_can_never_hold_fails(world: Any) -> None:
    group = placement_group([{"CPU": 1}])
    task = current_group().options(num_cpus=2, scheduling_strategy=InGroup(group)).remote()
    with pytest.raises(ray.exceptions.TaskUnschedulableError, match=r"needs \{CPU: 2\}.*\{CPU: 1\}"):
        ray.get(task, timeout=20)
    remove_placement_group(group)


def test_named_groups_are_found_by_name(world: Any) -> None:
    group = placement_group([{"CPU": 1}], name="mine")
    found = get_placement_group("mine")
    assert found == group and found.bundle_specs == [{"CPU": 1}]
    with pytest.raises(ValueError, match="'mine' is taken"):
        placement_group([{"CPU": 1}], name="mine")
    with pytest.raises(ValueError, match=r"no placement group named 'other'.*'mine'"):
        get_placement_group("other")
    remove_placement_group(group)
    world.eventually(lambda: placement_group_table(group)["state"] == "REMOVED", "the group has ended")
    with pytest.raises(ValueError, match="no placement group named 'mine'"):
        get_placement_group("mine")


def test_a_group_of_an_actor_ends_with_it(world: Any) -> None:
    class Maker:
        def make(self) -> PlacementGroup:
            group = placement_group([{"CPU": 1}])
            group.wait(10)
            return group

    maker = ray.remote(Maker).options(num_cpus=0).remote()
    group = ray.get(maker.make.remote(), timeout=20)
    assert placement_group_table(group)["state"] == "CREATED"
    ray.kill(maker)
    world.eventually(lambda: placement_group_table(group)["state"] == "REMOVED", "the group has ended with its actor")


@pytest.mark.cluster(cpus=4, init={"num_gpus": 2})
@pytest.mark.only("real")
def test_bundles_hold_certain_gpus(world: Any) -> None:
    group = placement_group([{"CPU": 1, "GPU": 1}, {"CPU": 1, "GPU": 0.5}])

    def gpus() -> tuple[list[int], str | None]:
        import os

        return ray.get_gpu_ids(), os.environ.get("CUDA_VISIBLE_DEVICES")

    task = ray.remote(gpus).options(num_gpus=0.5)
    for index in (0, 1):
        found, visible = ray.get(task.options(scheduling_strategy=InGroup(group, index)).remote(), timeout=20)
        assert found == [index] and visible == str(index)
    outside = ray.get(task.remote(), timeout=20)
    assert outside == ([1], "1"), "GPU 0 belongs to the group, half of GPU 1 is free"
    remove_placement_group(group)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([],), "must not be empty"),
        (([{}],), "bundle 0 is empty"),
        (([{"CPU": 1}, {"CPU": 0}],), "bundle 1 is empty"),
        (([{"CPU": -1}],), "bundle 0 has 'CPU': -1"),
        (([{"CPU": 1}], "DIAGONAL"), "PACK, SPREAD, STRICT_PACK, STRICT_SPREAD, not 'DIAGONAL'"),
        (([{"CPU": 1}], "PACK", "", "eternal"), "not 'eternal'"),
        (("CPU",), "must be a list"),
    ],
)
def test_bad_groups_are_refused(world: Any, arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        placement_group(*arguments)


def test_a_bad_bundle_index_is_refused(world: Any) -> None:
    group = placement_group([{"CPU": 1}])
    with pytest.raises(ValueError, match="index=3: must be an index from 0 to 0"):
        InGroup(group, 3)
    remove_placement_group(group)
    with pytest.raises(TypeError, match="not 7"):
        remove_placement_group(7)  # type: ignore[arg-type]
