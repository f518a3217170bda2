"""Tasks: functions that run elsewhere."""

from __future__ import annotations

import time
from typing import Any

import pytest

import thornback as ray


def test_a_task_returns_its_value(world: Any) -> None:
    @ray.remote
    def add(x: int, y: int) -> int:
        return x + y

    assert ray.get(add.remote(1, 2)) == 3


def test_many_tasks_return_in_the_order_asked_for(world: Any) -> None:
    @ray.remote
    def square(x: int) -> int:
        return x * x

    assert ray.get([square.remote(x) for x in range(500)]) == [x * x for x in range(500)]


def test_keyword_arguments_and_defaults_work_as_in_a_call(world: Any) -> None:
    @ray.remote
    def show(a: int, b: int = 2, *rest: int, c: int = 3, **others: int) -> Any:
        return a, b, rest, c, others

    refs = [show.remote(1), show.remote(1, c=5), show.remote(1, 4, 5, 6, d=7), show.remote(b=1, a=0)]
    assert ray.get(refs) == [(1, 2, (), 3, {}), (1, 2, (), 5, {}), (1, 4, (5, 6), 3, {"d": 7}), (0, 1, (), 3, {})]


def test_a_task_may_return_nothing(world: Any) -> None:
    @ray.remote
    def nothing() -> None:
        pass

    assert ray.get(nothing.remote()) is None


def test_several_returns_are_several_references(world: Any) -> None:
    @ray.remote(num_returns=3)
    def three() -> Any:
        return 1, "two", [3]

    refs = three.remote()
    assert len(refs) == 3
    assert ray.get(refs) == [1, "two", [3]]
    assert ray.get(refs[1]) == "two"


def test_a_task_without_returns_has_no_reference(world: Any) -> None:
    counter = world.counter()

    @ray.remote(num_returns=0)
    def note() -> None:
        ray.get(counter.add.remote())

    assert note.remote() is None
    world.eventually(lambda: ray.get(counter.get.remote()) == 1, "the task has run")


def test_options_change_one_call_and_not_the_function(world: Any) -> None:
    @ray.remote
    def pair() -> Any:
        return 1, 2

    first, second = pair.options(num_returns=2).remote()
    assert ray.get([first, second]) == [1, 2]
    assert ray.get(pair.remote()) == (1, 2)


def test_a_function_can_be_made_remote_without_the_decorator(world: Any) -> None:
    assert ray.get(ray.remote(lambda x: x + 1).remote(1)) == 2
    assert ray.get(ray.remote(num_cpus=0.5)(lambda: "half").remote()) == "half"


def test_tasks_run_in_other_processes_than_the_program(world: Any) -> None:
    @ray.remote
    def where() -> str:
        return ray.get_runtime_context().get_worker_id()

    assert ray.get(where.remote()) != ray.get_runtime_context().get_worker_id()


def test_tasks_do_not_share_memory_with_the_program(world: Any) -> None:
    values = [1, 2, 3]

    @ray.remote
    def change() -> int:
        values.append(4)
        return len(values)

    ray.get(change.remote())
    assert values == [1, 2, 3]


def test_a_task_sees_what_its_function_has_captured_when_it_was_first_called(world: Any) -> None:
    offset = 10

    @ray.remote
    def shifted(x: int) -> int:
        return x + offset

    assert ray.get(shifted.remote(1)) == 11


def test_tasks_run_at_the_same_time(world: Any) -> None:
    @ray.remote
    def nap() -> None:
        time.sleep(0.5)

    ray.get([nap.remote() for _ in range(4)])
    start = time.monotonic()
    ray.get([nap.remote() for _ in range(4)])
    took = time.monotonic() - start
    assert 0.5 <= took < 1.5, f"four naps of 0.5 s on 4 CPUs took {took:.2f} s; one after the other they take 2 s"


def test_a_long_chain_of_tasks_comes_to_an_end(world: Any) -> None:
    @ray.remote
    def increment(x: int) -> int:
        return x + 1

    ref = ray.put(0)
    for _ in range(200):
        ref = increment.remote(ref)
    assert ray.get(ref) == 200


def test_a_reduce_tree_gives_the_sum(world: Any) -> None:
    @ray.remote
    def leaf(x: int) -> int:
        return x

    @ray.remote
    def add(*parts: int) -> int:
        return sum(parts)

    level = [leaf.remote(x) for x in range(64)]
    while len(level) > 1:
        level = [add.remote(*level[at : at + 4]) for at in range(0, len(level), 4)]
    assert ray.get(level[0]) == sum(range(64))


def test_results_can_be_fetched_in_any_order_and_again(world: Any) -> None:
    @ray.remote
    def same(x: int) -> int:
        return x

    refs = [same.remote(x) for x in range(10)]
    assert ray.get(refs[::-1]) == list(range(10))[::-1]
    assert ray.get([refs[3], refs[3]]) == [3, 3]


def test_a_remote_function_keeps_name_and_docstring(world: Any) -> None:
    @ray.remote
    def documented() -> None:
        """What it does."""

    assert documented.__name__ == "documented"
    assert documented.__doc__ == "What it does."


def test_remote_functions_can_be_passed_to_tasks(world: Any) -> None:
    @ray.remote
    def double(x: int) -> int:
        return 2 * x

    @ray.remote
    def apply(function: Any, x: int) -> int:
        return ray.get(function.remote(x))

    assert ray.get(apply.remote(double, 21)) == 42


def test_a_worker_keeps_modules_between_tasks(world: Any) -> None:
    @ray.remote
    def parse(text: str) -> Any:
        import json

        return json.loads(text)

    assert ray.get([parse.remote('{"a": 1}') for _ in range(10)]) == [{"a": 1}] * 10


@pytest.mark.parametrize("count", [1, 1000])
def test_unread_results_do_no_harm(world: Any, count: int) -> None:
    @ray.remote
    def work(x: int) -> int:
        return x

    for x in range(count):
        work.remote(x)
    assert ray.get(work.remote(5)) == 5


def test_references_can_be_compared_hashed_and_sorted(world: Any) -> None:
    first, second = ray.put(1), ray.put(2)
    assert first == first and first != second
    assert len({first, second, first}) == 2
    assert sorted([second, first]) == [first, second]
    assert first.hex() != second.hex() and len(first.hex()) == 2 * len(first.binary())
