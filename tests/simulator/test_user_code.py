"""What user code senses in a simulation: virtual time, seeded random numbers, and clear refusals."""

from __future__ import annotations

import asyncio
import datetime
import os
import queue
import random
import secrets
import socket
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import numpy as np
import pytest

import thornback as ray
from thornback.simulator import compute, simulate
from thornback.simulator.virtual_os import NotSimulatedError


def numbers() -> list[Any]:
    return [
        random.random(),
        random.Random().random(),
        random.SystemRandom().random(),
        np.random.rand(),
        np.random.default_rng().random(),
        np.random.RandomState().rand(),
        uuid.uuid4(),
        uuid.uuid1(),
        os.urandom(8),
        secrets.token_hex(4),
        time.time(),
    ]


def world_of_numbers(seed: int) -> tuple[list[Any], list[Any]]:
    with simulate(nodes=2, cpus=1, seed=seed):
        ray.init()
        remote = ray.get(ray.remote(numbers).remote())
        found = numbers()
        ray.shutdown()
    return remote, found


def test_random_numbers_are_seeded_and_differ_between_processes() -> None:
    first, again, other = world_of_numbers(1), world_of_numbers(1), world_of_numbers(2)
    assert first == again
    for one, two in ((first[0], first[1]), (first[0], other[0])):
        assert all(left != right for left, right in zip(one[:-1], two[:-1], strict=True))


def test_seeding_by_the_program_works() -> None:
    with simulate(nodes=1, cpus=1):
        random.seed(5)
        np.random.seed(5)
        found = [random.random(), np.random.rand(), random.Random(5).random()]
    assert found == [random.Random(5).random(), np.random.RandomState(5).rand(), random.Random(5).random()]


def test_everything_is_as_before_afterwards() -> None:
    names = [(time, "sleep"), (time, "time"), (random, "random"), (os, "getpid"), (threading, "Lock")]
    names += [(np.random, "rand"), (datetime, "datetime"), (socket.socket, "__init__"), (random.Random, "seed")]
    before = [getattr(owner, name) for owner, name in names]
    with simulate(nodes=1), pytest.raises(RuntimeError, match="nested"):
        simulate(nodes=1).__enter__()
    assert [getattr(owner, name) for owner, name in names] == before
    assert os.getpid() > 0


def test_sleep_takes_virtual_time_only() -> None:
    begin = perf_counter()
    with simulate(nodes=1) as world:
        now, moment = time.time(), datetime.datetime.now()
        time.sleep(100)
        sleep(100)
        assert 200 <= time.time() - now < 200.1
        assert 200 <= (datetime.datetime.now() - moment).total_seconds() < 200.1
        assert 200 <= world.now < 200.1
        assert isinstance(datetime.datetime.now(), datetime.datetime)
    assert perf_counter() - begin < 10


def test_compute_takes_longer_on_a_slow_node() -> None:
    with simulate(nodes=1) as world:
        world.nodes[0].slowness = 3.0
        begin = world.now
        compute(2.0)
        assert 6 <= world.now - begin < 6.1


def test_loops_that_wait_for_time_to_pass_end() -> None:
    with simulate(nodes=1, cpus=1) as world:
        begin = time.perf_counter()
        while time.perf_counter() - begin < 0.05:
            pass
        assert world.now >= 0.05

        async def spin() -> None:
            end = asyncio.get_running_loop().time() + 0.05
            while asyncio.get_running_loop().time() < end:  # noqa: ASYNC110 - polling is the point
                await asyncio.sleep(0)

        asyncio.run(spin())
        assert world.now >= 0.1


def test_asking_again_and_again_without_waiting_lets_time_pass() -> None:
    with simulate(nodes=1, cpus=1):
        ray.init()

        @ray.remote
        def slow() -> int:
            time.sleep(0.1)
            return 1

        ref = slow.remote()
        asked = 0
        while not ray.wait([ref], timeout=0)[0]:
            asked += 1
        assert asked > 10
        ray.shutdown()


def test_asyncio_programs_run_on_virtual_time() -> None:
    with simulate(nodes=2, cpus=2) as world:
        ray.init()

        @ray.remote
        def double(x: int) -> int:
            time.sleep(10)
            return 2 * x

        async def main() -> list[int]:
            await asyncio.sleep(5)
            assert await asyncio.to_thread(lambda: (time.sleep(1), 7)[1]) == 7
            return list(await asyncio.gather(*(double.remote(x) for x in range(4))))

        assert asyncio.run(main()) == [0, 2, 4, 6]
        assert 16 <= world.now < 17
        ray.shutdown()


REFUSED = {
    "Thread": lambda: threading.Thread(target=print).start(),
    "subprocess": lambda: subprocess.run(["true"], check=False),
    "fork": lambda: os.fork(),
    "system": lambda: os.system("true"),
    "socket": socket.socket,
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_simulated_is_refused(what: str) -> None:
    with simulate(nodes=1), pytest.raises(NotSimulatedError, match=what):
        REFUSED[what]()


def test_a_program_that_imports_a_thread_pool_is_told_that_there_are_no_threads(tmp_path: Path) -> None:
    program = tmp_path / "pool.py"
    program.write_text(
        "import thornback.simulator\n"
        "with thornback.simulator.simulate(nodes=1):\n"
        "    from concurrent.futures import ThreadPoolExecutor\n"
        "    ThreadPoolExecutor().submit(print)\n"
    )
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, check=False)
    assert "NotSimulatedError: threading.Thread: simulated programs run in one thread" in done.stderr


def test_locks_of_a_threaded_actor_let_others_go_on() -> None:
    with simulate(nodes=1, cpus=1):
        ray.init()

        @ray.remote(max_concurrency=3)
        class Shared:
            def __init__(self) -> None:
                self.lock, self.event, self.queue = threading.Lock(), threading.Event(), queue.Queue()
                self.inside = self.most = 0

            def work(self) -> None:
                with self.lock:
                    self.inside += 1
                    self.most = max(self.most, self.inside)
                    time.sleep(1)
                    self.inside -= 1

            def take(self) -> Any:
                assert self.event.wait(timeout=5)
                return self.queue.get(timeout=5)

            def give(self, value: Any) -> None:
                self.event.set()
                time.sleep(1)
                self.queue.put(value)

            def highest(self) -> int:
                return self.most

            def late(self) -> bool:
                return self.lock.acquire(timeout=0.5)

        actor = Shared.remote()
        ray.get([actor.work.remote() for _ in range(3)])
        assert ray.get(actor.highest.remote()) == 1
        assert ray.get([actor.take.remote(), actor.give.remote(3)])[0] == 3
        working = actor.work.remote()
        assert ray.get(actor.late.remote()) is False
        ray.get(working)
        assert ray.get(actor.late.remote()) is True
        ray.shutdown()


def test_processes_have_their_own_pid_and_host() -> None:
    with simulate(nodes=3, cpus=1):
        ray.init()

        @ray.remote
        def where() -> tuple[int, str]:
            time.sleep(1)
            return os.getpid(), socket.gethostname()

        found = ray.get([where.remote() for _ in range(3)])
        assert len(set(found)) == 3
        assert {host for _, host in found} == {"node-0", "node-1", "node-2"}
        assert os.getpid() not in {pid for pid, _ in found}
        ray.shutdown()


def test_workers_print_with_a_prefix(capsys: pytest.CaptureFixture[str]) -> None:
    with simulate(nodes=1, cpus=1):
        ray.init()

        @ray.remote
        def speak() -> None:
            print("one")
            print("two", end="")
            print(" three")

        ray.get(speak.remote())
        print("program")
        ray.shutdown()
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "program"
    assert [line.partition(") ")[2] for line in lines[:2]] == ["one", "two three"]
    assert lines[0].startswith("(") and "speak pid=" in lines[0] and "node=node-0)" in lines[0]


@ray.remote
class First:
    def name(self) -> str:
        return "first"


@ray.remote
class Second:
    def name(self) -> str:
        return "second"


def test_a_class_of_an_earlier_simulation_with_the_same_seed_does_not_come_back() -> None:
    for actor_class in (First, Second, First, Second):
        with simulate(nodes=1):
            ray.init()
            assert ray.get(actor_class.remote().name.remote()) == actor_class.__name__.lower()
            ray.shutdown()


def test_classes_known_from_an_earlier_simulation_are_not_mistaken_for_new_ones() -> None:
    for classes in ((First,), (First, Second), (Second, First)):
        with simulate(nodes=1):
            ray.init()
            actors = [actor_class.remote() for actor_class in classes]
            for _ in range(2):
                names = ray.get([actor.name.remote() for actor in actors])
                assert names == [actor_class.__name__.lower() for actor_class in classes]
            ray.shutdown()
