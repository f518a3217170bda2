# mypy: disable-error-code="untyped-decorator"
"""Rows about objects: Ray's own, by its names and with its workloads."""

from __future__ import annotations

import numpy as np

from peers_support.bench import Bench
from peers_support.rows import row

GROUP = "objects"
WARM = 3
"""Calls before the rows about bandwidth, as the first ones touch memory that nobody has used before."""
BIG = 100 * 2**20
"""Elements of the array that is put, 8 bytes each (a tenth of them in a quick run)."""


@row("single client get calls (Plasma Store)", GROUP)
def get_small(bench: Bench) -> float:
    """The same stored number again and again."""
    ray = bench.ray
    stored = ray.put(0)
    return bench.rate(lambda: ray.get(stored))


@row("single client put calls (Plasma Store)", GROUP)
def put_small(bench: Bench) -> float:
    """A number, into the store."""
    ray = bench.ray
    return bench.rate(lambda: ray.put(0))


@row("multi client put calls (Plasma Store)", GROUP)
def put_small_from_tasks(bench: Bench) -> float:
    """Ten tasks that put a hundred numbers each."""
    ray = bench.ray

    @ray.remote
    def putter() -> None:
        for _ in range(100):
            ray.put(0)

    return bench.rate(lambda: ray.get([putter.remote() for _ in range(10)]), 1000)


@row("single client put gigabytes", GROUP, "GB/s", "memory copy, warm", control_plane=False, seconds=120)
def put_large(bench: Bench) -> float:
    """An array of 800 MB (80 MB in a quick run)."""
    ray = bench.ray
    array = np.zeros(bench.size(BIG, BIG // 10), dtype=np.int64)
    return bench.rate(lambda: ray.put(array), array.nbytes / 1e9, bench.size(WARM, 1))


@row("multi client put gigabytes", GROUP, "GB/s", "memory copy, warm", control_plane=False, seconds=120)
def put_large_from_tasks(bench: Bench) -> float:
    """Ten tasks that put ten arrays of 80 MB each (one of them in a quick run)."""
    ray = bench.ray
    arrays = bench.size(10, 1)

    @ray.remote
    def putter() -> None:
        for _ in range(arrays):
            ray.put(np.zeros(10 * 2**20, dtype=np.int64))

    return bench.rate(
        lambda: ray.get([putter.remote() for _ in range(10)]), 10 * arrays * 10 * 2**20 * 8 / 1e9, bench.size(WARM, 1)
    )


@row("single client get object containing 10k refs", GROUP, seconds=120)
def get_references(bench: Bench) -> float:
    """A list of 10,000 references (2,000 in a quick run) that a task has made."""
    ray = bench.ray
    count = bench.size(10_000, 2000)

    @ray.remote
    def many() -> list[object]:
        return [ray.put(1) for _ in range(count)]

    made = many.remote()
    return bench.rate(lambda: ray.get(made))


@row("single client wait 1k refs", GROUP)
def wait_one_by_one(bench: Bench) -> float:
    """A thousand tasks, and a wait for each next one that is ready."""
    ray = bench.ray

    @ray.remote
    def small() -> bytes:
        return b"ok"

    def work() -> None:
        left = [small.remote() for _ in range(1000)]
        fetch = True
        while left:
            _, left = ray.wait(left, fetch_local=fetch)
            fetch = False

    return bench.rate(work)
