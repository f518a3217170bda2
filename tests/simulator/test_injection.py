"""Each kind of fault happens in a simulation, and a program that can survive it does."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

import thornback as ray
from thornback.faults import plan as p
from thornback.faults.generate import random_plan
from thornback.faults.plan import AnyFault, Plan
from thornback.simulator import simulate


def run(*faults: AnyFault, tasks: int = 24, **options: Any) -> Any:
    """A program with tasks and an actor under a plan; returns the world's counts."""
    with simulate(nodes=3, cpus=2, faults=Plan(faults=faults), time_limit=600, **options) as world:
        ray.init()

        @ray.remote(max_retries=-1)
        def work(x: int) -> int:
            time.sleep(0.5)
            return x * x

        @ray.remote(max_restarts=-1, max_task_retries=-1)
        class Squares:
            def of(self, x: int) -> int:
                time.sleep(0.1)
                return x * x

        actor = Squares.remote()
        refs = [work.remote(x) for x in range(tasks)] + [actor.of.remote(x) for x in range(tasks)]
        assert ray.get(refs) == [x * x for x in range(tasks)] * 2
        world.run_for(max(0.0, Plan(faults=faults).end - world.now) + 0.001)
        ray.shutdown()
        return world.stats


FAULTS: dict[str, AnyFault] = {
    "crash worker at a time": p.CrashWorker(node=1, at=0.7),
    "crash worker before its first reply": p.CrashWorker(node=1, worker=0, moment="before_reply"),
    "crash worker after two replies": p.CrashWorker(node=1, worker=0, moment="after_reply", nth=2),
    "crash worker with a task that has not started": p.CrashWorker(node=1, moment="before_running", nth=2),
    "crash worker that runs a task": p.CrashWorker(node=1, moment="running", nth=2),
    "crash owner": p.CrashOwner(node=1, at=0.7),
    "crash driver": p.CrashDriver(at=0.7),
    "pause worker": p.PauseWorker(node=1, at=0.7, lasting=2),
    "out of memory": p.OutOfMemory(node=1, at=0.7),
    "crash raylet": p.CrashRaylet(node=2, at=0.8),
    "crash rack": p.CrashRack(nodes=[1, 2], at=0.8, spread=0.1, reboot_after=1),
    "preempt node": p.PreemptNode(node=2, at=0.8, notice=1),
    "launch nodes": p.LaunchNodes(at=0.5, count=3, arrive=2, delay=0.2),
    "crash gcs": p.CrashGcs(at=0.7),
    "crash gcs, disk kept": p.CrashGcs(at=0.7, unsynced="kept"),
    "slow commits": p.SlowCommits(delay=0.2, until=3),
    "late heartbeats": p.LateHeartbeats(node=2, at=0.5, until=40),
    "crash when a worker has died": p.CrashNode(node=2, after=p.Trigger(message="RegisterWorker", node=1, count=2)),
    "lose a request": p.LoseMessage(message="RequestLease"),
    "lose a reply": p.LoseMessage(message="LeaseGranted", count=2),
    "fill store": p.FillStore(node=1, at=0.5, lasting=3),
    "evict copies": p.EvictCopies(node=1, at=0.8),
    "spill error": p.SpillError(node=1, until=3),
    "torn spill": p.TornSpill(node=1),
    "corrupt spill": p.CorruptSpill(node=1, at=1),
    "slow disk": p.SlowDisk(node=1, factor=0.1, until=3),
    "corrupt chunk": p.CorruptChunk(node=1),
    "crash node": p.CrashNode(node=2, at=0.8),
    "crash and reboot node": p.CrashNode(node=2, at=0.8, reboot_after=1),
    "pause node": p.PauseNode(node=1, at=0.6, until=2),
    "pause node until it is given up": p.PauseNode(node=1, at=0.6, until=60),
    "pause raylet": p.PauseRaylet(node=1, at=0.6, until=2),
    "pause raylet until the node is given up": p.PauseRaylet(node=1, at=0.6, until=60),
    "pause the raylet and the GCS of the head": p.PauseRaylet(node=0, at=0.6, until=60),
    "cut inside of nodes": p.Cut(within="all", at=0.6, until=3),
    "cut between owners and workers": p.Cut(a=[1, 2], within="owner_worker", at=0.6, until=3),
    "delay inside of nodes": p.Delay(within="worker_node", seconds=0.05, jitter=0.05, until=10),
    "bandwidth inside of nodes": p.Bandwidth(within="all", factor=0.0001, until=10),
    "slow node": p.SlowNode(node=1, factor=10, until=5),
    "slow start": p.SlowStart(node=1, delay=1.5, until=5),
    "failed start": p.FailedStart(node=1, count=2),
    "cut": p.Cut(a=[0, 1], b=[2], at=0.6, until=3),
    "long cut": p.Cut(a=[0, 1], b=[2], at=0.6, until=60),
    "one-way cut": p.Cut(a=[0], b=[2], one_way=True, at=0.6, until=3),
    "loss": p.Loss(rate=0.3, until=10),
    "duplicate": p.Duplicate(rate=0.5, until=10),
    "reorder": p.Reorder(rate=0.5, window=0.05, until=10),
    "delay": p.Delay(seconds=0.05, jitter=0.05, until=10),
    "bandwidth": p.Bandwidth(factor=0.001, until=10),
    "reset": p.Reset(a=0, b=1, at=0.7),
    "clock step": p.ClockStep(node=1, seconds=100, at=0.7),
    "clock drift": p.ClockDrift(node=1, parts_per_million=100_000),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_program_survives(name: str) -> None:
    stats = run(FAULTS[name], seed=3)
    assert stats["faults"] >= 1


@pytest.mark.parametrize("seed", range(10))
def test_a_program_survives_a_storm(seed: int) -> None:
    run(*random_plan(seed, nodes=3, duration=10).faults, seed=seed)


def test_a_worker_dies_after_exactly_so_many_replies() -> None:
    plan = Plan(faults=(p.CrashWorker(node=0, worker=0, moment="after_reply", nth=3),))
    with simulate(nodes=1, cpus=1, faults=plan, config={"max_retries": 0}):
        ray.init()
        pids = ray.get([ray.remote(os.getpid).remote() for _ in range(3)])
        assert len(set(pids)) == 1
        assert ray.get(ray.remote(max_retries=3)(os.getpid).remote()) != pids[0]
        ray.shutdown()


def test_a_plan_for_a_larger_cluster_is_refused() -> None:
    plan = Plan(faults=(p.CrashNode(node=7, at=1),))
    with pytest.raises(ValueError, match=r"faults\[0\]\.node: there is no node 7 in a cluster of 3 nodes"):
        simulate(3, faults=plan).__enter__()
    with simulate(nodes=1):
        time.sleep(1)
