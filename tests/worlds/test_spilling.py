"""More data than memory, in both worlds: spilled, restored, verified, and nothing left at the end."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import thornback as ray
from tests.worlds.conftest import World
from tests.worlds.test_objects import MIB, array, settle
from thornback.util import state
from thornback.util.scheduling_strategies import NodeAffinitySchedulingStrategy

STORE = 80 * MIB
SMALL_STORE = pytest.mark.cluster(
    cpus=2,
    init={
        "object_store_memory": STORE,
        "_system_config": {"spill_file_size": 16 * MIB, "allocation_wait": 3_000_000_000},
    },
)
NO_SPILLING = pytest.mark.cluster(
    cpus=2,
    init={"object_store_memory": STORE, "_system_config": {"spill_limit": 0, "allocation_wait": 300_000_000}},
)
QUOTA = pytest.mark.cluster(
    cpus=2,
    init={"object_store_memory": STORE, "_system_config": {"spill_limit": 40 * MIB, "allocation_wait": 300_000_000}},
)


def nothing_on_disk() -> bool:
    return all(
        store["spilled_bytes"] == store["spill_files"] == store["outside_bytes"] == 0 for store in state.list_stores()
    )


@SMALL_STORE
def test_four_times_the_store_flows_through_a_map_and_a_shuffle(world: World) -> None:
    parts, rows = 16, 20 * MIB // 8

    @ray.remote
    def generate(seed: int) -> Any:
        return np.random.default_rng(seed).integers(0, 1 << 40, rows)

    @ray.remote(num_returns=4)
    def split(block: Any) -> Any:
        return tuple(block[block % 4 == index] for index in range(4))

    @ray.remote
    def total(*pieces: Any) -> tuple[int, int]:
        return sum(len(piece) for piece in pieces), int(sum(int(piece.sum() % (1 << 61)) for piece in pieces))

    blocks = [generate.remote(seed) for seed in range(parts)]
    pieces = [split.remote(block) for block in blocks]
    del blocks
    results = [
        ray.get(total.remote(*[column[index] for column in pieces[start : start + 4]]))
        for index in range(4)
        for start in range(0, parts, 4)
    ]
    assert sum(store["spilled_bytes"] for store in state.list_stores()) > 0
    expected_rows = expected_sum = 0
    for seed in range(parts):
        block = np.random.default_rng(seed).integers(0, 1 << 40, rows)
        expected_rows += len(block)
        expected_sum += int(block.sum())
    assert sum(count for count, _ in results) == expected_rows
    assert sum(amount for _, amount in results) == expected_sum
    del pieces
    settle(world)
    world.eventually(nothing_on_disk, "all spill files should be deleted")


@SMALL_STORE
def test_every_byte_comes_back_whether_it_compresses_or_not(world: World) -> None:
    noise = np.random.default_rng(1).integers(0, 255, 12 * MIB, dtype=np.uint8)
    values = [np.roll(noise, index) if index % 2 else array(12, index) for index in range(14)]
    refs = [ray.put(value) for value in values]
    for ref, value in zip(refs, values, strict=True):
        assert np.array_equal(ray.get(ref), value)
    del ref, refs
    settle(world)


@SMALL_STORE
def test_pinned_objects_stay_in_memory(world: World) -> None:
    kept = ray.put(array(20, 3), _pin_memory=True)
    others = [ray.put(array(20, index)) for index in range(6)]
    rows = {row["object_id"]: row for row in state.list_objects()}
    assert rows[kept.hex()]["memory_bytes"] >= 20 * MIB and rows[kept.hex()]["disk_bytes"] == 0
    assert any(rows[ref.hex()]["disk_bytes"] for ref in others)
    del kept, others
    settle(world)


@NO_SPILLING
def test_what_is_being_read_stays_and_the_error_names_the_holders(world: World) -> None:
    views = [ray.get(ray.put(array(20, index))) for index in range(3)]
    with pytest.raises(ray.exceptions.ObjectStoreFullError) as caught:
        ray.put(array(40))
    assert "being read" in str(caught.value) and "test_spilling.py" in str(caught.value)
    assert [int(view[0]) for view in views] == [0, 1, 2]
    del views
    ray.put(array(40))
    settle(world)


@SMALL_STORE
def test_a_value_that_finds_no_room_beside_what_is_read_goes_to_a_file_of_its_own(world: World) -> None:
    views = [ray.get(ray.put(array(20, index))) for index in range(3)]
    ref = ray.put(array(40, 3))
    (store,) = state.list_stores()
    assert store["outside_bytes"] >= 40 * MIB and store["used"] >= 60 * MIB

    @ray.remote
    def check(value: Any) -> tuple[int, int]:
        return int(value.min()), int(value.max())

    assert ray.get(check.remote(ref)) == (3, 3)
    assert [int(view[0]) for view in views] == [0, 1, 2]
    del views, ref
    settle(world)
    world.eventually(lambda: not state.list_stores()[0]["outside_bytes"], "the file goes with its object")


@SMALL_STORE
def test_more_than_fits_can_be_read_at_the_same_time(world: World) -> None:
    refs = [ray.put(array(20, index)) for index in range(6)]
    views = [ray.get(ref) for ref in refs]
    assert [(int(view.min()), int(view.max())) for view in views] == [(index, index) for index in range(6)]
    assert state.list_stores()[0]["outside_bytes"] >= 20 * MIB
    del views
    world.eventually(lambda: not state.list_stores()[0]["outside_bytes"], "what is on disk anyway needs no file")
    assert [int(ray.get(ref)[0]) for ref in refs] == list(range(6))
    del refs
    settle(world)


@SMALL_STORE
def test_a_result_that_does_not_fit_beside_its_arguments_goes_to_a_file_of_its_own(world: World) -> None:
    @ray.remote
    def grow(value: Any) -> Any:
        return array(50, int(value[0]) + 1)

    argument = ray.put(array(50, 1))
    result = ray.get(grow.remote(argument))
    assert (int(result.min()), int(result.max()), result.nbytes) == (2, 2, 50 * MIB)
    del argument, result
    settle(world)


@NO_SPILLING
def test_without_spilling_puts_wait_and_then_fail(world: World) -> None:
    refs = [ray.put(array(25, index)) for index in range(3)]
    with pytest.raises(ray.exceptions.ObjectStoreFullError, match="largest holders"):
        ray.put(array(25))
    del refs
    settle(world)


@QUOTA
def test_the_quota_is_kept_and_named(world: World) -> None:
    noise = np.random.default_rng(1).integers(0, 255, 20 * MIB, dtype=np.uint8)
    refs = []
    with pytest.raises(ray.exceptions.ObjectStoreFullError, match="spill_limit"):
        for index in range(10):
            refs.append(ray.put(np.roll(noise, index)))
    assert len(refs) >= 4
    for index, ref in enumerate(refs[:2]):
        assert np.array_equal(ray.get(ref), np.roll(noise, index))
    del ref, refs
    settle(world)


@pytest.mark.only("simulated")
@pytest.mark.cluster(
    cpus=2,
    nodes=3,
    init={"object_store_memory": STORE, "_system_config": {"spill_file_size": 16 * MIB}},
)
def test_nodes_fetch_what_others_have_spilled(world: World) -> None:
    @ray.remote(scheduling_strategy="SPREAD")
    def make(seed: int) -> Any:
        return array(12, seed)

    @ray.remote(scheduling_strategy="SPREAD")
    def check(*values: Any) -> list[int]:
        assert all(int(value.min()) == int(value.max()) for value in values)
        return [int(value[0]) for value in values]

    refs = [make.remote(seed) for seed in range(24)]
    ray.wait(refs, num_returns=len(refs))
    for shift in range(3):
        groups = [[refs[(index * 7 + shift * 5 + step) % 24] for step in range(3)] for index in range(12)]
        results = ray.get([check.remote(*group) for group in groups])
        assert results == [[(index * 7 + shift * 5 + step) % 24 for step in range(3)] for index in range(12)]
    stores = state.list_stores()
    assert len(stores) == 3 and sum(store["spilled_bytes"] for store in stores) > 0
    rows = state.list_objects()
    assert sum(row["memory_bytes"] for row in rows) == sum(store["used"] for store in stores)
    del refs, groups
    settle(world)


@NO_SPILLING
def test_a_value_larger_than_the_store_without_spilling_names_both_sizes(world: World) -> None:
    with pytest.raises(
        ray.exceptions.ObjectStoreFullError, match=r"209,\d{3},\d{3} bytes does not fit.*83,886,080.*spill_limit=0"
    ):
        ray.put(array(200))


@QUOTA
def test_a_value_larger_than_the_store_and_the_quota_names_all_sizes(world: World) -> None:
    with pytest.raises(
        ray.exceptions.ObjectStoreFullError, match=r"209,\d{3},\d{3} bytes does not fit.*83,886,080.*41,943,040"
    ):
        ray.put(array(200))


@pytest.mark.only("simulated")
@pytest.mark.cluster(cpus=2, nodes=2, init={"object_store_memory": STORE})
def test_a_value_larger_than_the_store_reaches_other_nodes(world: World) -> None:
    @ray.remote
    def check(value: Any) -> bool:
        return bool((value == 7).all())

    ref = ray.put(array(100, 7))
    for node in ray.nodes():
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        assert ray.get(check.options(scheduling_strategy=there).remote(ref))
    assert sum(store["outside_bytes"] >= 100 * MIB for store in state.list_stores()) == 2
    del ref
    settle(world)
    world.eventually(nothing_on_disk, "files of large values should be deleted on all nodes")


@SMALL_STORE
def test_half_empty_spill_files_are_rewritten(world: World) -> None:
    noise = np.random.default_rng(1).integers(0, 255, 4 * MIB, dtype=np.uint8)
    refs = [ray.put(np.roll(noise, index)) for index in range(60)]
    kept = {index: refs[index] for index in range(0, 60, 8)}
    del refs

    def is_compact() -> bool:
        (store,) = state.list_stores()
        return bool(store["spilled_bytes"] <= 2 * store["spilled_needed"] + 16 * MIB)

    world.eventually(is_compact, "files of 240 MiB, of which 32 MiB are needed, should be rewritten")
    for index, ref in kept.items():
        assert np.array_equal(ray.get(ref), np.roll(noise, index)), f"object {index} should be what was put"
    del kept, ref
    settle(world)
    world.eventually(nothing_on_disk, "rewritten files should be deleted with their objects")
