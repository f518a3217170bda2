"""What runs for a detached actor outlives the driver that made the actor, and the GCS."""

from __future__ import annotations

import time

import thornback as ray
from thornback.faults.plan import CrashGcs, Plan
from thornback.simulator import simulate


@ray.remote(max_retries=0)
def slow(number: int) -> int:
    time.sleep(1)
    return number


@ray.remote(max_retries=0)
def nested(number: int) -> int:
    return int(ray.get(slow.remote(number)))


@ray.remote(num_cpus=0)
class Foreman:
    def __init__(self) -> None:
        self.done: list[int] = []

    def work(self, count: int) -> None:
        """Submit tasks one after the other, of which none is tried again."""
        for number in range(count):
            self.done.append(ray.get(nested.remote(number)))

    def report(self) -> list[int]:
        return self.done


def test_tasks_of_a_detached_actor_go_on_when_its_job_ends_and_when_another_gcs_comes() -> None:
    plan = Plan(faults=(CrashGcs(at=6.5, restart_after=0.5),))
    with simulate(nodes=3, cpus=2, seed=1, faults=plan) as world:
        ray.init(namespace="n")
        foreman = Foreman.options(name="foreman", lifetime="detached", max_concurrency=2).remote()
        foreman.work.remote(8)
        time.sleep(2.5)
        ray.shutdown()
        time.sleep(10)
        ray.init(namespace="n")
        found = ray.get(ray.get_actor("foreman").report.remote())
        assert found == list(range(8)), f"every task of the detached actor must end as if nothing had been, not {found}"
        assert world.faults_injected == 1
