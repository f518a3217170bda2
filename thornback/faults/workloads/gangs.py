"""Gangs in placement groups: all members have a place or none has, where the strategy allows it, and give it back."""

from __future__ import annotations

import time
from typing import Any

import thornback as ray
from thornback.faults.workloads.checks import CheckFailed, check, check_equal
from thornback.util import placement_group, remove_placement_group
from thornback.util.scheduling_strategies import PlacementGroupSchedulingStrategy

PATIENCE = 90.0
"""Seconds in which a place must be found, or what was taken be free: longer than it takes to notice a dead node."""


@ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=-1)
class Member:
    """One of a gang."""

    def node(self) -> str:
        """Where it is."""
        time.sleep(0.03)
        return ray.get_runtime_context().get_node_id()


@ray.remote(num_cpus=1, max_retries=-1)
def visit(number: int) -> int:
    """A task in a bundle."""
    time.sleep(0.05)
    return number


def alive() -> int:
    """How many nodes there are, as far as the cluster knows."""
    return sum(bool(node["Alive"]) for node in ray.nodes())


def is_placed(group: Any, strategy: str, size: int) -> bool:
    """Wait for the group's place; False if the cluster has become too small for it."""
    end = time.monotonic() + PATIENCE
    while not group.wait(1):
        if strategy == "STRICT_SPREAD" and alive() < size:
            return False
        if time.monotonic() > end:
            raise CheckFailed(f"a {strategy} group of {size} bundles must find its place on {alive()} nodes")
    return True


def places(members: list[Any]) -> list[str]:
    """Where each member says it is."""
    found: list[str] = ray.get([member.node.remote() for member in members])
    return found


def check_places(strategy: str, members: list[Any]) -> None:
    """Members are where the strategy wants them; on one node perhaps only when a move of the group is over."""
    size, end = len(members), time.monotonic() + PATIENCE
    if strategy == "STRICT_SPREAD":
        found = places(members)
        check_equal(f"the number of nodes of a {strategy} group ({found})", len(set(found)), size)
    while strategy == "STRICT_PACK" and len(set(places(members))) > 1:
        check(time.monotonic() < end, "a STRICT_PACK group must be on one node")
        time.sleep(0.5)


def gang(strategy: str, size: int) -> None:
    """One group with an actor in each bundle; then the same group with tasks."""
    group: Any = placement_group([{"CPU": 1}] * size, strategy)
    if is_placed(group, strategy, size):
        inside = [PlacementGroupSchedulingStrategy(group, index) for index in range(size)]
        if strategy.startswith("STRICT"):
            members = [Member.options(scheduling_strategy=where).remote() for where in inside]
            if strategy == "STRICT_PACK" or alive() >= size:
                check_places(strategy, members)
            for member in members:
                ray.kill(member)
        else:
            refs = [visit.options(scheduling_strategy=where).remote(index) for index, where in enumerate(inside * 2)]
            check_equal(f"the numbers of the tasks in a {strategy} group", ray.get(refs), list(range(2 * size)))
    remove_placement_group(group)


def crowd(groups: int, size: int) -> None:
    """More groups at a time than there is room for: each has all of its bundles, or waits."""
    made: list[Any] = [placement_group([{"CPU": 1}] * size, "SPREAD") for _ in range(groups)]
    waiting: dict[Any, tuple[Any, int]] = {}
    for group in made:
        for index in range(size):
            where = PlacementGroupSchedulingStrategy(group, index)
            waiting[visit.options(scheduling_strategy=where).remote(index)] = group, index
    while waiting:
        (ready,), _ = ray.wait(list(waiting))
        group, index = waiting.pop(ready)
        check_equal("the number of a task in a group of a crowd", ray.get(ready), index)
        if not any(group == other for other, _ in waiting.values()):
            remove_placement_group(group)


def free_cpus() -> tuple[float, float]:
    """CPUs that nobody uses, and all CPUs."""
    return ray.available_resources().get("CPU", 0.0), ray.cluster_resources().get("CPU", 0.0)


def main(rounds: int = 2) -> None:
    """One group after the other; at the end all CPUs are free."""
    ray.init(ignore_reinit_error=True)
    for _ in range(rounds):
        gang("STRICT_SPREAD", 3)
        gang("PACK", 2)
        gang("STRICT_PACK", 2)
        gang("SPREAD", 2)
        crowd(8, 2)
    end = time.monotonic() + PATIENCE
    while len(set(free_cpus())) > 1:
        check(
            time.monotonic() < end,
            f"all CPUs must be free at the end; free, and all: {free_cpus()}",
        )
        time.sleep(0.5)


if __name__ == "__main__":
    main()
