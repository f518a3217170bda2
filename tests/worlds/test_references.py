"""Objects live as long as somebody refers to them, wherever that is; and not longer."""

from __future__ import annotations

import gc
import os
import time
from typing import Any

import numpy
import pytest

import thornback as ray
from thornback.api import current
from thornback.core import blocking
from thornback.exceptions import DeserializationError, OwnerDiedError

SIZE = 1_000_000


def stored() -> int:
    """Objects in the shared memory of this node, by the node's own account."""
    gc.collect()
    return len(blocking.query(current.require(), "objects"))


def test_an_object_is_freed_with_its_last_reference(world: Any) -> None:
    ref = ray.put(numpy.zeros(SIZE))
    other = ref
    assert stored() == 1
    del ref
    assert stored() == 1, "there is another reference"
    del other
    world.eventually(lambda: stored() == 0, "the object is freed with its last reference")


def test_results_of_tasks_are_freed_too(world: Any) -> None:
    @ray.remote
    def make() -> Any:
        return numpy.zeros(SIZE)

    refs = [make.remote() for _ in range(4)]
    ray.wait(refs, num_returns=4)
    assert stored() == 4
    del refs
    world.eventually(lambda: stored() == 0, "all four are freed")


def test_arguments_are_kept_until_the_task_has_ended(world: Any) -> None:
    gate = world.signal()

    @ray.remote
    def last(array: Any) -> float:
        ray.get(gate.wait.remote())
        return float(array[-1])

    result = last.remote(ray.put(numpy.ones(SIZE)))
    world.eventually(lambda: ray.get(gate.count.remote()) == 1, "the task runs")
    assert stored() == 1
    gate.send.remote()
    assert ray.get(result) == 1.0
    world.eventually(lambda: stored() == 0, "the argument is freed after the task")


def test_a_view_keeps_its_memory(world: Any) -> None:
    array = ray.get(ray.put(numpy.arange(SIZE)))
    gc.collect()
    part = array[10:20]
    del array
    filler = [ray.put(numpy.zeros(SIZE)) for _ in range(3)]
    assert list(part) == list(range(10, 20))
    del part, filler
    world.eventually(lambda: stored() == 0, "the memory goes with the last view of it")


def test_an_actor_that_keeps_a_reference_keeps_the_object(world: Any) -> None:
    @ray.remote
    class Keeper:
        def keep(self, refs: list[Any]) -> None:
            self.refs = refs

        def total(self) -> float:
            return float(ray.get(self.refs[0]).sum())

        def drop(self) -> None:
            self.refs = []

    keeper = Keeper.remote()
    ref = ray.put(numpy.ones(SIZE))
    ray.get(keeper.keep.remote([ref]))
    del ref
    gc.collect()
    assert ray.get(keeper.total.remote()) == SIZE
    assert stored() == 1
    ray.get(keeper.drop.remote())
    world.eventually(lambda: stored() == 0, "the actor was the last that referred to it")


def test_the_references_of_a_dead_actor_are_dropped(world: Any) -> None:
    @ray.remote
    class Keeper:
        def keep(self, refs: list[Any]) -> None:
            self.refs = refs

    keeper = Keeper.remote()
    ref = ray.put(numpy.ones(SIZE))
    ray.get(keeper.keep.remote([ref]))
    del ref
    gc.collect()
    assert stored() == 1
    ray.kill(keeper)
    world.eventually(lambda: stored() == 0, "a dead process holds nothing")


def test_an_object_inside_an_object_lives_with_it(world: Any) -> None:
    inner = ray.put(numpy.full(SIZE, 3))
    outer = ray.put([inner])
    del inner
    gc.collect()
    assert int(ray.get(ray.get(outer)[0])[0]) == 3
    del outer
    world.eventually(lambda: stored() == 0, "the inner object goes with the outer one")


def test_a_reference_that_a_task_returns_stays_valid(world: Any) -> None:
    @ray.remote
    def make() -> list[Any]:
        return [ray.put(numpy.full(SIZE, 5))]

    outer = make.remote()
    (inner,) = ray.get(outer)
    del outer
    gc.collect()
    assert int(ray.get(inner)[-1]) == 5
    del inner
    world.eventually(lambda: stored() == 0, "its owner, the worker, is told that it is not needed any more")


@pytest.mark.parametrize("padding", [0, SIZE], ids=["inline", "in shared memory"])
def test_a_value_with_many_references_holds_each_of_them_once(world: Any, padding: int) -> None:
    many = 40

    @ray.remote
    def make() -> dict[str, Any]:
        made = [ray.put(numpy.full(SIZE // 8, number)) for number in range(3)]
        small = [ray.put(number) for number in range(many)]
        return {"large": made, "small": small, "again": [*small, *made], "padding": bytes(padding)}

    @ray.remote
    def total(value: dict[str, Any]) -> int:
        return sum(ray.get(value["small"])) + sum(int(each[0]) for each in ray.get(value["large"]))

    outer = make.remote()
    value = ray.get(outer)
    expected = sum(range(many)) + 3
    assert ray.get(total.remote(outer)) == expected, "a task that is given the object reads what is in it"
    assert ray.get(total.remote(value)) == expected, "so does one that is given the references themselves"
    assert value["again"] == [*value["small"], *value["large"]], "a reference that is there twice is the same one"
    del outer
    assert ray.get(value["small"]) == list(range(many)), "the references outlive the object that held them"
    world.eventually(lambda: stored() == 3, "the three arrays are left: the object itself is not")
    del value
    world.eventually(lambda: stored() == 0, "everything is freed with the references")


def _refuse() -> None:
    raise ValueError("not here")


class Unreadable:
    """Cannot be unpickled."""

    def __reduce__(self) -> Any:
        return _refuse, ()


def test_references_in_a_value_that_cannot_be_unpickled_are_dropped(world: Any) -> None:
    @ray.remote
    def make() -> list[Any]:
        return [*(ray.put(number) for number in range(40)), ray.put(numpy.zeros(SIZE)), Unreadable()]

    outer = make.remote()
    with pytest.raises(DeserializationError, match="ValueError: not here"):
        ray.get(outer)
    assert stored() == 1
    del outer
    world.eventually(lambda: stored() == 0, "nobody refers to the array any more")


def test_a_reference_passed_through_several_tasks_stays_valid(world: Any) -> None:
    @ray.remote
    def pass_on(refs: list[Any], hops: int) -> list[Any]:
        if hops == 0:
            return refs
        return [ray.get(pass_on.remote(refs, hops - 1))[0]]

    ref = ray.put(numpy.full(SIZE, 8))
    (same,) = ray.get(pass_on.remote([ref], 3))
    assert same == ref
    del ref
    gc.collect()
    assert int(ray.get(same)[0]) == 8
    del same
    world.eventually(lambda: stored() == 0, "nobody refers to it any more")


def test_a_reference_stored_in_an_actor_by_one_task_is_read_by_another(world: Any) -> None:
    @ray.remote
    class Board:
        def __init__(self) -> None:
            self.refs: dict[str, Any] = {}

        def post(self, name: str, refs: list[Any]) -> None:
            self.refs[name] = refs[0]

        def read(self, name: str) -> list[Any]:
            return [self.refs[name]]

    @ray.remote
    def produce(board: Any) -> None:
        ref = numbers.remote()
        ray.get(board.post.remote("result", [ref]))

    @ray.remote
    def numbers() -> Any:
        return numpy.arange(SIZE)

    @ray.remote
    def consume(board: Any) -> int:
        (ref,) = ray.get(board.read.remote("result"))
        return int(ray.get(ref)[-1])

    board = Board.remote()
    ray.get(produce.remote(board))
    assert ray.get(consume.remote(board)) == SIZE - 1


def test_objects_of_a_dead_owner_raise(world: Any) -> None:
    @ray.remote
    class Maker:
        def make(self) -> list[Any]:
            return [ray.put(numpy.zeros(SIZE)), ray.put("small")]

    maker = Maker.remote()
    refs = ray.get(maker.make.remote())
    ray.kill(maker)

    def error() -> Any:
        try:
            ray.get(refs[0], timeout=20)
        except OwnerDiedError as found:
            return found
        return None

    found = world.eventually(error, "the owner is dead, and its objects with it")
    assert "owner" in str(found)
    with pytest.raises(OwnerDiedError):
        ray.get(refs[1], timeout=20)


def test_a_task_that_waits_for_an_object_of_a_dead_owner_is_told(world: Any) -> None:
    gate = world.signal()

    @ray.remote
    def never() -> int:
        ray.get(gate.wait.remote())
        return 1

    @ray.remote
    class Maker:
        def start(self) -> list[Any]:
            return [never.remote()]

        def die(self) -> None:
            os._exit(1)

    @ray.remote
    def wait_for(refs: list[Any]) -> str:
        try:
            ray.get(refs[0])
        except OwnerDiedError:
            return "told"
        return "value"

    maker = Maker.remote()
    refs = ray.get(maker.start.remote())
    waiting = wait_for.remote(refs)
    maker.die.remote()
    assert ray.get(waiting, timeout=30) == "told"


@pytest.mark.cluster(init={"object_store_memory": 100 * 1024 * 1024})
def test_memory_of_dropped_objects_is_used_again(world: Any) -> None:
    for _ in range(30):
        ref = ray.put(numpy.zeros(SIZE))
        del ref
    assert ray.get(ray.put(numpy.ones(SIZE)))[0] == 1


def test_the_store_is_empty_and_all_cpus_are_free_after_a_busy_program(world: Any) -> None:
    import contextlib

    def busy() -> None:
        @ray.remote
        def make(n: int) -> Any:
            return numpy.full(50_000, n)

        @ray.remote(max_retries=0)
        def use(array: Any, refs: list[Any]) -> Any:
            if int(array[0]) == 3:
                os._exit(1)
            return [refs[0], numpy.concatenate([array, ray.get(refs[0])])]

        @ray.remote(num_cpus=1)
        class Keeper:
            def keep(self, refs: list[Any]) -> int:
                self.refs = refs
                return len(refs)

        keeper = Keeper.remote()
        made = [make.remote(n) for n in range(8)]
        used = [use.remote(ref, [made[0]]) for ref in made]
        assert ray.get(keeper.keep.remote(used)) == 8
        for ref in used:
            with contextlib.suppress(ray.exceptions.WorkerCrashedError):
                ray.get(ref)

    busy()
    world.eventually(lambda: stored() == 0, "all objects are freed")
    world.eventually(lambda: ray.available_resources().get("CPU") == 4, "all CPUs are free")


def test_an_idle_worker_lives_on_while_others_use_what_it_owns(world: Any) -> None:
    """More workers than CPUs are idle after nested tasks; those that own objects in use do not end."""

    def inner(number: int) -> list[Any]:
        time.sleep(0.2)
        return [ray.put(number)]

    def outer(number: int) -> list[Any]:
        below = ray.get(ray.remote(inner).remote(number))
        return [ray.put(number), *below]

    made = ray.get([ray.remote(outer).remote(number) for number in range(8)])
    time.sleep(3)
    assert [ray.get(refs) for refs in made] == [[number, number] for number in range(8)]


@pytest.mark.only("real")
def test_an_idle_worker_lets_go_of_what_its_tasks_have_left_in_cycles(world: Any) -> None:
    @ray.remote(num_cpus=0)
    class Counter:
        def count(self) -> int:
            return 1

    @ray.remote
    def leave_a_cycle(counter: Any) -> None:
        cycle: list[Any] = [counter]
        cycle.append(cycle)

    counter = Counter.remote()
    ray.get(leave_a_cycle.remote(counter))
    del counter
    world.eventually(
        lambda: not any(row["name"] == "Counter" for row in blocking.query(current.require(), "workers")),
        "the actor ends with its last handle, which an idle worker held in a cycle",
    )
