"""Tasks and actors that share GPUs, whole and in part: no GPU is promised to more than it can serve."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import thornback as ray
from thornback.exceptions import TaskUnschedulableError
from thornback.faults.workloads.checks import CheckFailed, check, check_equal

NODE = {"cpus": 2, "gpus": 2}


class Use(NamedTuple):
    """A stretch of time in which something had GPUs of a node."""

    node: str
    gpus: tuple[int, ...]
    share: float
    begin: float
    end: float


def use_gpus(share: float, seconds: float) -> Use:
    """Keep the GPUs that this task has busy."""
    gpus = tuple(int(each) for each in ray.get_gpu_ids())
    begin = time.time()
    time.sleep(seconds)
    return Use(str(ray.get_runtime_context().get_node_id()), gpus, min(share, 1.0), begin, time.time())


@ray.remote(num_cpus=0.1, max_retries=-1)
def train(share: float, seconds: float) -> Use:
    """A task."""
    return use_gpus(share, seconds)


@ray.remote(num_cpus=0.1, num_gpus=1, max_restarts=-1, max_task_retries=-1)
class Trainer:
    """An actor that has its GPU as long as it lives."""

    def train(self, seconds: float) -> Use:
        """One call."""
        return use_gpus(1.0, seconds)


@ray.remote(num_gpus=1, fail_if_infeasible=True)
def impossible() -> None:
    """Nothing, where there is no GPU."""


def check_uses(uses: list[Use]) -> None:
    """At no time is a GPU used by more than one whole task, or by parts that make up more than one."""
    by_gpu: dict[tuple[str, int], list[Use]] = {}
    for use in uses:
        for gpu in use.gpus:
            by_gpu.setdefault((use.node, gpu), []).append(use)
    for (node, gpu), found in by_gpu.items():
        for use in found:
            load = sum(other.share for other in found if other.begin <= use.begin < other.end)
            check(load <= 1.0001, f"GPU {gpu} of node {node} may be used once at a time, and is {load:g} times")


def main(tasks: int = 40) -> None:
    """Tasks that need a half, one and two GPUs, and some actors; where there are no GPUs, that must be said."""
    ray.init(ignore_reinit_error=True)
    if not ray.cluster_resources().get("GPU"):
        try:
            ray.get(impossible.remote())
        except TaskUnschedulableError:
            return
        raise CheckFailed("a task that needs a GPU must be refused where there is none")
    trainers: list[Any] = [Trainer.remote() for _ in range(2)]
    shares = [(0.5, 1.0, 0.25, 2.0)[number % 4] for number in range(tasks)]
    refs = [train.options(num_gpus=share).remote(share, 0.05 + number % 3 / 10) for number, share in enumerate(shares)]
    refs += [trainer.train.remote(0.05) for _ in range(10) for trainer in trainers]
    uses: list[Use] = ray.get(refs)
    for share, use in zip(shares, uses, strict=False):
        check_equal(f"the number of GPUs of a task that needs {share:g}", len(set(use.gpus)), max(1, int(share)))
    check_uses(uses)
    del trainers
    in_groups(6)


def in_groups(groups: int) -> None:
    """Placement groups, one after the other: the next gets the GPUs back that a removed one has had."""
    for _ in range(groups):
        group = ray.util.placement_group([{"CPU": 0.2, "GPU": 1.5}])
        inside = train.options(num_gpus=0.5, placement_group=group)
        check_uses(ray.get([inside.remote(0.5, 0.05) for _ in range(4)]))
        ray.util.remove_placement_group(group)


if __name__ == "__main__":
    main()
