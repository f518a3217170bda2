"""Stealing and speculation in storms of faults, with every invariant checked in each run."""

from __future__ import annotations

import random

import numpy
import pytest

import thornback as ray
from thornback.faults.explore import explore
from thornback.faults.run import Setup
from thornback.simulator import compute

SMALL = Setup(nodes=4, node={"cpus": 2})


def stragglers() -> None:
    """Tasks with small and with large results, of which one run in twelve takes very long."""
    ray.init()

    @ray.remote(speculative=True, max_retries=-1)
    def work(number: int) -> numpy.ndarray:
        compute(2.0 if random.random() < 0.08 else 0.1)
        return numpy.full(50_000 if number % 3 == 0 else 1, number)

    for start in range(0, 90, 30):
        refs = [work.remote(number) for number in range(start, start + 30)]
        assert [int(array[0]) for array in ray.get(refs)] == list(range(start, start + 30))
        assert [int(array[-1]) for array in ray.get(refs)] == list(range(start, start + 30)), "a result never changes"


def skewed() -> None:
    """All inputs are made by one task at a time, so that few nodes have them, and all nodes read them."""
    ray.init()

    @ray.remote(max_retries=-1, num_cpus=2)
    def make(number: int) -> numpy.ndarray:
        return numpy.full(200_000, number)

    @ray.remote(max_retries=-1)
    def read(array: numpy.ndarray) -> int:
        compute(0.1)
        return int(array[-1])

    arrays = [make.remote(number) for number in range(5)]
    ray.wait(arrays, num_returns=5, fetch_local=False)
    assert ray.get([read.remote(array) for array in arrays * 12]) == list(range(5)) * 12


@pytest.mark.parametrize("program", [stragglers, skewed], ids=["stragglers", "skewed"])
def test_no_promise_is_broken_in_storms(program: object) -> None:
    found = explore(program, range(8), setup=SMALL)
    assert found.runs == 8 and found.faults > 8
    assert not found.failures, found.failures[0]


@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("program", [stragglers, skewed], ids=["stragglers", "skewed"])
def test_no_promise_is_broken_in_many_storms(program: object) -> None:
    found = explore(program, range(400), setup=SMALL)
    assert not found.failures, found.failures[0]
