"""Tasks whose arguments together exceed the store take turns; none waits for ever, and none starves another."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

import thornback as ray
from tests.worlds.conftest import World
from tests.worlds.test_objects import MIB, array, settle

STORE = 80 * MIB
FOUR_CPUS = pytest.mark.cluster(
    cpus=4,
    init={
        "object_store_memory": STORE,
        "_system_config": {"spill_file_size": 16 * MIB, "allocation_wait": 1_000_000_000},
    },
)


@FOUR_CPUS
def test_tasks_that_fit_one_by_one_take_turns(world: World) -> None:
    @ray.remote
    def both(one: Any, other: Any) -> int:
        time.sleep(0.05)
        return int(one[0]) + int(other[-1])

    refs = [ray.put(array(30, index)) for index in range(8)]
    results = [both.remote(refs[index], refs[-1 - index]) for index in range(8)]
    assert ray.get(results) == [7] * 8
    del refs, results
    settle(world)


@FOUR_CPUS
def test_a_task_waits_for_its_arguments_as_long_as_others_run_with_theirs(world: World) -> None:
    @ray.remote
    def slow(value: Any) -> int:
        time.sleep(3.5)
        return int(value[0])

    one, other = ray.put(array(50, 1)), ray.put(array(50, 2))
    assert ray.get([slow.remote(one), slow.remote(other)]) == [1, 2]
    del one, other
    settle(world)


@FOUR_CPUS
def test_the_result_of_a_task_comes_before_arguments_of_the_next(world: World) -> None:
    @ray.remote
    def double(value: Any) -> Any:
        time.sleep(0.2)
        return np.concatenate([value, value])

    refs = [ray.put(array(25, index)) for index in range(6)]
    results = [double.remote(ref) for ref in refs]
    del refs
    for index, result in enumerate(results):
        value = ray.get(result)
        assert value.nbytes == 50 * MIB and int(value[0]) == int(value[-1]) == index
        del value
    del result, results
    settle(world)


@FOUR_CPUS
def test_arguments_of_queued_tasks_make_way_for_the_one_that_runs(world: World) -> None:
    @ray.remote(num_cpus=4)
    def grow(value: Any) -> Any:
        time.sleep(0.05)
        return array(60, int(value[0]))

    refs = [ray.put(array(4, index)) for index in range(12)]
    for index, result in enumerate([grow.remote(ref) for ref in refs]):
        value = ray.get(result)
        assert value.nbytes == 60 * MIB and int(value[0]) == index
        del value
    del refs, result
    settle(world)


@ray.remote
def first_bytes(*values: Any) -> list[int]:
    return [int(value[0]) for value in values]


@FOUR_CPUS
def test_arguments_that_exceed_the_store_are_read_from_memory_and_files(world: World) -> None:
    refs = [ray.put(array(30, index)) for index in range(3)]
    assert ray.get(first_bytes.remote(*refs)) == [0, 1, 2]
    del refs
    settle(world)


@pytest.mark.cluster(
    cpus=2,
    init={
        "object_store_memory": STORE,
        "_system_config": {"spill_file_size": 16 * MIB, "allocation_wait": 1_000_000_000, "spill_limit": 40 * MIB},
    },
)
def test_arguments_for_which_there_is_no_room_on_disk_either_are_an_error_that_says_so(world: World) -> None:
    noise = np.random.default_rng(1).integers(0, 255, 30 * MIB, dtype=np.uint8)
    refs = [ray.put(np.roll(noise, index)) for index in range(3)]
    with pytest.raises(ray.exceptions.ObjectStoreFullError, match=r"spill_limit is 41,943,040 bytes"):
        ray.get(first_bytes.remote(*refs))
    del refs
    settle(world)


@FOUR_CPUS
def test_a_task_whose_arguments_leave_no_room_for_those_of_its_child_gets_its_result(world: World) -> None:
    @ray.remote
    def parent(value: Any, box: list[Any]) -> int:
        return int(ray.get(first_bytes.remote(box[0]))[0]) + int(value[0])

    one, other = ray.put(array(50, 1)), ray.put(array(50, 2))
    assert ray.get(parent.remote(one, [other])) == 3
    del one, other
    settle(world)


@FOUR_CPUS
def test_a_cancelled_task_gives_its_place_in_the_queue_for_room_back(world: World) -> None:
    @ray.remote
    def hold(value: Any) -> int:
        time.sleep(1)
        return int(value[0])

    one, other, third = (ray.put(array(50, index)) for index in range(3))
    first = hold.remote(one)
    second = hold.remote(other)
    time.sleep(0.3)
    last = hold.remote(third)
    ray.cancel(second)
    with pytest.raises(ray.exceptions.TaskCancelledError):
        ray.get(second)
    assert ray.get([first, last]) == [0, 2]
    del one, other, third, first, second, last
    settle(world)


@pytest.mark.only("simulated")
@pytest.mark.cluster(
    cpus=2,
    nodes=3,
    init={
        "object_store_memory": STORE,
        "_system_config": {"spill_file_size": 16 * MIB, "allocation_wait": 2_000_000_000},
    },
)
def test_nodes_that_need_each_others_objects_do_not_wait_in_a_circle(world: World) -> None:
    @ray.remote(scheduling_strategy="SPREAD")
    def make(seed: int) -> Any:
        return array(30, seed)

    @ray.remote(scheduling_strategy="SPREAD")
    def both(one: Any, other: Any) -> int:
        time.sleep(0.1)
        return int(one[0]) * 100 + int(other[-1])

    refs = [make.remote(seed) for seed in range(9)]
    pairs = [(index, (index * 4 + 1) % 9) for index in range(9)] + [(index, (index + 1) % 9) for index in range(9)]
    assert ray.get([both.remote(refs[one], refs[other]) for one, other in pairs]) == [a * 100 + b for a, b in pairs]
    del refs
    settle(world)
