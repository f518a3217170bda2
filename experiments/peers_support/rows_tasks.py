"""Rows about tasks and placement groups: Ray's own, by its names and with its workloads."""

from __future__ import annotations

from peers_support.bench import Bench, SkippedError, small_task
from peers_support.rows import row

GROUP = "tasks"


@row("single client tasks and get batch", GROUP)
def batch(bench: Bench) -> float:
    """A thousand tasks, counted as one."""
    ray, small = bench.ray, small_task(bench.ray)
    return bench.rate(lambda: ray.get([small.remote() for _ in range(1000)]))


@row("single client tasks sync", GROUP, ceiling="bare pipeline, one by one")
def one_by_one(bench: Bench) -> float:
    """One task, and its result, after the other."""
    ray, small = bench.ray, small_task(bench.ray)
    return bench.rate(lambda: ray.get(small.remote()))


@row("single client tasks async", GROUP, ceiling="bare pipeline, all at once")
def all_at_once(bench: Bench) -> float:
    """A thousand tasks, then their results."""
    ray, small = bench.ray, small_task(bench.ray)
    return bench.rate(lambda: ray.get([small.remote() for _ in range(1000)]), 1000)


@row("multi client tasks async", GROUP, seconds=180)
def from_actors(bench: Bench) -> float:
    """Four actors that submit 10,000 tasks each (200 in a quick run)."""
    ray, small = bench.ray, small_task(bench.ray)

    class Submitter:
        def submit(self, count: int) -> None:
            ray.get([small.remote() for _ in range(count)])

    count = bench.size(10_000, 200)
    submitter_type = ray.remote(num_cpus=0)(Submitter)
    submitters = [submitter_type.remote() for _ in range(4)]
    return bench.rate(lambda: ray.get([each.submit.remote(count) for each in submitters]), 4 * count)


@row("placement group create/removal", GROUP)
def placement_groups(bench: Bench) -> float:
    """A hundred groups of one bundle: made, waited for, removed."""
    ray = bench.ray
    make = getattr(ray.util, "placement_group", None)
    if make is None:
        raise SkippedError("it has no util.placement_group")
    remove = ray.util.remove_placement_group

    def work() -> None:
        groups = [make(bundles=[{"custom": 0.001}]) for _ in range(100)]
        for group in groups:
            if not group.wait(timeout_seconds=30):
                raise RuntimeError("a placement group was not ready after 30 s")
        for group in groups:
            remove(group)

    return bench.rate(work, 100)
