"""The simulator as a whole: how many tasks it runs per second of this machine's time."""

from __future__ import annotations

from typing import Any

import pytest

import thornback as ray

TASKS = 5000
"""So many that starting the cluster counts for little; on 100 nodes, whose 400 workers all start for the long tasks, it
is a quarter of the whole."""


def run_tasks(nodes: int, seconds: float) -> int:
    """Tasks of so many virtual seconds each, from one driver on a simulated cluster; returns the sum of their
    results."""
    with ray.simulate(nodes=nodes, cpus=4, seed=1):
        ray.init()

        @ray.remote
        def work(number: int) -> int:
            if seconds:
                ray.simulator.compute(seconds)
            return number

        total = sum(ray.get([work.remote(number) for number in range(TASKS)]))
        ray.shutdown()
    return total


@pytest.mark.parametrize("seconds", [0.0, 0.1], ids=["empty", "of 100 ms"])
@pytest.mark.parametrize("nodes", [1, 20, 100])
def test_5000_tasks_on_simulated_nodes(benchmark: Any, nodes: int, seconds: float) -> None:
    """Empty tasks travel in large batches; long ones one by one."""
    total = benchmark(run_tasks, nodes, seconds)
    assert total == TASKS * (TASKS - 1) // 2
