"""How fast tasks, actor calls and objects are here. ``make bench`` measures; ``make test`` runs each once."""

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
        yield


@thornback.remote
def nothing() -> None:
    """The shortest task."""


@thornback.remote
class Counter:
    """The simplest actor."""

    def __init__(self) -> None:
        self.count = 0

    def add(self) -> int:
        """Count."""
        self.count += 1
        return self.count


def test_task_and_back(benchmark: Any) -> None:
    """One task, awaited."""
    benchmark(lambda: thornback.get(nothing.remote()))


def test_1000_tasks(benchmark: Any) -> None:
    """A thousand tasks, awaited together."""
    benchmark(lambda: thornback.get([nothing.remote() for _ in range(1000)]))


def test_actor_call_and_back(benchmark: Any) -> None:
    """One actor call, awaited."""
    counter = Counter.remote()
    benchmark(lambda: thornback.get(counter.add.remote()))


def test_1000_actor_calls(benchmark: Any) -> None:
    """A thousand calls of one actor, awaited together."""
    counter = Counter.remote()
    benchmark(lambda: thornback.get([counter.add.remote() for _ in range(1000)]))


def test_put_and_get_10_mb(benchmark: Any) -> None:
    """An array of 10 MB into shared memory, and a view of it."""
    array = np.ones(10_000_000 // 8)
    benchmark(lambda: thornback.get(thornback.put(array)))
