"""A program with a quota: tasks and placement groups, which together want far more than it may hold."""

from __future__ import annotations

import time

import thornback as ray
from thornback.faults.workloads.checks import check_equal


@ray.remote(max_retries=-1)
def work(number: int) -> int:
    """Holds a CPU for a while."""
    time.sleep(0.05 + number % 3 / 20)
    return number


@ray.remote(max_retries=-1)
def outer(number: int) -> int:
    """Gives its CPU back while it waits for another task."""
    return int(ray.get(work.remote(number)))


def rooms(count: int) -> None:
    """One placement group after the other, under the same name: what one has held, the next may hold."""
    for number in range(count):
        group = ray.util.placement_group([{"CPU": 2}], name="room")
        inside = work.options(placement_group=group).remote(number)
        check_equal("the result of the task in the room", ray.get(inside), number)
        ray.util.remove_placement_group(group)


def main() -> None:
    """All of it is done, in the end."""
    ray.init(job_config=ray.JobConfig(quota={"CPU": 3}))
    group = ray.util.placement_group([{"CPU": 1}])
    refs = [work.remote(number) for number in range(40)] + [outer.remote(number) for number in range(10)]
    inside = work.options(placement_group=group).remote(7)
    check_equal("the sum of all results", sum(ray.get(refs)), sum(range(40)) + sum(range(10)))
    check_equal("the result of the task in the group", ray.get(inside), 7)
    rooms(3)


main()
