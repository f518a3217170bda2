"""Every workload ends rightly: without faults, and in storms drawn from seeds."""

from __future__ import annotations

import pytest

import thornback as ray
from thornback.faults.generate import random_plan
from thornback.faults.plan import Plan
from thornback.faults.workloads import WORKLOADS, load, node_of
from thornback.simulator import simulate

STORM = 4.0
"""Virtual seconds within which the faults of a storm happen."""


def run(name: str, seed: int, plan: Plan | None) -> dict[str, int | float | str]:
    """One run on a simulated cluster whose size depends on the seed; returns the world's counts."""
    nodes = 5 + seed % 4
    with simulate(nodes=[node_of(name)] * nodes, seed=seed, faults=plan, time_limit=1200) as world:
        load(name)()
        ray.shutdown()
        return world.stats


def run_in_storm(name: str, seed: int) -> None:
    plan = random_plan(seed, 5 + seed % 4, STORM, faults=8)
    try:
        run(name, seed, plan)
    except Exception as error:
        error.add_note(f"workload {name}, seed {seed}, plan:\n{plan.to_json().decode()}")
        raise


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_workload_passes_without_faults(name: str) -> None:
    stats = run(name, seed=1, plan=None)
    assert stats["tasks"], f"{name} must have run tasks"


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_workload_passes_in_storms(name: str) -> None:
    for seed in range(200 // len(WORKLOADS)):
        run_in_storm(name, seed)


def test_an_unknown_workload_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no workload 'sort'; there are map_reduce, shuffle, ledger, "):
        load("sort")
