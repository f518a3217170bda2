"""Tasks that make tasks and actors, to any depth."""

from __future__ import annotations

from typing import Any

import pytest

import thornback as ray


def test_a_recursive_task_computes_fibonacci_numbers(world: Any) -> None:
    @ray.remote
    def fib(n: int) -> int:
        if n < 2:
            return n
        return sum(ray.get([fib.remote(n - 1), fib.remote(n - 2)]))

    assert ray.get(fib.remote(8)) == 21


@pytest.mark.cluster(cpus=1)
def test_deep_nesting_works_on_one_cpu(world: Any) -> None:
    @ray.remote
    def depth(n: int) -> int:
        return 0 if n == 0 else 1 + int(ray.get(depth.remote(n - 1)))

    assert ray.get(depth.remote(12)) == 12, "a task that waits in get gives its CPU to the one it waits for"


@pytest.mark.cluster(cpus=1)
def test_many_waiting_tasks_on_one_cpu_do_not_deadlock(world: Any) -> None:
    @ray.remote
    def leaf(x: int) -> int:
        return x

    @ray.remote
    def parent(x: int) -> int:
        return sum(ray.get([leaf.remote(x), leaf.remote(1)]))

    assert ray.get([parent.remote(x) for x in range(10)]) == [x + 1 for x in range(10)]


def test_tasks_create_more_tasks_as_they_go(world: Any) -> None:
    @ray.remote
    def grow(level: int) -> list[Any]:
        return [] if level == 0 else [grow.remote(level - 1) for _ in range(2)]

    def size(refs: list[Any]) -> int:
        return len(refs) + sum(size(ray.get(ref)) for ref in refs)

    assert size(ray.get(grow.remote(4))) == 2 + 4 + 8 + 16


@pytest.mark.cluster(cpus=1)
def test_a_worker_that_runs_a_task_of_its_own_keeps_what_that_has_put(world: Any) -> None:
    @ray.remote
    def child() -> list[Any]:
        return [ray.put("kept")]

    @ray.remote
    def parent() -> list[Any]:
        return [child.remote()]

    (made,) = ray.get(parent.remote())
    (put,) = ray.get(made)
    assert ray.get(put) == "kept"


def test_a_task_can_return_the_reference_of_its_child_before_that_is_done(world: Any) -> None:
    gate = world.signal()

    @ray.remote
    def child() -> str:
        ray.get(gate.wait.remote())
        return "from the child"

    @ray.remote
    def parent() -> list[Any]:
        return [child.remote()]

    (ref,) = ray.get(parent.remote())
    gate.send.remote()
    assert ray.get(ref, timeout=30) == "from the child"


def test_a_task_can_make_an_actor_and_use_it(world: Any) -> None:
    @ray.remote
    def job(n: int) -> int:
        @ray.remote
        class Sum:
            def __init__(self) -> None:
                self.value = 0

            def add(self, x: int) -> int:
                self.value += x
                return self.value

        total = Sum.remote()
        return int(ray.get([total.add.remote(x) for x in range(n)])[-1])

    assert ray.get([job.remote(5), job.remote(10)]) == [10, 45]


def test_actors_can_make_tasks_and_actors(world: Any) -> None:
    @ray.remote
    def square(x: int) -> int:
        return x * x

    @ray.remote
    class Worker:
        def work(self, xs: list[int]) -> int:
            return sum(ray.get([square.remote(x) for x in xs]))

    @ray.remote
    class Boss:
        def __init__(self, size: int) -> None:
            self.workers = [Worker.remote() for _ in range(size)]

        def work(self, n: int) -> int:
            parts = [list(range(start, n, len(self.workers))) for start in range(len(self.workers))]
            return sum(ray.get([w.work.remote(part) for w, part in zip(self.workers, parts, strict=True)]))

    assert ray.get(Boss.remote(3).work.remote(10)) == 285


def test_results_pass_through_a_pipeline_of_nested_calls(world: Any) -> None:
    @ray.remote
    def first(x: int) -> Any:
        return second.remote(x + 1)

    @ray.remote
    def second(x: int) -> Any:
        return third.remote(x + 1)

    @ray.remote
    def third(x: int) -> int:
        return x + 1

    ref = first.remote(0)
    while isinstance(ref, ray.ObjectRef):
        ref = ray.get(ref)
    assert ref == 3


def test_wide_nesting_comes_to_an_end(world: Any) -> None:
    @ray.remote
    def leaf(x: int) -> int:
        return x

    @ray.remote
    def middle(start: int) -> int:
        return sum(ray.get([leaf.remote(x) for x in range(start, start + 20)]))

    assert sum(ray.get([middle.remote(start) for start in range(0, 200, 20)])) == sum(range(200))
