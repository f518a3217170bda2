"""Jobs that share a cluster: parts by weight, quotas, and everything for a job that is alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import thornback as ray
from thornback.api import current


class Program:
    """One of several drivers of a simulated cluster."""

    def __init__(self, config: ray.JobConfig | None = None) -> None:
        before, current.runtime = current.runtime, None
        ray.init(job_config=config)
        self.runtime, current.runtime = current.runtime, before

    @contextmanager
    def active(self) -> Iterator[None]:
        """What happens inside is done by this program."""
        before, current.runtime = current.runtime, self.runtime
        try:
            yield
        finally:
            current.runtime = before

    def submit(self, seconds: float, count: int, **options: Any) -> list[Any]:
        with self.active():
            task = ray.remote(time.sleep).options(**options) if options else ray.remote(time.sleep)
            refs = [task.remote(seconds) for _ in range(count)]
            ray.wait(refs, timeout=0)
            return refs

    def end(self) -> None:
        with self.active():
            ray.shutdown()


def held_cpus(world: Any) -> dict[int, float]:
    """CPUs that the leases of each job hold now, by what the raylets say."""
    held: dict[int, float] = {}
    for node in world.simulation.nodes:
        for job_id, amounts in node.process.core.raylet.grants.shares.here().items():
            held[job_id] = held.get(job_id, 0) + amounts.get("CPU", 0) / 10_000
    return held


def average(world: Any, seconds: float) -> dict[int, float]:
    """CPUs that each job holds, on average over a time."""
    sums: dict[int, float] = {}
    for _ in range(20):
        time.sleep(seconds / 20)
        for job_id, cpus in held_cpus(world).items():
            sums[job_id] = sums.get(job_id, 0) + cpus / 20
    return sums


pytestmark = [pytest.mark.only("simulated"), pytest.mark.timeout(90)]


@pytest.mark.cluster(nodes=100, cpus=2)
@pytest.mark.parametrize("weights", [(1.0, 1.0), (1.0, 3.0)])
def test_two_jobs_of_unequal_demand_share_by_their_weights(world: Any, weights: tuple[float, float]) -> None:
    first, second = Program(ray.JobConfig(weight=weights[0])), Program(ray.JobConfig(weight=weights[1]))
    one, two = first.runtime.core.owner.job_id, second.runtime.core.owner.job_id
    first.submit(0.5, 15_000)
    time.sleep(5)
    assert held_cpus(world)[one] > 190, "a job that is alone has everything"
    second.submit(0.5, 6_000)
    time.sleep(8)
    held = average(world, 5)
    share = held[one] / (held[one] + held[two])
    due = weights[0] / sum(weights)
    assert abs(share - due) <= 0.05, f"job 1 has {share:.3f} of what both hold, its part is {due:.3f} ({held})"
    assert held[one] + held[two] > 185, f"the cluster stays in use: {held}"


def watch(world: Any, job: int, seconds: float) -> list[float]:
    """What a job held at many moments."""
    seen = []
    for _ in range(int(seconds / 0.02)):
        time.sleep(0.02)
        seen.append(held_cpus(world).get(job, 0.0))
    return seen


@pytest.mark.cluster(nodes=10, cpus=4)
def test_a_quota_is_never_exceeded_on_all_nodes_together_and_is_used_up(world: Any) -> None:
    limited, other = Program(ray.JobConfig(quota={"CPU": 7})), Program()
    job = limited.runtime.core.owner.job_id
    refs = limited.submit(0.1, 300) + limited.submit(0.1, 50, num_cpus=2)
    refs += limited.submit(0.1, 50, scheduling_strategy="SPREAD")
    seen = watch(world, job, 2.0)
    assert max(seen) <= 7, f"the job held {max(seen)} CPUs of a quota of 7"
    assert sum(seen[25:]) / len(seen[25:]) > 6, "the quota is used up while enough waits"
    other.submit(0.1, 2000)
    seen = watch(world, job, 1.0)
    assert max(seen) <= 7 and min(seen) > 0, f"the job holds between {min(seen)} and {max(seen)} CPUs"
    time.sleep(1)
    rest = average(world, 2)[other.runtime.core.owner.job_id]
    assert rest > 26, f"the other job has {rest} CPUs of 33 that remain"
    with limited.active():
        ray.get(refs, timeout=60)


@pytest.mark.cluster(nodes=3, cpus=4)
def test_nested_tasks_and_actors_count_too_and_do_not_lock_each_other_up(world: Any) -> None:
    program = Program(ray.JobConfig(quota={"CPU": 2}))
    job = program.runtime.core.owner.job_id

    def child(x: int) -> int:
        time.sleep(0.05)
        return x

    def parent(x: int) -> int:
        task = ray.remote(child)
        return sum(ray.get([task.remote(x), task.remote(x)]))

    class Adder:
        def add(self, x: int) -> int:
            return x + 1

    with program.active():
        refs = [ray.remote(parent).remote(x) for x in range(12)]
        ray.wait(refs, timeout=0)
    seen = watch(world, job, 2.0)
    assert max(seen) <= 2, f"the job held {max(seen)} CPUs of a quota of 2"
    with program.active():
        assert ray.get(refs, timeout=60) == [2 * x for x in range(12)]
        actors = [ray.remote(Adder).options(num_cpus=1).remote() for _ in range(3)]
        answers = [actor.add.remote(1) for actor in actors]
        ready, waiting = ray.wait(answers, num_returns=3, timeout=3)
        assert (len(ready), len(waiting)) == (2, 1), "the third actor would be above the quota"
        ray.kill(actors[answers.index(ready[0])])
        assert ray.get(waiting[0], timeout=20) == 2, "it starts when another has ended"


@pytest.mark.cluster(nodes=2, cpus=4)
def test_what_is_larger_than_the_quota_is_told_so_at_once(world: Any) -> None:
    program = Program(ray.JobConfig(quota={"CPU": 2}))
    with program.active():
        task = ray.remote(time.sleep).options(num_cpus=3, fail_if_infeasible=True, name="large").remote(0)
        message = r"large needs \{CPU: 3\}, more than the quota of its job, \{CPU: 2\}"
        with pytest.raises(ray.exceptions.TaskUnschedulableError, match=message):
            ray.get(task, timeout=10)


@pytest.mark.cluster(nodes=4, cpus=4)
def test_a_quota_survives_the_death_of_nodes(world: Any) -> None:
    program = Program(ray.JobConfig(quota={"CPU": 6}))
    job = program.runtime.core.owner.job_id
    refs = program.submit(0.5, 100, scheduling_strategy="SPREAD")
    time.sleep(1)
    world.simulation.kill_node(2)
    world.simulation.kill_node(3)
    with program.active():
        ray.get(refs, timeout=60)
    world.eventually(lambda: len([node for node in ray.nodes() if node["Alive"]]) == 2, "two nodes are declared dead")
    world.eventually(lambda: not held_cpus_alive(world).get(job), "all leases are given back")
    again = program.submit(0.5, 60)
    time.sleep(3)
    assert 4 < held_cpus_alive(world)[job] <= 6, "what the dead nodes held is available again"
    with program.active():
        ray.get(again, timeout=60)


def held_cpus_alive(world: Any) -> dict[int, float]:
    """As :func:`held_cpus`, without nodes that are gone."""
    held: dict[int, float] = {}
    for node in world.simulation.nodes:
        if node.alive:
            for job_id, amounts in node.process.core.raylet.grants.shares.here().items():
                held[job_id] = held.get(job_id, 0) + amounts.get("CPU", 0) / 10_000
    return held


@pytest.mark.cluster(nodes=2, cpus=4)
def test_what_waits_for_its_quota_says_so(world: Any) -> None:
    program = Program(ray.JobConfig(quota={"CPU": 2}))
    refs = program.submit(5, 3)
    time.sleep(1)
    with program.active():
        reasons = [ray.util.why_pending(ref) for ref in refs]
        quota = [reason for reason in reasons if "quota" in reason]
        assert len(quota) == 1, f"two of three tasks run, the third waits for the quota: {reasons}"
        assert "its job has used up its quota {CPU: 2}" in quota[0]
