"""``python -m tests.mutations.probe NAME``: plant a mutant and run its workload in storms until something is wrong.

Prints a JSON object: the ``seed`` of the run that found it (-1: none did) and ``by`` which invariants. With a number of
runs as a second argument, so many runs are made without the bug: they must find nothing.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.mutations.mutants import MUTANTS
from tests.mutations.planting import Mutant, plant

PROGRAMS = Path(__file__).with_name("programs")
NODES = 5
STORM = 4.0
"""Virtual seconds within which the faults of a storm happen."""


def trouble(mutant: Mutant, seed: int) -> str:
    """What goes wrong in one run; "" if nothing does."""
    from thornback.faults.generate import random_plan
    from thornback.faults.run import Setup, run_once

    plan = random_plan(seed, NODES, STORM, faults=8, kinds=mutant.kinds)
    setup = Setup(nodes=NODES, config=dict(mutant.config), patience=300.0)
    own = PROGRAMS / f"{mutant.workload}.py"
    outcome = run_once(own if own.is_file() else f"workload:{mutant.workload}", seed, plan, setup)
    return "; ".join(dict.fromkeys(f"{each.invariant}: {each.where}" for each in outcome.violations))


def main(name: str, sound_runs: int = 0) -> None:
    """Report on one mutant."""
    mutant = MUTANTS[name]
    if not sound_runs:
        plant(mutant)
    for seed in range(sound_runs or mutant.seeds):
        by = trouble(mutant, seed)
        if by:
            print(json.dumps({"seed": seed, "by": by}))
            return
    print(json.dumps({"seed": -1, "by": ""}))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
