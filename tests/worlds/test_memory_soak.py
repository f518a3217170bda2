"""Memory stays flat however many objects come and go, and tasks over one large array do not copy it.

The quick versions run every day; ``make soak`` runs the long ones, which print their figures.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import thornback as ray
from thornback.api import current
from thornback.core import blocking
from thornback.util import state

MIB = 1 << 20


@pytest.fixture
def cluster() -> Iterator[None]:
    ray.shutdown()
    ray.init(num_cpus=2, object_store_memory=2048 * MIB, log_to_driver=False)
    yield
    ray.shutdown()


def proportional_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def private_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


def processes() -> dict[str, int]:
    """Pids of the driver, the node process and the workers."""
    runtime: Any = current.require()
    found = {"driver": os.getpid(), "node": runtime._node[0].pid}
    for row in blocking.query(runtime, "workers"):
        if row["pid"]:
            found[f"worker {row['pid']}"] = row["pid"]
    return found


def settle() -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        gc.collect()
        if all(store["objects"] == 0 and store["used"] == 0 for store in state.list_stores()):
            return
        time.sleep(0.05)
    raise AssertionError(f"not freed: {state.list_objects()[:5]}")


@ray.remote
def echo(value: Any) -> Any:
    return value


@ray.remote
def plus_one(value: Any) -> Any:
    return value + 1


@ray.remote
class Cell:
    def __init__(self) -> None:
        self.kept: list[Any] = []

    def swap(self, box: list[Any]) -> int:
        self.kept = box
        return len(box)


def small_round(count: int, cell: Any) -> None:
    for start in range(0, count, 1000):
        refs = [echo.remote(index) for index in range(start, min(count, start + 900))]
        refs += [ray.put(index) for index in range(100)]
        ray.get(refs)
        ray.get(cell.swap.remote(refs[-50:]))


def large_round(count: int, cell: Any) -> None:
    block = np.ones(MIB // 4, np.uint8)
    for _ in range(0, count, 100):
        refs = [ray.put(block) for _ in range(50)]
        results = [plus_one.remote(ref) for ref in refs]
        assert all(int(value[0]) == 2 for value in ray.get(results))
        ray.get(cell.swap.remote(results[-5:]))


def soak(small: int, large: int, rounds: int, allowed: int) -> None:
    cell = Cell.remote()
    small_round(2000, cell)
    large_round(200, cell)
    readings: list[dict[str, int]] = []
    begin = time.monotonic()
    for index in range(rounds):
        small_round(small // rounds, cell)
        large_round(large // rounds, cell)
        gc.collect()
        time.sleep(0.3)
        known = processes()
        readings.append({name: private_bytes(pid) for name, pid in known.items()})
        print(
            f"round {index + 1}: {time.monotonic() - begin:.0f} s "
            + " ".join(f"{name}={size / MIB:.1f}MiB" for name, size in readings[-1].items())
        )
    start = readings[len(readings) // 3]
    for name, size in readings[-1].items():
        if name in start:
            assert size - start[name] <= allowed, f"{name} grew from {start[name]:,} to {size:,} bytes"
    ray.get(cell.swap.remote([]))
    settle()
    owner = current.require().core.owner
    assert len(owner.references.table) < 50 and len(owner.tasks.table) < 50


def shared_array(megabytes: int, tasks: int) -> None:
    settle()
    array = np.ones(megabytes * MIB, np.uint8)
    ref = ray.put(array)

    @ray.remote
    def look(value: Any) -> int:
        return int(value[:: 64 * 1024].sum(dtype=np.int64)) + 0 * int(value.sum(dtype=np.int64))

    def everything() -> int:
        return sum(proportional_bytes(pid) for pid in processes().values())

    expected = megabytes * MIB // (64 * 1024)
    ray.get([look.remote(np.ones(MIB, np.uint8)) for _ in range(20)])
    before = everything()
    assert ray.get([look.remote(ref) for _ in range(tasks)]) == [expected] * tasks
    growth = everything() - before
    print(f"{tasks} tasks over {megabytes} MiB: proportional set size of all processes grew by {growth / MIB:.1f} MiB")
    assert growth < 0.05 * array.nbytes
    del ref
    settle()


def test_small_and_large_objects_leave_memory_flat(cluster: None) -> None:
    soak(small=12_000, large=600, rounds=6, allowed=12 * MIB)


def test_tasks_over_one_array_do_not_copy_it(cluster: None) -> None:
    shared_array(200, 20)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_million_small_and_twenty_thousand_large_objects(cluster: None) -> None:
    soak(small=1_000_000, large=20_000, rounds=12, allowed=24 * MIB)


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_a_hundred_tasks_over_one_gibibyte(cluster: None) -> None:
    shared_array(1024, 100)


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_speed_of_large_objects(cluster: None) -> None:
    size = 100 * MIB
    source, target = np.ones(size, np.uint8), np.ones(size, np.uint8)

    def seconds(call: Any, repeat: int = 9) -> float:
        times = []
        for _ in range(repeat):
            begin = time.perf_counter()
            call()
            times.append(time.perf_counter() - begin)
        return sorted(times)[repeat // 2]

    copy = seconds(lambda: np.copyto(target, source))
    cold = seconds(lambda: ray.put(source), 1)
    ray.put(source)
    put = seconds(lambda: ray.put(source))
    ref = ray.put(source)
    ray.get(ref)
    begin = time.perf_counter()
    for _ in range(10_000):
        ray.get(ref)
    get = (time.perf_counter() - begin) / 10_000
    print(
        f"copy {size / copy / 1e9:.1f} GB/s, warm put {size / put / 1e9:.1f} GB/s, "
        f"cold put {size / cold / 1e9:.2f} GB/s, get {get * 1e6:.1f} us"
    )
    assert put < copy / 0.8
    assert get < 15e-6
