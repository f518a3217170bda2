# mypy: disable-error-code="untyped-decorator"
"""What a row gets in order to measure: the engine, sizes, and the loop that turns a call into calls per second."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any


class SkippedError(Exception):
    """The engine (or this machine) cannot do what the row measures; says why."""


@dataclass
class Bench:
    """One engine in one process.

    Attributes:
        ray: the module with the common API (``ray`` itself or ``thornback``); None for engines without it.
        client: a Dask client; None elsewhere.
        quick: use the small sizes.
        seconds: how long a row's loop runs.
        cpus: CPUs that the engine was given.
        start: starts the engine with these settings; ``stop`` ends it. For rows that measure that themselves.
    """

    ray: Any
    client: Any
    quick: bool
    seconds: float
    cpus: int
    start: Callable[[], None]
    stop: Callable[[], None]

    def size(self, full: int, quick: int) -> int:
        """The size of a workload: ``full``, or ``quick`` in a quick run."""
        return quick if self.quick else full

    def rate(self, work: Callable[[], Any], count: float = 1, warm: int = 1) -> float:
        """How often per second ``work`` does what it does ``count`` times per call.

        Warms up for a third of the time, by ``warm`` calls at least, and then calls it until the time is over.
        """
        begin = perf_counter()
        calls = 0
        while calls < warm or perf_counter() - begin < self.seconds / 3:
            work()
            calls += 1
        step = max(1, calls // 10)
        begin = perf_counter()
        calls = 0
        while True:
            for _ in range(step):
                work()
            calls += step
            elapsed = perf_counter() - begin
            if elapsed >= self.seconds:
                return count * calls / elapsed

    def once(self, work: Callable[[], Any]) -> float:
        """Seconds that one call takes."""
        begin = perf_counter()
        work()
        return perf_counter() - begin


def small_task(ray: Any) -> Any:
    """A task that does nothing."""

    @ray.remote
    def small() -> bytes:
        return b"ok"

    return small


def percentile(values: list[float], share: float) -> float:
    """The smallest of ``values`` that at least ``share`` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def resident_bytes() -> int:
    """Memory of this process, in bytes."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
