"""Exploring: storm runs of 30 virtual seconds on 20 nodes that one core makes per minute, all invariants checked."""

from __future__ import annotations

import time
from typing import Any

import thornback as ray
from thornback.faults.generate import random_plan
from thornback.faults.run import Setup, run_once

SECONDS = 30.0
RUNS = 6
LEAST_PER_MINUTE = 50


def busy() -> None:
    """Waves of tasks, large objects and calls of an actor until the time is over."""
    ray.init()

    @ray.remote(max_retries=-1)
    def work(number: int) -> int:
        time.sleep(0.5)
        return number

    @ray.remote(max_retries=-1)
    def block(size: int) -> bytes:
        time.sleep(0.2)
        return bytes(size)

    @ray.remote(max_restarts=-1, max_task_retries=-1)
    class Echo:
        def say(self, number: int) -> int:
            return number

    echo, end = Echo.remote(), time.monotonic() + SECONDS
    while time.monotonic() < end:
        refs = [work.remote(number) for number in range(20)] + [echo.say.remote(number) for number in range(20)]
        blocks = [work.remote(block.remote(150_000)) for _ in range(3)]
        assert ray.get(refs) == [*range(20), *range(20)]
        assert [len(data) for data in ray.get(blocks)] == [150_000] * 3


def explore() -> float:
    """Runs per minute of this process's time."""
    started = time.process_time()
    for seed in range(RUNS):
        outcome = run_once(busy, seed, random_plan(seed, 20, SECONDS), Setup(nodes=20, node={"cpus": 4}))
        assert outcome.ok, outcome.violations
        assert outcome.virtual_seconds >= SECONDS
    return 60 * RUNS / (time.process_time() - started)


def test_storm_runs_per_minute(benchmark: Any) -> None:
    """The rate of the best of a few rounds counts, as other programs of the machine only ever make it worse."""
    rates: list[float] = []
    benchmark(lambda: rates.append(explore()))
    benchmark.extra_info["runs per minute per core"] = round(max(rates))
    if benchmark.enabled:
        assert max(rates) >= LEAST_PER_MINUTE, f"{max(rates):.0f} storm runs per minute and core"
