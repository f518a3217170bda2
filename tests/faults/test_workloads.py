"""Every workload ends rightly, with every invariant kept: without faults, and in storms drawn from seeds."""

from __future__ import annotations

import pytest

from thornback.faults.explore import explore
from thornback.faults.generate import random_plan
from thornback.faults.run import Setup, run_once
from thornback.faults.workloads import WORKLOADS, faults_of, load

STORM = 4.0
"""Virtual seconds within which the faults of a storm happen."""
QUICK_HEARTBEATS = {"heartbeat_period": 200_000_000}
"""Nodes are declared dead after a second, so that pauses and cuts of a storm make zombies."""
SEEDS = range(13)
SOAK_SEEDS = 10_000 // (4 * len(WORKLOADS)) + 1


def setup_for(seed: int) -> Setup:
    """Clusters of 5 to 8 nodes, half of them with quick heartbeats."""
    return Setup(nodes=5 + seed % 4, config=QUICK_HEARTBEATS if seed % 2 else {})


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_workload_passes_without_faults(name: str) -> None:
    outcome = run_once(f"workload:{name}", seed=1, setup=Setup(nodes=6))
    assert not outcome.violations, f"{name} must keep every promise where nothing happens: {outcome.violations}"
    assert outcome.tasks, f"{name} must have run tasks"


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_workload_passes_in_storms(name: str) -> None:
    for seed in SEEDS:
        setup = setup_for(seed)
        plan = random_plan(seed, setup.nodes, STORM, faults=8, also=faults_of(name))
        outcome = run_once(f"workload:{name}", seed, plan, setup)
        found = "\n".join(f"{each.invariant}: {each.text}" for each in outcome.violations)
        assert not found, f"{name}, seed {seed}:\n{found}\nplan: {plan.to_json().decode()}"


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("part", range(4))
def test_ten_thousand_storms(part: int) -> None:
    setup = setup_for(part)
    first = 1000 * (part + 1)
    found = explore("workload:all", range(first, first + SOAK_SEEDS), "storm", setup, jobs=2, duration=STORM)
    text = "\n".join(
        f"{len(group.outcomes)} x {group.invariant}: {group.where}, first: {group.outcomes[0].program} seed "
        f"{group.outcomes[0].seed}: {group.first.text}"
        for group in found.groups()
    )
    assert found.runs == SOAK_SEEDS * len(WORKLOADS)
    assert not text, f"storms with {setup} must pass:\n{text}"


def test_an_unknown_workload_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no workload 'sort'; there are map_reduce, shuffle, ledger, "):
        load("sort")
