"""Things that are given up before they have begun: what fits nowhere, or finds no room for now."""

from __future__ import annotations

import time
from typing import Any

import thornback as ray
from thornback.faults.workloads.checks import check_equal


@ray.remote(max_retries=-1)
def work(seconds: float) -> int:
    """Holds a CPU."""
    time.sleep(seconds)
    return 1


@ray.remote(max_restarts=-1)
class Idle:
    """Does nothing."""

    def ping(self) -> int:
        """Answers."""
        return 1


def main(rounds: int = 4) -> None:
    """Actors, tasks and placement groups of which nothing may be left."""
    ray.init()
    for _ in range(rounds):
        busy = [work.remote(0.3) for _ in range(30)]
        waiting: list[Any] = [Idle.options(num_cpus=2).remote() for _ in range(4)]
        nowhere = [Idle.options(num_cpus=64).remote(), Idle.options(resources={"none": 1}).remote()]
        call = nowhere[0].ping.remote()
        groups = [ray.util.placement_group([{"CPU": 2}] * size) for size in (2, 64)]
        tasks = [work.options(num_cpus=64).remote(0), work.options(placement_group=groups[1]).remote(0)]
        time.sleep(0.2)
        ray.kill(waiting[0])
        ray.kill(nowhere[0])
        for task in tasks:
            ray.cancel(task)
        for group in groups:
            ray.util.remove_placement_group(group)
        del waiting, nowhere, call, groups, tasks
        check_equal("how many tasks have run", sum(ray.get(busy)), len(busy))


main()
