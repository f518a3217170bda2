"""Asyncio actors: many calls on one event loop."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

import thornback as ray
from thornback.exceptions import ActorDiedError


def test_calls_of_an_async_actor_run_at_the_same_time(world: Any) -> None:
    @ray.remote
    class Meeting:
        def __init__(self, size: int) -> None:
            self.missing = size
            self.complete = asyncio.Event()

        async def join(self) -> int:
            self.missing -= 1
            if self.missing == 0:
                self.complete.set()
            await self.complete.wait()
            return self.missing

    meeting = Meeting.remote(50)
    assert ray.get([meeting.join.remote() for _ in range(50)]) == [0] * 50, "all fifty wait for the last one"


def test_max_concurrency_limits_the_calls_of_an_async_actor(world: Any) -> None:
    @ray.remote(max_concurrency=3)
    class Gauge:
        def __init__(self) -> None:
            self.now = self.most = 0

        async def work(self) -> None:
            self.now += 1
            self.most = max(self.most, self.now)
            await asyncio.sleep(0.01)
            self.now -= 1

        async def peak(self) -> int:
            return self.most

    gauge = Gauge.remote()
    ray.get([gauge.work.remote() for _ in range(20)])
    assert ray.get(gauge.peak.remote()) == 3


def test_references_can_be_awaited_in_an_async_actor(world: Any) -> None:
    @ray.remote
    def square(x: int) -> int:
        return x * x

    @ray.remote
    class Sum:
        async def of(self, n: int) -> int:
            return sum(await asyncio.gather(*[square.remote(x) for x in range(n)]))

        async def first(self, refs: list[Any]) -> int:
            return int(await refs[0])

    total = Sum.remote()
    assert ray.get(total.of.remote(10)) == 285
    assert ray.get(total.first.remote([square.remote(7)])) == 49


def test_an_awaited_error_is_an_instance_of_its_cause(world: Any) -> None:
    @ray.remote
    def fail() -> None:
        raise KeyError("awaited")

    @ray.remote
    class Careful:
        async def work(self) -> str:
            try:
                await fail.remote()
            except KeyError as error:
                return str("awaited" in str(error))
            return "no error"

    assert ray.get(Careful.remote().work.remote()) == "True"


def test_errors_of_async_methods_come_back(world: Any) -> None:
    @ray.remote
    class Faulty:
        async def work(self) -> None:
            await asyncio.sleep(0)
            raise ValueError("async and bad")

        async def fine(self) -> int:
            return 1

    faulty = Faulty.remote()
    with pytest.raises(ValueError, match="async and bad") as caught:
        ray.get(faulty.work.remote())
    assert "in work" in str(caught.value)
    assert ray.get(faulty.fine.remote()) == 1


def test_plain_methods_of_an_async_actor_run_between_the_others(world: Any) -> None:
    @ray.remote
    class Mixed:
        def __init__(self) -> None:
            self.event = asyncio.Event()
            self.value = 0

        async def wait(self) -> int:
            await self.event.wait()
            return self.value

        def set(self, value: int) -> None:
            self.value = value
            self.event.set()

    mixed = Mixed.remote()
    waiting = mixed.wait.remote()
    ray.get(mixed.set.remote(5))
    assert ray.get(waiting) == 5


def test_the_program_can_await_references(world: Any) -> None:
    @ray.remote
    def square(x: int) -> int:
        return x * x

    async def main() -> list[int]:
        first = await square.remote(3)
        return [first, *await asyncio.gather(*[square.remote(x) for x in range(4)])]

    assert asyncio.run(main()) == [9, 0, 1, 4, 9]


def test_waiting_for_references_respects_asyncio_timeouts(world: Any) -> None:
    gate = world.signal()

    @ray.remote
    class Patient:
        async def wait(self) -> str:
            try:
                await asyncio.wait_for(gate.wait.remote(), 0.05)
            except TimeoutError:
                return "gave up"
            return "came"

    assert ray.get(Patient.remote().wait.remote()) == "gave up"
    gate.send.remote()


def test_an_async_sleep_takes_its_time(world: Any) -> None:
    @ray.remote
    class Sleeper:
        async def sleep(self, seconds: float) -> float:
            start = time.monotonic()
            await asyncio.sleep(seconds)
            return time.monotonic() - start

    sleeper = Sleeper.remote()
    times = ray.get([sleeper.sleep.remote(0.2) for _ in range(10)])
    assert all(0.19 <= each < 1 for each in times), times


def test_an_async_call_can_be_cancelled(world: Any) -> None:
    gate = world.signal()

    @ray.remote
    class Worker:
        def __init__(self) -> None:
            self.cancelled = 0

        async def wait(self) -> None:
            try:
                await gate.wait.remote()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise

        async def count(self) -> int:
            return self.cancelled

    worker = Worker.remote()
    ref = worker.wait.remote()
    world.eventually(lambda: ray.get(gate.count.remote()) == 1, "the call is running")
    ray.cancel(ref)
    with pytest.raises(ray.exceptions.TaskCancelledError):
        ray.get(ref)
    assert ray.get(worker.count.remote()) == 1


def test_exit_actor_ends_an_async_actor(world: Any) -> None:
    @ray.remote
    class Worker:
        async def leave(self) -> None:
            ray.actor.exit_actor()

    worker = Worker.remote()
    with pytest.raises(ActorDiedError):
        ray.get(worker.leave.remote())
    with pytest.raises(ActorDiedError):
        ray.get(worker.leave.remote())


def test_async_actors_can_call_each_other_in_a_circle(world: Any) -> None:
    @ray.remote
    class Player:
        def meet(self, other: Any) -> None:
            self.other = other

        async def play(self, balls: int) -> int:
            return 0 if balls == 0 else 1 + await self.other.play.remote(balls - 1)

    first, second = Player.remote(), Player.remote()
    ray.get([first.meet.remote(second), second.meet.remote(first)])
    assert ray.get(first.play.remote(21)) == 21


def test_context_variables_do_not_leak_between_calls(world: Any) -> None:
    @ray.remote
    class Worker:
        async def task(self) -> str:
            before = ray.get_runtime_context().get_task_id()
            await asyncio.sleep(0.01)
            assert ray.get_runtime_context().get_task_id() == before
            return str(before)

    worker = Worker.remote()
    assert len(set(ray.get([worker.task.remote() for _ in range(20)]))) == 20


def test_an_async_actor_serves_as_an_owner_while_a_method_blocks_its_loop(world: Any) -> None:
    @ray.remote(num_cpus=0)
    class Gate:
        def __init__(self) -> None:
            self.is_open = False

        def open(self) -> None:
            self.is_open = True

        def state(self) -> bool:
            return self.is_open

    @ray.remote(num_cpus=0)
    class Holder:
        async def make(self) -> list[Any]:
            return [ray.put("kept by the actor")]

        async def block(self, gate: Any) -> None:
            while not ray.get(gate.state.remote()):
                pass

    gate, holder = Gate.remote(), Holder.remote()
    [kept] = ray.get(holder.make.remote())
    blocked = holder.block.remote(gate)
    assert ray.get(kept, timeout=30) == "kept by the actor", "the owner answers although its loop is blocked"
    ray.get(gate.open.remote())
    ray.get(blocked, timeout=30)


def test_timers_and_threads_wake_an_async_actor_that_waits(world: Any) -> None:
    @ray.remote
    class Sleeper:
        async def nap(self, seconds: float) -> float:
            begin = time.monotonic()
            await asyncio.sleep(seconds)
            return time.monotonic() - begin

    sleeper = Sleeper.remote()
    naps = ray.get([sleeper.nap.remote(0.02 * (index + 1)) for index in range(5)])
    assert all(nap >= 0.02 * (index + 1) * 0.99 for index, nap in enumerate(naps)), naps


@pytest.mark.only("real")
def test_sockets_and_other_threads_wake_a_real_async_actor(world: Any) -> None:
    @ray.remote
    class Service:
        async def through_a_thread(self) -> int:
            return await asyncio.get_running_loop().run_in_executor(None, lambda: 6 * 7)

        async def through_a_socket(self) -> bytes:
            server = await asyncio.start_server(self.answer, "127.0.0.1", 0)
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
            writer.write(b"ping\n")
            line = await reader.readline()
            writer.close()
            server.close()
            return line

        async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readline() + b"pong\n")
            writer.close()

    service = Service.remote()
    assert ray.get(service.through_a_thread.remote(), timeout=30) == 42
    assert ray.get(service.through_a_socket.remote(), timeout=30) == b"ping\n"
