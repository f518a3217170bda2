# mypy: disable-error-code="untyped-decorator"
"""Rows about many arguments, returns and tasks, about trees and chains of tasks, and about latency."""

from __future__ import annotations

import gc
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from peers_support.bench import Bench, percentile, resident_bytes, small_task
from peers_support.rows import Metric, probe, row

GROUP = "scale"
QUEUED = (
    Metric("100,000 queued tasks: submit", "tasks/s"),
    Metric("100,000 queued tasks: driver memory", "bytes/task", higher_is_better=False),
    Metric("100,000 queued tasks: drain", "tasks/s"),
)
MILLION = (
    Metric("1,000,000 queued tasks: submit", "tasks/s"),
    Metric("1,000,000 queued tasks: driver memory", "bytes/task", higher_is_better=False),
    Metric("1,000,000 queued tasks: submit and drain", "s", higher_is_better=False),
)
IDLE_LATENCY = (
    Metric("sync call latency, idle cluster: p50", "ms", higher_is_better=False),
    Metric("sync call latency, idle cluster: p99", "ms", higher_is_better=False),
)
LOADED_LATENCY = (
    Metric("sync call latency under load: p50", "ms", higher_is_better=False),
    Metric("sync call latency under load: p90", "ms", higher_is_better=False),
    Metric("sync call latency under load: p99", "ms", higher_is_better=False),
    Metric("sync call latency under load: worst", "ms", higher_is_better=False),
)


@probe("arguments", [Metric("10,000 arguments to one task", "s", higher_is_better=False)], GROUP, 120)
def arguments(bench: Bench) -> float:
    """One task with 10,000 references to small objects (2,000 in a quick run)."""
    ray = bench.ray

    @ray.remote
    def count(*values: object) -> int:
        return len(values)

    ray.get(count.remote(ray.put(0)))
    references = [ray.put(number) for number in range(bench.size(10_000, 2000))]
    return bench.once(lambda: ray.get(count.remote(*references)))


@probe("returns", [Metric("3,000 returns from one task", "s", higher_is_better=False)], GROUP, 120)
def returns(bench: Bench) -> float:
    """One task with 3,000 small results."""
    ray = bench.ray

    @ray.remote(num_returns=3000)
    def many() -> range:
        return range(3000)

    ray.get(small_task(ray).remote())
    return bench.once(lambda: ray.get(many.remote()))


def hold_workers(ray: Any, cpus: int, path: str) -> list[Any]:
    """Tasks that keep all CPUs until ``path`` exists."""

    @ray.remote
    def hold() -> None:
        while not os.path.exists(path):
            time.sleep(0.01)

    return [hold.remote() for _ in range(cpus)]


def queue_up(bench: Bench, count: int) -> tuple[float, float, float]:
    """Seconds to submit, driver bytes per task, seconds until all results are there."""
    ray, small = bench.ray, small_task(bench.ray)
    ray.get([small.remote() for _ in range(100)])
    with tempfile.TemporaryDirectory() as directory:
        gate = Path(directory) / "open"
        holders = hold_workers(ray, bench.cpus, str(gate))
        time.sleep(0.5)
        gc.collect()
        before = resident_bytes()
        submitting = time.perf_counter()
        references = [small.remote() for _ in range(count)]
        draining = time.perf_counter()
        memory = resident_bytes() - before
        gate.touch()
        ray.get(holders)
        ray.get(references)
        end = time.perf_counter()
    return draining - submitting, memory / count, end - draining


@probe("queued", QUEUED, "queued tasks", 240, fresh=True)
def queued(bench: Bench) -> tuple[float, float, float]:
    """Tasks submitted while all workers are busy (4,000 in a quick run)."""
    count = bench.size(100_000, 4000)
    submit, memory, drain = queue_up(bench, count)
    return count / submit, memory, count / drain


@probe("million", MILLION, "a million queued tasks", 240, quick=False, fresh=True, engines=("thornback",))
def million(bench: Bench) -> tuple[float, float, float]:
    """The same ten times over, for Thornback alone."""
    count = 1_000_000
    submit, memory, drain = queue_up(bench, count)
    return count / submit, memory, submit + drain


@row("chain of 1,000 dependent tasks", GROUP, "tasks/s")
def chain(bench: Bench) -> float:
    """Each task takes the result of the one before (200 of them in a quick run)."""
    ray = bench.ray
    steps = bench.size(1000, 200)

    @ray.remote
    def step(number: int) -> int:
        return number + 1

    def work() -> None:
        number: Any = 0
        for _ in range(steps):
            number = step.remote(number)
        if ray.get(number) != steps:
            raise AssertionError(f"a chain of {steps} steps did not lead to {steps}")

    return bench.rate(work, steps)


@row("tree of nested tasks (fib)", GROUP, "tasks/s", seconds=180)
def tree(bench: Bench) -> float:
    """fib(8) (fib(5) in a quick run), where each task waits for the two that it started."""
    ray = bench.ray

    @ray.remote
    def fib(number: int) -> tuple[int, int]:
        if number < 2:
            return number, 1
        (left, some), (right, others) = ray.get([fib.remote(number - 1), fib.remote(number - 2)])
        return left + right, some + others + 1

    depth = bench.size(8, 5)
    _, tasks = ray.get(fib.remote(depth))
    return bench.rate(lambda: ray.get(fib.remote(depth)), tasks)


@probe("reduce", [Metric("64-way reduce of 10 MB arrays", "s", higher_is_better=False)], GROUP, 120)
def reduce(bench: Bench) -> float:
    """64 tasks make an array each (of 1 MB in a quick run), one adds them up."""
    ray = bench.ray
    length = bench.size(10_000_000, 1_000_000) // 8

    @ray.remote
    def make() -> np.ndarray:
        return np.ones(length)

    @ray.remote
    def add(*arrays: np.ndarray) -> float:
        return float(np.add.reduce(arrays).sum())

    def work() -> None:
        if ray.get(add.remote(*[make.remote() for _ in range(64)])) != 64 * length:
            raise AssertionError("the sum is wrong")

    work()
    return bench.once(work)


def latencies(ray: Any, small: Any, seconds: float) -> list[float]:
    """Milliseconds of one sync call after the other."""
    found = []
    end = time.perf_counter() + seconds
    while (begin := time.perf_counter()) < end:
        ray.get(small.remote())
        found.append((time.perf_counter() - begin) * 1e3)
    return found


@probe("idle latency", IDLE_LATENCY, GROUP)
def idle_latency(bench: Bench) -> tuple[float, float]:
    """Sync calls with nothing else going on."""
    small = small_task(bench.ray)
    latencies(bench.ray, small, bench.seconds / 3)
    found = latencies(bench.ray, small, bench.seconds)
    return percentile(found, 0.5), percentile(found, 0.99)


@probe("loaded latency", LOADED_LATENCY, GROUP)
def loaded_latency(bench: Bench) -> tuple[float, ...]:
    """Sync calls while another process floods the cluster with tasks, a thousand at a time."""
    ray, small = bench.ray, small_task(bench.ray)
    seconds = max(0.8, 2 * bench.seconds)

    class Flood:
        def ready(self) -> bool:
            return True

        def run(self, seconds: float) -> int:
            end, rounds = time.perf_counter() + seconds, 0
            while time.perf_counter() < end:
                ray.get([small.remote() for _ in range(1000)])
                rounds += 1
            return rounds

    flood = ray.remote(num_cpus=0)(Flood).remote()
    ray.get(flood.ready.remote())
    running = flood.run.remote(seconds + 0.5)
    time.sleep(0.5)
    found = latencies(ray, small, seconds)
    ray.get(running)
    return percentile(found, 0.5), percentile(found, 0.9), percentile(found, 0.99), max(found)
