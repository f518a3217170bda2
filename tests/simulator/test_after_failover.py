"""What the next GCS must know though it is in no table: ends that were not passed on, and what quotas are used for."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

import thornback as ray
from thornback.faults.plan import CrashGcs, CrashOwner, Cut, Plan
from thornback.faults.run import Setup, run_once
from thornback.simulator import simulate
from thornback.util import placement_group


@ray.remote(num_cpus=0, resources={"there": 1})
def sleeper() -> None:
    time.sleep(10_000)


@ray.remote(num_cpus=0, resources={"here": 1})
class Owner:
    def start(self) -> list[Any]:
        """Begin work on another node; what it holds references to is this actor's."""
        self.running = sleeper.remote()
        return [ray.put(np.zeros(40_000))]


@ray.remote(num_cpus=0, resources={"there": 1})
class Reader:
    def hold(self, refs: list[Any]) -> None:
        self.refs = refs

    def read(self) -> str:
        try:
            return str(len(ray.get(self.refs[0])))
        except ray.exceptions.OwnerDiedError as error:
            return type(error).__name__


@pytest.mark.parametrize("away", [2.0, 300.0])
def test_an_end_that_a_cut_has_kept_from_a_node_is_told_by_the_next_gcs(away: float) -> None:
    plan = Plan(
        faults=(
            Cut(a=[0], b=[2], at=2.9, until=5),
            CrashOwner(node=1, at=3),
            CrashGcs(at=3.5, restart_after=away),
        )
    )
    nodes = [{"cpus": 2}, {"cpus": 2, "resources": {"here": 1}}, {"cpus": 2, "resources": {"there": 2}}]
    with simulate(nodes=nodes, seed=1, faults=plan) as world:
        ray.init()
        owner, reader = Owner.remote(), Reader.remote()
        refs = ray.get(owner.start.remote())
        ray.get(reader.hold.remote(refs))
        time.sleep(away + 10)
        process = world.nodes[2].process
        assert process is not None
        names = [grant.request.name for grant in process.core.raylet.grants.table.values()]
        assert names == ["Reader"], "the task of an owner that has ended ends too, on a node that was cut off then"
        assert ray.get(reader.read.remote()) == "OwnerDiedError", "who borrows from it learns of its end"


@ray.remote(num_cpus=1)
def work(seconds: float) -> tuple[float, float]:
    began = time.time()
    time.sleep(seconds)
    return began, time.time()


def most_at_once(spans: list[tuple[float, float]]) -> int:
    return max(sum(begin <= moment < end for begin, end in spans) for moment, _ in spans)


def test_what_a_placement_group_holds_of_a_quota_is_remembered() -> None:
    with simulate(nodes=2, cpus=8, seed=1, faults=Plan(faults=(CrashGcs(at=3, restart_after=0.5),))) as world:
        ray.init(job_config=ray.JobConfig(quota={"CPU": 4}))
        assert placement_group([{"CPU": 3}]).wait(30)
        time.sleep(5 - world.now)
        spans = ray.get([work.remote(1) for _ in range(6)])
        assert most_at_once(spans) == 1, "3 of 4 CPUs of the quota are the group's"


def test_a_quota_is_not_given_twice_while_a_node_has_not_come_back() -> None:
    plan = Plan(faults=(CrashGcs(at=3, restart_after=0.5), Cut(a=[0, 1], b=[2], at=2.9, until=6)))
    nodes: list[dict[str, Any]] = [{"cpus": 0}, {"cpus": 8}, {"cpus": 8}]
    with simulate(nodes=nodes, seed=1, faults=plan) as world:
        ray.init(job_config=ray.JobConfig(quota={"CPU": 4}))
        refs = [work.options(scheduling_strategy="SPREAD").remote(8) for _ in range(4)]
        time.sleep(4 - world.now)
        refs += [work.remote(1) for _ in range(4)]
        assert most_at_once(ray.get(refs)) == 4, "what runs on a node that is cut off counts"


def tenants() -> None:
    """Far more than the quota allows at the same time."""
    ray.init(job_config=ray.JobConfig(quota={"CPU": 3}))
    ray.get([work.options(scheduling_strategy="SPREAD").remote(0.05 + number % 3 / 20) for number in range(40)])


@pytest.mark.parametrize("crash", [0.35, 0.4, 0.45, 0.5, 0.55, 0.6])
def test_a_quota_is_given_again_only_when_it_is_known_what_leases_hold_of_it(crash: float) -> None:
    plan = Plan(faults=(CrashGcs(at=crash, restart_after=0.15),))
    outcome = run_once(tenants, seed=int(crash * 100), plan=plan, setup=Setup(nodes=6, node={"cpus": 2}))
    assert not outcome.violations, f"leases and groups together stay within the quota: {outcome.violations[0].text}"


def test_a_later_gcs_forgets_workers_that_have_ended_without_work() -> None:
    with simulate(nodes=2, cpus=4, seed=1, faults=Plan(faults=(CrashGcs(at=0.5, restart_after=0.5),))) as world:
        time.sleep(2)
        for _ in range(3):
            ray.init()
            refs = [work.options(num_cpus=0.25).remote(0.5) for _ in range(30)]
            time.sleep(0.001)
            for ref in refs[8:]:
                ray.cancel(ref)
            ray.wait(refs, num_returns=len(refs))
            ray.shutdown()
            time.sleep(5)
        gcs = world.nodes[0].gcs
        assert gcs is not None
        known = set(gcs.core.tables.incarnations._met)
        assert known == {node.process.address for node in world.nodes if node.process}, "no worker is left by then"
