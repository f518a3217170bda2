"""Do the checkers bite? Each planted bug is found by a workload or an invariant; the sound engine is not accused."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.mutations.mutants import MUTANTS
from tests.mutations.planting import ROOT

QUICK = (
    "an object is freed while only borrowers refer to it",
    "a retry is not counted",
    "a GPU is handed out again and again",
    "calls are sent again in the wrong order",
    "a name is given twice",
    "references inside of arguments are held when the task is over",
)
"""Found in their first runs."""


def probe(name: str, *arguments: str) -> dict[str, Any]:
    """What :mod:`tests.mutations.probe` reports, from an interpreter of its own."""
    process = subprocess.run(
        [sys.executable, "-m", "tests.mutations.probe", name, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, f"the probe of {name!r} failed:\n{process.stderr}"
    report: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    return report


def check_found(name: str) -> None:
    mutant = MUTANTS[name]
    found = probe(name)
    assert found["seed"] >= 0, f"{mutant.seeds} runs of {mutant.workload} must find out that {name}"
    accused = probe(name, str(found["seed"] + 1))
    assert accused["seed"] < 0, f"without the bug, run {accused['seed']} must pass, but: {accused['by']}"


@pytest.mark.parametrize("name", QUICK)
def test_a_bug_is_found(name: str) -> None:
    check_found(name)


@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", [name for name in MUTANTS if name not in QUICK])
def test_a_bug_is_found_within_its_runs(name: str) -> None:
    check_found(name)


def test_a_snippet_that_is_gone_is_an_error() -> None:
    mutant = next(iter(MUTANTS.values()))
    with pytest.raises(LookupError, match=f"{mutant.module} must have this exactly once, and has it 0 times"):
        mutant.mutated("")
