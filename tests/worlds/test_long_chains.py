"""Chains of tasks and objects that are longer than Python nests calls: they fail, go and come back like short ones."""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy
import pytest

import thornback as ray
from tests.worlds.conftest import World
from tests.worlds.test_recovery import AWAY, cluster, lose, start

LENGTH = sys.getrecursionlimit() + 100


@ray.remote
def same(value: Any) -> Any:
    return value


@ray.remote
def still_here() -> str:
    return "yes"


def test_all_tasks_of_a_long_chain_fail_with_the_first(world: World) -> None:
    @ray.remote
    def fail() -> None:
        raise ValueError("the first one")

    ref = fail.remote()
    for _ in range(LENGTH):
        ref = same.remote(ref)
    with pytest.raises(ValueError, match="the first one"):
        ray.get(ref)
    assert ray.get(still_here.remote()) == "yes"


def test_all_tasks_of_a_long_chain_are_cancelled_with_the_first(world: World) -> None:
    @ray.remote
    def wait() -> None:
        time.sleep(30)

    first = ref = wait.remote()
    for _ in range(LENGTH):
        ref = same.remote(ref)
    ray.cancel(first)
    with pytest.raises(ray.exceptions.TaskCancelledError):
        ray.get(ref)
    assert ray.get(still_here.remote()) == "yes"


def test_a_long_chain_of_objects_inside_of_objects_goes_with_the_outermost(world: World) -> None:
    ref = ray.put("innermost")
    for _ in range(LENGTH):
        ref = ray.put([ref])
    del ref
    assert ray.get(still_here.remote()) == "yes"


def test_a_long_chain_of_large_results_is_rebuilt_to_its_root_and_then_forgotten() -> None:
    with cluster(1) as world:
        start()

        @ray.remote(max_retries=-1)
        def add(values: Any) -> Any:
            return numpy.zeros(15_000) if values is None else values + 1

        ref = add.options(**AWAY).remote(None)
        for _ in range(LENGTH):
            ref = add.options(**AWAY).remote(ref)
        ray.wait([ref], fetch_local=False)
        lose(world)
        assert int(ray.get(ref)[0]) == LENGTH
        del ref
        assert ray.get(still_here.remote()) == "yes"
