"""Objects in both worlds: zero-copy reads, references in every place, lost and full stores, the ledger."""

from __future__ import annotations

import gc
import pickle
import time
from typing import Any

import numpy as np
import pytest

import thornback as ray
from tests.worlds.conftest import World
from thornback.util import state

MIB = 1 << 20


def array(megabytes: float, value: int = 1) -> Any:
    return np.full(int(megabytes * MIB), value, np.uint8)


def settle(world: World) -> None:
    """Until no object is left anywhere."""

    def nothing_left() -> bool:
        gc.collect()
        stores = state.list_stores()
        return bool(stores) and all(store["objects"] == 0 and store["used"] == 0 for store in stores)

    world.eventually(nothing_left, "all objects should be freed")


def test_large_values_are_read_without_a_copy_and_are_read_only(world: World) -> None:
    ref = ray.put({"a": np.arange(MIB), "b": [array(1, 3)], "c": "text"})
    first, second = ray.get(ref), ray.get(ref)
    assert np.array_equal(first["a"], np.arange(MIB)) and first["c"] == "text"
    assert first["a"].__array_interface__["data"] == second["a"].__array_interface__["data"]
    with pytest.raises(ValueError, match="read-only"):
        first["a"][0] = 1
    writable = first["a"].copy()
    writable[0] = 7
    assert second["a"][0] == 0


def test_a_view_outlives_its_reference(world: World) -> None:
    value = ray.get(ray.put(array(2, 9)))
    part = value[100:200]
    del value
    others = [ray.put(array(2, index)) for index in range(5)]
    assert part.tolist() == [9] * 100
    del part, others
    settle(world)


def test_arrow_and_bytes_like_values_come_back_whole(world: World) -> None:
    import pyarrow as pa

    table = pa.table({"x": np.arange(300_000), "y": np.random.default_rng(0).random(300_000)})
    for value in (b"x" * MIB, bytearray(b"y" * MIB), table, np.asfortranarray(np.ones((500, 500)))):
        back = ray.get(ray.put(value))
        if isinstance(value, np.ndarray):
            assert np.array_equal(back, value) and back.flags.f_contiguous
        else:
            assert back == value


def test_references_inside_values_keep_their_objects(world: World) -> None:
    @ray.remote
    def make() -> Any:
        return {"deep": [ray.put(array(1, 5))]}

    @ray.remote
    def read(box: Any) -> int:
        return int(ray.get(box["deep"][0])[0])

    outer = make.remote()
    assert ray.get(read.remote(outer)) == 5
    inner = ray.get(outer)["deep"][0]
    del outer
    gc.collect()
    assert ray.get(inner)[0] == 5
    del inner
    settle(world)


def test_actors_keep_references_and_pass_them_on(world: World) -> None:
    @ray.remote(num_cpus=0)
    class Keeper:
        def __init__(self) -> None:
            self.kept: list[Any] = []

        def keep(self, box: list[Any]) -> None:
            self.kept += box

        def give(self) -> Any:
            return self.kept.pop()

    one, other = Keeper.remote(), Keeper.remote()
    ref = ray.put(array(1, 8))
    ray.get(one.keep.remote([ref]))
    del ref
    ray.get(other.keep.remote([ray.get(one.give.remote())]))
    gc.collect()
    assert ray.get(ray.get(other.give.remote()))[0] == 8
    settle(world)


def test_a_borrower_learns_at_once_that_the_owner_died(world: World) -> None:
    @ray.remote(num_cpus=0)
    class Owner:
        def make(self) -> Any:
            return [ray.put(array(1))]

    owner = Owner.remote()
    ref = ray.get(owner.make.remote())[0]
    ray.kill(owner)

    def refused() -> str:
        try:
            ray.get(ref, timeout=20)
        except ray.exceptions.OwnerDiedError as error:
            return str(error)
        return ""

    assert "owner" in world.eventually(refused, "a get should notice that the owner has died")


def test_an_error_while_unpickling_says_so_at_the_get(world: World) -> None:
    class Fragile:
        def __reduce__(self) -> Any:
            return (int, ("not a number",))

    with pytest.raises(ray.exceptions.ThornbackError, match=r"ValueError.*not a number"):
        ray.get(ray.put(Fragile()))


def test_results_of_a_task_that_fails_afterwards_are_freed(world: World) -> None:
    @ray.remote(num_returns=2)
    def broken() -> Any:
        class Unpicklable:
            def __reduce__(self) -> Any:
                raise RuntimeError("no")

        return array(2), Unpicklable()

    refs = broken.remote()
    with pytest.raises(ray.exceptions.TaskError):
        ray.get(refs)
    del refs
    settle(world)


def test_the_ledger_accounts_for_every_byte(world: World) -> None:
    settle(world)
    mine = ray.put(array(3))
    small = ray.put("small")

    @ray.remote
    def produce() -> Any:
        return array(2)

    made = produce.remote()
    value = ray.get(made)
    rows = {row["object_id"]: row for row in state.list_objects()}
    stores = state.list_stores()
    assert sum(row["memory_bytes"] for row in rows.values()) == sum(store["used"] for store in stores)
    assert "test_objects.py" in rows[mine.hex()]["call_site"]
    assert rows[mine.hex()]["reference_kinds"] == ["LOCAL_REFERENCE"]
    assert rows[small.hex()]["where"] == "INLINE" and rows[small.hex()]["memory_bytes"] == 0
    assert rows[made.hex()]["call_site"].endswith("produce") and rows[made.hex()]["pins"] == 1
    assert rows[made.hex()]["memory_bytes"] >= 2 * MIB
    del mine, small, made, value
    settle(world)


@pytest.mark.cluster(init={"_system_config": {"record_call_sites": True}})
def test_call_sites_of_results_are_recorded_where_that_is_wanted(world: World) -> None:
    @ray.remote
    def small() -> int:
        return 1

    @ray.remote(num_cpus=0)
    class Maker:
        def large(self) -> Any:
            return array(1)

    made = [small.remote(), Maker.remote().large.remote()]
    ray.get(made)
    rows = {row["object_id"]: row for row in state.list_objects()}
    sites = [rows[ref.hex()]["call_site"] for ref in made]
    assert "test_objects.py" in sites[0] and sites[0].endswith("(task small)")
    assert "test_objects.py" in sites[1] and sites[1].endswith("large)")


def test_small_results_have_an_owner_an_age_and_the_name_of_their_task(world: World) -> None:
    @ray.remote
    def small() -> int:
        return 1

    made = small.remote()
    ray.get(made)
    time.sleep(0.3)
    (row,) = (row for row in state.list_objects() if row["object_id"] == made.hex())
    assert row["call_site"] == "task small" and row["where"] == "INLINE"
    assert 0.3 <= row["age_s"] < 30
    assert row["owner"] and row["reference_kinds"] == ["LOCAL_REFERENCE"]


@pytest.mark.cluster(cpus=3, init={"object_store_memory": 80 * MIB, "_system_config": {"spill_file_size": 8 * MIB}})
def test_the_ledger_adds_up_to_what_the_arena_holds_while_anything_may_happen(world: World) -> None:
    generator = np.random.default_rng(7)

    @ray.remote
    def grow(value: Any) -> Any:
        return np.concatenate([value, value[: len(value) // 2]])

    @ray.remote
    def fail(value: Any) -> Any:
        kept = ray.put(value[:MIB].copy())
        raise ValueError(str(kept))

    refs: list[Any] = []
    views: list[Any] = []
    for step in range(60):
        kind = generator.integers(0, 6)
        if kind <= 1 or not refs:
            refs.append(ray.put(array(float(generator.uniform(0.05, 8)), step)))
        elif kind == 2:
            refs.append(grow.remote(refs[generator.integers(0, len(refs))]))
        elif kind == 3:
            refs.append(fail.remote(refs[0]))
        elif kind == 4:
            del refs[generator.integers(0, len(refs))]
        else:
            try:
                views.append(ray.get(refs[generator.integers(0, len(refs))]))
            except ray.exceptions.TaskError:
                pass
            del views[:-2]

        def adds_up() -> bool:
            rows, stores = state.list_objects(limit=1 << 60), state.list_stores()
            return sum(row["memory_bytes"] for row in rows) == sum(store["used"] for store in stores)

        if step % 6 == 0:
            world.eventually(adds_up, "the bytes of all objects should add up to what the arena has given out")
    ray.wait(refs, num_returns=len(refs))
    del refs, views
    settle(world)


def test_references_in_closures_and_pickled_by_hand_work(world: World) -> None:
    """Both are kept for as long as this process lives, so this test comes last."""
    ref = ray.put(array(1, 4))

    @ray.remote
    def captured() -> int:
        return int(ray.get(ref)[0])

    assert ray.get(captured.remote()) == 4
    data = pickle.dumps(ray.put(array(1, 6)))
    gc.collect()
    assert ray.get(pickle.loads(data))[0] == 6
