"""What Dask.distributed does for the rows about tasks."""

from __future__ import annotations

import gc
import tempfile
import time
from pathlib import Path
from typing import Any

from peers_support import dask_tasks
from peers_support.bench import Bench, percentile, resident_bytes
from peers_support.rows import version_for

ENGINE = "dask"


def _many(client: Any, count: int) -> list[Any]:
    return [client.submit(dask_tasks.small, pure=False) for _ in range(count)]


@version_for(ENGINE, "single client tasks sync")
def sync(bench: Bench) -> float:
    """One task, and its result, after the other."""
    client = bench.client
    return bench.rate(lambda: client.submit(dask_tasks.small, pure=False).result())


@version_for(ENGINE, "single client tasks async")
def all_at_once(bench: Bench) -> float:
    """A thousand tasks, then their results."""
    client = bench.client
    return bench.rate(lambda: client.gather(_many(client, 1000)), 1000)


@version_for(ENGINE, "single client tasks and get batch")
def batch(bench: Bench) -> float:
    """A thousand tasks, counted as one."""
    client = bench.client
    return bench.rate(lambda: client.gather(_many(client, 1000)))


@version_for(ENGINE, "arguments")
def arguments(bench: Bench) -> float:
    """One task with 10,000 small results of others (2,000 in a quick run)."""
    client = bench.client
    values = client.scatter(list(range(bench.size(10_000, 2000))), hash=False)
    return bench.once(lambda: client.submit(dask_tasks.count_values, values, pure=False).result())


@version_for(ENGINE, "queued")
def queued(bench: Bench) -> tuple[float, float, float]:
    """Tasks submitted while all workers are busy (4,000 in a quick run)."""
    client = bench.client
    count = bench.size(100_000, 4000)
    client.gather(_many(client, 100))
    with tempfile.TemporaryDirectory() as directory:
        gate = Path(directory) / "open"
        holders = [client.submit(dask_tasks.hold, str(gate), pure=False) for _ in range(bench.cpus)]
        time.sleep(0.5)
        gc.collect()
        before = resident_bytes()
        begin = time.perf_counter()
        futures = _many(client, count)
        submitted = time.perf_counter()
        memory = resident_bytes() - before
        gate.touch()
        client.gather(holders)
        client.gather(futures)
        end = time.perf_counter()
    return count / (submitted - begin), memory / count, count / (end - submitted)


@version_for(ENGINE, "chain of 1,000 dependent tasks")
def chain(bench: Bench) -> float:
    """Each task takes the result of the one before (200 of them in a quick run)."""
    client = bench.client
    steps = bench.size(1000, 200)

    def work() -> None:
        number = client.submit(dask_tasks.increment, 0, pure=False)
        for _ in range(steps - 1):
            number = client.submit(dask_tasks.increment, number, pure=False)
        if number.result() != steps:
            raise AssertionError(f"a chain of {steps} steps did not lead to {steps}")

    return bench.rate(work, steps)


@version_for(ENGINE, "tree of nested tasks (fib)")
def tree(bench: Bench) -> float:
    """fib(8), or fib(5) in a quick run."""
    client = bench.client
    depth = bench.size(8, 5)
    _, tasks = client.submit(dask_tasks.fib, depth, pure=False).result()
    return bench.rate(lambda: client.submit(dask_tasks.fib, depth, pure=False).result(), tasks)


@version_for(ENGINE, "reduce")
def reduce(bench: Bench) -> float:
    """64 tasks make an array each, one adds them up."""
    client = bench.client
    length = bench.size(10_000_000, 1_000_000) // 8

    def work() -> None:
        arrays = [client.submit(dask_tasks.make_array, length, number, pure=False) for number in range(64)]
        if client.submit(dask_tasks.add_arrays, arrays, pure=False).result() != 64 * length:
            raise AssertionError("the sum is wrong")

    work()
    return bench.once(work)


@version_for(ENGINE, "idle latency")
def idle_latency(bench: Bench) -> tuple[float, float]:
    """Sync calls with nothing else going on."""
    client = bench.client
    found = []
    end = time.perf_counter() + bench.seconds
    while (begin := time.perf_counter()) < end:
        client.submit(dask_tasks.small, pure=False).result()
        found.append((time.perf_counter() - begin) * 1e3)
    return percentile(found, 0.5), percentile(found, 0.99)
