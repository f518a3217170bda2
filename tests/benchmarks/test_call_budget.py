"""The experiment that says where the microseconds of a call go: every step it names is one that calls really take."""

from __future__ import annotations

import os
import subprocess
import sys

import call_budget


def test_every_step_has_its_row(own_sessions: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, call_budget.__file__, "--calls", "50"],
        env={**os.environ, **own_sessions},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    absent = [step for step in call_budget.STEPS if step not in done.stdout]
    assert not absent, f"no call has taken these steps, or they are not measured: {absent}\n{done.stdout}"
