"""What storms have found: the few faults that mattered, with the workload that noticed, for every bug fixed."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from thornback.faults import plan as p
from thornback.faults.plan import AnyFault, Plan
from thornback.faults.run import Setup, run_once


class Case(NamedTuple):
    """One bug: which runs of which workload it broke."""

    workload: str
    nodes: int
    seeds: tuple[int, ...]
    faults: tuple[AnyFault, ...]
    config: dict[str, Any] = {}


QUICK = {"heartbeat_period": 200_000_000}
"""Nodes are declared dead after a second, so that those behind a cut live on as zombies."""

CASES: dict[str, Case] = {
    "an actor does not live by what its ended worker has said before": Case(
        "gpus",
        5,
        (33,),
        (
            p.CrashWorker(node=4, moment="running", nth=6),
            p.CrashWorker(node=4, moment="before_running", nth=7),
        ),
    ),
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
    "the only copy of an object is not given up when a few chunks are damaged on the way": Case(
        "nested",
        5,
        (1, 5),
        (
            p.Loss(at=0.5065, until=1.3474, rate=0.0815),
            p.CorruptChunk(at=0.4594, node=0, count=3),
            p.LoseMessage(at=1.378, message="ActorCreated"),
            p.CorruptChunk(at=1.3104, node=3),
        ),
    ),
    "an item that is lost while its generator waits for the consumer of that item is made again": Case(
        "streaming", 7, (7, 26), (p.CorruptChunk(at=1.2545, node=5, count=40),)
    ),
    "an actor is not placed on a node that has died while another node was asked": Case(
        "parameter_server",
        5,
        (3, 108),
        (p.CrashNode(at=0.8553, node=4), p.PreemptNode(at=0.9387, node=3, notice=1.0139, reboot_after=2.5532)),
    ),
    "calls to an actor that is heard of again only when it has restarted do not say that it has died": Case(
        "ledger", 2, (16,), (p.CrashGcs(after=p.Trigger(message="Deaths"), restart_after=1.0),)
    ),
    "an attempt that was sent to a node just lost counts, and its error is right": Case(
        "attempts", 5, (0, 1), (p.CrashRack(nodes=[1], at=2.1369, spread=0.1097),)
    ),
    "a process that was given up behind a cut is granted no worker when its request arrives late": Case(
        "borrowed",
        6,
        (17,),
        (
            p.Cut(at=2.5676, until=3.496, a=[2, 4, 5], b=[0, 1, 3]),
            p.Cut(at=1.7051, until=3.556, a=[2, 5], b=[0, 1, 3, 4]),
            p.Cut(at=2.7479, until=3.56, a=[3], b=[0, 1, 2, 4, 5]),
        ),
        QUICK,
    ),
    "a reader behind a cut, whose node was given up, may find that its object was let go": Case(
        "borrowed", 8, (1051,), (p.Cut(at=1.8404, until=2.6564, a=[0, 2, 5], b=[1, 3, 4, 6, 7]),), QUICK
    ),
    "no node is declared dead when the clock of the head jumps": Case(
        "ledger", 5, (1,), (p.ClockStep(node=0, seconds=8, at=1.18),), QUICK
    ),
    "a node that was given up after the GCS had come back is told so": Case(
        "map_reduce",
        3,
        (113,),
        (p.CrashGcs(after=p.Trigger(message="LeaseGranted", count=5), restart_after=1.0), p.Cut(at=2.0, until=3.0)),
        QUICK,
    ),
    "a name is free when the end of its actor is durable, though the GCS ended before it could say so": Case(
        "drivers",
        2,
        (21,),
        (p.SlowCommits(at=0.8, until=1.0, delay=0.2), p.CrashGcs(at=1.0, restart_after=1.0, unsynced="kept")),
        QUICK,
    ),
    "a node reports what it has, not what requests that wait there would take": Case(
        "drivers",
        8,
        (4090,),
        (
            p.LoseMessage(at=3.991, message="RegisterNode", count=2),
            p.CrashDriver(at=1.701, node=3),
            p.PauseWorker(at=0.0958, until=0.129, node=0),
        ),
        QUICK,
    ),
    "a task that waits for a node with no room, which then dies, is refused": Case(
        "mixed", 5, (108,), (p.CrashRaylet(at=1.0, node=2, orphans_live=0.0, restart_after=2.8454),)
    ),
    "what a driver has made ends with it, though its node had not heard of it before it ended": Case(
        "drivers", 2, (1, 2), (p.Cut(a=[1], at=0.5, until=8.0, within="driver_node"),)
    ),
    "a task whose worker was ended for want of memory has one attempt more, which is not one too many": Case(
        "attempts", 6, (2023,), (p.CrashGcs(at=1.7775, restart_after=1.4662), p.OutOfMemory(at=2.7232, node=4)), QUICK
    ),
}


@pytest.mark.parametrize("title", CASES)
def test_fixed(title: str) -> None:
    case = CASES[title]
    setup = Setup(nodes=case.nodes, config=case.config)
    for seed in case.seeds:
        outcome = run_once(f"workload:{case.workload}", seed, Plan(faults=case.faults), setup)
        found = "\n".join(f"{each.invariant}: {each.text}" for each in outcome.violations)
        assert not found, f"{case.workload}, seed {seed}: {title}; found:\n{found}"
