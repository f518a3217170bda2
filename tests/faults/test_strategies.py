"""Plans drawn by Hypothesis are plans, and shrink to what matters."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, find, given, settings
from hypothesis.errors import NoSuchExample

from thornback.faults.loader import parse_plan
from thornback.faults.plan import CrashGcs, CrashNode, Cut, Plan
from thornback.faults.strategies import faults, plans


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(plan=plans(nodes=4))
def test_a_drawn_plan_can_be_written_and_read(plan: Plan) -> None:
    assert parse_plan(plan.to_json().decode(), nodes=4) == plan


def smallest(condition: object, **options: Any) -> Plan:
    slow = settings(max_examples=3000, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    return find(plans(nodes=4, **options), condition, settings=slow)  # type: ignore[arg-type]


def test_a_plan_shrinks_to_the_one_fault_that_matters() -> None:
    plan = smallest(lambda plan: any(isinstance(fault, CrashGcs) for fault in plan.faults))
    assert len(plan.faults) == 1 and isinstance(plan.faults[0], CrashGcs)
    assert plan.faults[0].restart_after <= 0.06, "the shortest that is drawn"


def test_a_plan_shrinks_to_the_two_faults_that_matter_together() -> None:
    def matters(plan: Plan) -> bool:
        return {CrashNode, Cut} <= {type(fault) for fault in plan.faults}

    plan = smallest(matters, kinds=["loss", "pause_node", "crash_node", "cut"])
    assert sorted(type(fault).__name__ for fault in plan.faults) == ["CrashNode", "Cut"]


def test_kinds_can_be_chosen_and_are_checked() -> None:
    with pytest.raises(NoSuchExample):
        find(faults(3, kinds=["cut"]), lambda fault: not isinstance(fault, Cut), settings=settings(max_examples=50))
    with pytest.raises(ValueError, match="no random fault 'cut' for 1 nodes"):
        faults(1, kinds=["cut"])


def test_the_module_can_be_imported_without_hypothesis() -> None:
    code = "import sys; sys.modules['hypothesis'] = None; import thornback.faults.strategies"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
