"""Rows about starting, idling and stopping."""

from __future__ import annotations

import os
import time

from peers_support import processes
from peers_support.bench import Bench, small_task
from peers_support.rows import Metric, probe, version_for

GROUP = "start"
METRICS = (
    Metric("init() to first result", "s", higher_is_better=False),
    Metric("idle: processes", "", higher_is_better=False),
    Metric("idle: threads", "", higher_is_better=False),
    Metric("idle: proportional memory", "MB", higher_is_better=False),
    Metric("idle: CPU", "% of one", higher_is_better=False),
    Metric("shutdown()", "s", higher_is_better=False),
)


def idle(bench: Bench) -> tuple[float, float, float, float]:
    """What the processes of the engine, without the driver, use when there is nothing to do."""
    time.sleep(bench.size(4, 1))
    window = bench.size(4, 1)
    before = processes.usage(processes.descendants(os.getpid()))
    time.sleep(window)
    after = processes.usage(processes.descendants(os.getpid()))
    busy = max(0.0, after.cpu - before.cpu) / window
    return after.processes, after.threads, after.proportional / 1e6, 100 * busy


@probe("start", METRICS, GROUP, 120)
def start(bench: Bench) -> tuple[float, ...]:
    """From nothing to a result, to rest, and back to nothing."""

    def first() -> None:
        bench.start()
        bench.ray.get(small_task(bench.ray).remote())

    started = bench.once(first)
    usage = idle(bench)
    return (started, *usage, bench.once(bench.stop))


@version_for("dask", "start")
def start_dask(bench: Bench) -> tuple[float, ...]:
    """The same with a local cluster of processes."""

    def first() -> None:
        bench.start()
        bench.client.submit(bytes, 1, pure=False).result()

    started = bench.once(first)
    usage = idle(bench)
    return (started, *usage, bench.once(bench.stop))
