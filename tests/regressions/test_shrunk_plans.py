"""What storms have found: the few faults that mattered, with the workload that noticed, for every bug fixed."""

from __future__ import annotations

from typing import NamedTuple

import pytest

import thornback as ray
from thornback.faults import plan as p
from thornback.faults.plan import AnyFault, Plan
from thornback.faults.workloads import load, node_of
from thornback.simulator import simulate


class Case(NamedTuple):
    """One bug: which runs of which workload it broke."""

    workload: str
    nodes: int
    seeds: tuple[int, ...]
    faults: tuple[AnyFault, ...]


CASES: dict[str, Case] = {
    "a generator that runs again does not wait where its consumer has been": Case(
        "streaming", 6, (2, 10, 17), (p.CrashNode(node=4, at=0.55, reboot_after=2.662),)
    ),
    "an actor whose group loses its node is not placed on that node again": Case(
        "gangs",
        5,
        (5, 17, 20),
        (
            p.CrashNode(node=3, at=2.292, reboot_after=0.506),
            p.Delay(a=[3], b=[0, 1, 2, 4], at=0.33, until=1.512, seconds=0.19, jitter=0.19),
            p.Delay(a=[0, 1, 2], b=[3, 4], at=2.001, until=3.374, seconds=0.0657, jitter=0.0657),
        ),
    ),
}


@pytest.mark.parametrize("title", CASES)
def test_fixed(title: str) -> None:
    case = CASES[title]
    for seed in case.seeds:
        nodes = [node_of(case.workload)] * case.nodes
        with simulate(nodes=nodes, seed=seed, faults=Plan(faults=case.faults), time_limit=600):
            load(case.workload)()
            ray.shutdown()
