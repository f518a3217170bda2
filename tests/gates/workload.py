"""A program for the determinism gate: crashes, loss and actors of all kinds on a simulated cluster.

Run as a script, it prints the hash of its trace and its result as JSON: ``workload.py SEED TRACE_FILE``.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import thornback as ray

NODES = 5


def program(world: Any) -> Any:
    """Results do not depend on the seed; the way to them does."""
    ray.init()

    @ray.remote
    def square(x: int) -> int:
        time.sleep(random.random() / 20)
        return x * x

    @ray.remote
    def tree(low: int, high: int) -> int:
        if high - low <= 2:
            return sum(ray.get([square.remote(x) for x in range(low, high)]))
        middle = (low + high) // 2
        return sum(ray.get([tree.remote(low, middle), tree.remote(middle, high)]))

    @ray.remote(max_retries=-1)
    def large(x: int) -> bytes:
        time.sleep(0.01)
        return bytes([x]) * 200_000

    @ray.remote(max_retries=-1)
    def length(parts: set[str], data: bytes) -> int:
        return len(data) + len(sorted(parts))

    @ray.remote(max_retries=-1)
    def count(n: int) -> Iterator[int]:
        for x in range(n):
            time.sleep(0.002)
            yield x

    @ray.remote(max_restarts=-1, max_task_retries=-1)
    class Plain:
        def add(self, x: int) -> int:
            time.sleep(0.001)
            return x + 1

    @ray.remote(max_restarts=-1, max_task_retries=-1)
    class Async:
        async def add(self, x: int) -> int:
            await asyncio.sleep(random.random() / 100)
            return x + int(await square.remote(x))

        async def items(self, n: int) -> AsyncIterator[int]:
            for x in range(n):
                await asyncio.sleep(0.001)
                yield x

    @ray.remote(max_restarts=-1, max_task_retries=-1, max_concurrency=3, concurrency_groups={"io": 2})
    class Threaded:
        def add(self, x: int) -> int:
            time.sleep(0.005)
            return x + 2

        @ray.method(concurrency_group="io")
        def wait(self, refs: list[Any]) -> int:
            return int(ray.get(refs[0]))

    plain, coroutines, threaded = Plain.remote(), Async.remote(), Threaded.options(name="threads").remote()
    world.run_for(0.3)
    refs = [tree.remote(0, 24)]
    refs += [length.remote({"a", "b", "c"}, large.remote(x)) for x in range(8)]
    refs += [plain.add.remote(x) for x in range(10)]
    refs += [coroutines.add.remote(x) for x in range(10)]
    refs += [ray.get_actor("threads").add.remote(x) for x in range(10)]
    refs += [threaded.wait.remote([refs[0]])]
    stream, items = count.remote(10), coroutines.items.remote(5)
    world.run_for(0.02)
    for node in range(NODES):
        world.kill_worker(node)
    world.run_for(0.05)
    world.kill_node(NODES - 1, reboot_after=1.0)
    results = ray.get(refs)
    results.append(ray.get(list(stream)))
    results.append(len(list(items)))
    ray.shutdown()
    return results


def run(seed: int, trace: str | None = None) -> tuple[str, Any]:
    """The hash of the trace, and what the program computed."""
    with ray.simulate(nodes=NODES, cpus=2, seed=seed, trace=trace, lossy=True, time_limit=600) as world:
        from thornback.simulator.conditions import Rule

        world.network.conditions.add(Rule(loss=0.05, duplicate=0.02, reorder=0.05, window=1_000_000))
        results = program(world)
        return world.trace_hash, results


if __name__ == "__main__":
    digest, results = run(int(sys.argv[1]), sys.argv[2])
    print(json.dumps([digest, results]))
