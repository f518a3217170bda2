"""Tasks that may run on one node only, and tasks with references inside of their arguments."""

from __future__ import annotations

import time

import thornback as ray
from thornback.faults.workloads.checks import check, check_equal
from thornback.util.scheduling_strategies import NodeAffinitySchedulingStrategy


@ray.remote(max_retries=-1)
def where() -> str:
    """The node that it runs on."""
    time.sleep(0.05)
    return str(ray.get_runtime_context().get_node_id())


@ray.remote(max_retries=-1, num_cpus=0.2)
def read(held: list[ray.ObjectRef[int]], seconds: float) -> int:
    """Reads a reference that it got inside of a list, after a while."""
    time.sleep(seconds)
    return int(ray.get(held[0]))


def main() -> None:
    """Tasks for the head, more than it can run at a time; and arguments that only their tasks refer to."""
    ray.init()
    head = ray.get_runtime_context().get_node_id()
    strategy = NodeAffinitySchedulingStrategy(head, soft=False)
    places = [where.options(scheduling_strategy=strategy).remote() for _ in range(20)]
    values = [read.remote([ray.put(number)], number / 50) for number in range(20)]
    check(set(ray.get(places)) == {head}, "tasks bound to the head run there")
    check_equal("what was inside of the arguments", ray.get(values), list(range(20)))


main()
