"""For the determinism gate: runs workloads in a storm, and prints the hashes of their traces by name, as JSON.

``storms.py SEED`` runs all of them; ``storms.py SEED NAME TRACE_FILE`` one, with its trace in a file.
"""

from __future__ import annotations

import json
import sys

from thornback.faults.generate import random_plan
from thornback.faults.workloads import WORKLOADS, faults_of, load, node_of
from thornback.simulator import simulate
from thornback.simulator.cluster import machines

NODES = 6
STORM = 4.0


def digest(name: str, seed: int, trace: str | None = None) -> str:
    """The hash of one run; it covers errors too."""
    import thornback

    plan = random_plan(seed, NODES, STORM, faults=8, also=faults_of(name))
    with simulate(machines(NODES, node_of(name)), seed=seed, faults=plan, trace=trace, time_limit=600) as world:
        load(name)()
        thornback.shutdown()
        return world.trace_hash


if __name__ == "__main__":
    seed, *chosen = sys.argv[1:]
    if chosen:
        digest(chosen[0], int(seed), chosen[1])
    else:
        print(json.dumps({name: digest(name, int(seed)) for name in WORKLOADS}))
