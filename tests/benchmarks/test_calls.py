"""Tasks, actor calls and objects from end to end, on a real cluster."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import thornback


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """A cluster with two CPUs."""
    with thornback.init(num_cpus=2, object_store_memory=512 << 20):
        thornback.get([nothing.remote() for _ in range(1000)])
        yield


@thornback.remote
def nothing() -> None:
    """The shortest task."""


@thornback.remote
def references() -> list[Any]:
    """A value that holds a thousand references."""
    return [thornback.put(number) for number in range(1000)]


class Counter:
    """The simplest actor."""

    def __init__(self) -> None:
        self.count = 0

    def add(self) -> int:
        """Count."""
        self.count += 1
        return self.count

    async def add_later(self) -> int:
        """Count, as a coroutine."""
        return self.add()


def new_counter() -> Any:
    """An actor that is up."""
    counter = thornback.remote(Counter).remote()
    thornback.get(counter.add.remote())
    return counter


def test_task_and_back(benchmark: Any) -> None:
    """One task, awaited."""
    benchmark(lambda: thornback.get(nothing.remote()))


def test_1000_tasks(benchmark: Any) -> None:
    """A thousand tasks, awaited together."""
    benchmark(lambda: thornback.get([nothing.remote() for _ in range(1000)]))


def test_actor_call_and_back(benchmark: Any) -> None:
    """One actor call, awaited."""
    counter = new_counter()
    benchmark(lambda: thornback.get(counter.add.remote()))


def test_1000_actor_calls(benchmark: Any) -> None:
    """A thousand calls of one actor, awaited together."""
    counter = new_counter()
    benchmark(lambda: thornback.get([counter.add.remote() for _ in range(1000)]))


def test_coroutine_call_and_back(benchmark: Any) -> None:
    """One call of an actor's coroutine, awaited."""
    counter = new_counter()
    benchmark(lambda: thornback.get(counter.add_later.remote()))


def test_put_number(benchmark: Any) -> None:
    """A value that stays in this process."""
    benchmark(thornback.put, 7)


def test_get_number(benchmark: Any) -> None:
    """A value that is here already."""
    stored = thornback.put(7)
    assert benchmark(thornback.get, stored) == 7


def test_get_1000_references(benchmark: Any) -> None:
    """A list of references that another process owns."""
    stored = references.remote()
    assert len(benchmark(thornback.get, stored)) == 1000


def test_wait_for_one_of_1000(benchmark: Any) -> None:
    """All are ready."""
    stored = [thornback.put(number) for number in range(1000)]
    ready, others = benchmark(thornback.wait, stored)
    assert (len(ready), len(others)) == (1, 999)


def test_put_and_get_10_mb(benchmark: Any) -> None:
    """An array of 10 MB into shared memory, and a view of it."""
    array = np.ones(10_000_000 // 8)
    benchmark(lambda: thornback.get(thornback.put(array)))
