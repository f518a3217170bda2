# mypy: disable-error-code="untyped-decorator"
"""Rows about actors: Ray's own, by its names and with its workloads."""

from __future__ import annotations

import os
from typing import Any

from peers_support.bench import Bench
from peers_support.rows import row

THREADED = "actors"
ASYNCIO = "asyncio actors"


def servers_per_side() -> int:
    """Half of the CPUs, as in Ray's benchmark."""
    return max(1, (os.cpu_count() or 1) // 2)


def server_class(ray: Any) -> Any:
    """An actor that answers."""

    @ray.remote(num_cpus=0)
    class Server:
        def answer(self) -> bytes:
            return b"ok"

        def answer_to(self, _argument: object) -> bytes:
            return b"ok"

    return Server


def asyncio_server_class(ray: Any) -> Any:
    """The same, with coroutines."""

    @ray.remote
    class AsyncioServer:
        async def answer(self) -> bytes:
            return b"ok"

        async def answer_to(self, _argument: object) -> bytes:
            return b"ok"

    return AsyncioServer


def caller_class(ray: Any) -> Any:
    """An actor that calls others."""

    @ray.remote(num_cpus=0)
    class Caller:
        def __init__(self, servers: list[Any]) -> None:
            self.servers = servers

        def call(self, count: int) -> None:
            ray.get([server.answer.remote() for server in self.servers for _ in range(count)])

        def call_with_reference(self, count: int) -> None:
            stored = ray.put(0)
            ray.get([server.answer_to.remote(stored) for server in self.servers for _ in range(count)])

    return Caller


def _sync(bench: Bench, server: Any) -> float:
    ray = bench.ray
    return bench.rate(lambda: ray.get(server.answer.remote()))


def _batches(bench: Bench, server: Any) -> float:
    ray = bench.ray
    return bench.rate(lambda: ray.get([server.answer.remote() for _ in range(1000)]), 1000)


def _from_actor(bench: Bench, server_type: Any) -> float:
    ray = bench.ray
    count = bench.size(5000, 300)
    servers = [server_type.remote() for _ in range(servers_per_side())]
    caller = caller_class(ray).remote(servers)
    return bench.rate(lambda: ray.get(caller.call.remote(count)), count * len(servers))


def _from_tasks(bench: Bench, server_type: Any) -> float:
    ray = bench.ray
    count = bench.size(5000, 300)
    servers = [server_type.remote() for _ in range(servers_per_side())]

    @ray.remote
    def work(servers: list[Any]) -> None:
        ray.get([servers[index % len(servers)].answer.remote() for index in range(count)])

    return bench.rate(lambda: ray.get([work.remote(servers) for _ in range(4)]), 4 * count)


# --- Methods in threads ---------------------------------------------------------------------------------------------


@row("1:1 actor calls sync", THREADED)
def sync(bench: Bench) -> float:
    """One call, and its result, after the other."""
    return _sync(bench, server_class(bench.ray).remote())


@row("1:1 actor calls async", THREADED)
def batches(bench: Bench) -> float:
    """A thousand calls, then their results."""
    return _batches(bench, server_class(bench.ray).remote())


@row("1:1 actor calls concurrent", THREADED)
def concurrent(bench: Bench) -> float:
    """The same to an actor with 16 threads."""
    return _batches(bench, server_class(bench.ray).options(max_concurrency=16).remote())


@row("1:n actor calls async", THREADED)
def one_to_many(bench: Bench) -> float:
    """An actor calls others 5,000 times each (300 in a quick run)."""
    return _from_actor(bench, server_class(bench.ray))


@row("n:n actor calls async", THREADED)
def many_to_many(bench: Bench) -> float:
    """Four tasks call actors 5,000 times each (300 in a quick run)."""
    return _from_tasks(bench, server_class(bench.ray))


@row("n:n actor calls with arg async", THREADED)
def many_to_many_with_reference(bench: Bench) -> float:
    """Actors call one actor each, a thousand times, with a stored object as the argument."""
    ray = bench.ray
    count = 1000
    server_type, caller_type = server_class(ray), caller_class(ray)
    callers = [caller_type.remote([server_type.remote()]) for _ in range(servers_per_side())]
    work = [caller.call_with_reference for caller in callers]
    return bench.rate(lambda: ray.get([each.remote(count) for each in work]), count * len(callers))


# --- Methods that are coroutines ------------------------------------------------------------------------------------


@row("1:1 async-actor calls sync", ASYNCIO)
def asyncio_sync(bench: Bench) -> float:
    """One call, and its result, after the other."""
    return _sync(bench, asyncio_server_class(bench.ray).remote())


@row("1:1 async-actor calls async", ASYNCIO)
def asyncio_batches(bench: Bench) -> float:
    """A thousand calls, then their results."""
    return _batches(bench, asyncio_server_class(bench.ray).remote())


@row("1:1 async-actor calls with args async", ASYNCIO)
def asyncio_with_arguments(bench: Bench) -> float:
    """The same with a number as the argument."""
    ray = bench.ray
    server = asyncio_server_class(ray).remote()
    return bench.rate(lambda: ray.get([server.answer_to.remote(number) for number in range(1000)]), 1000)


@row("1:n async-actor calls async", ASYNCIO)
def asyncio_one_to_many(bench: Bench) -> float:
    """An actor calls others 5,000 times each (300 in a quick run)."""
    return _from_actor(bench, asyncio_server_class(bench.ray))


@row("n:n async-actor calls async", ASYNCIO)
def asyncio_many_to_many(bench: Bench) -> float:
    """Four tasks call actors 5,000 times each (300 in a quick run)."""
    return _from_tasks(bench, asyncio_server_class(bench.ray))
