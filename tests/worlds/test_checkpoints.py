"""Actors that save their state: after a crash, every acknowledged call counts exactly once, in its caller's order."""

from __future__ import annotations

import os
import random
import time
from typing import Any

import pytest

import thornback as ray
from tests.worlds.conftest import World
from tests.worlds.test_recovery import AWAY, cluster, on, start
from thornback.exceptions import ActorDiedError, ObjectLostError
from thornback.faults.generate import random_plan


def ledger_class(replayed: bool = True) -> Any:
    class Ledger:
        def __init__(self, owner: str = "nobody") -> None:
            self.owner = owner
            self.entries: dict[str, list[int]] = {}
            self.runs = 0

        def save_checkpoint(self) -> Any:
            return self.entries

        def restore_checkpoint(self, state: Any) -> None:
            self.entries = state

        @ray.method(replay=replayed)
        def add(self, caller: str, entry: int) -> int:
            self.runs += 1
            self.entries.setdefault(caller, []).append(entry)
            return len(self.entries[caller])

        def fail(self, caller: str, entry: int) -> None:
            self.entries.setdefault(caller, []).append(entry)
            raise ValueError(f"refused {entry}")

        @ray.method(replay=False)
        def read(self) -> dict[str, list[int]]:
            return self.entries

        @ray.method(replay=False)
        def runs_here(self) -> int:
            return self.runs

        @ray.method(replay=False, max_task_retries=0)
        def die(self) -> None:
            os._exit(1)

        @ray.method(replay=False)
        def where(self) -> tuple[str, int]:
            return ray.get_runtime_context().get_node_id(), os.getpid()

    return ray.remote(max_restarts=-1, max_task_retries=-1, num_cpus=0)(Ledger)


def crash(ledger: Any) -> None:
    with pytest.raises(ray.exceptions.ActorError):
        ray.get(ledger.die.remote())


@pytest.mark.parametrize("every", [1, 3, 4, 100])
def test_the_state_after_a_crash_has_every_acknowledged_call_once(world: World, every: int) -> None:
    ledger = ledger_class().options(checkpoint_every=every).remote()
    for entry in range(10):
        assert ray.get(ledger.add.remote("program", entry)) == entry + 1
    crash(ledger)
    assert ray.get(ledger.add.remote("program", 10)) == 11
    assert ray.get(ledger.read.remote()) == {"program": list(range(11))}


def test_only_calls_since_the_checkpoint_are_replayed(world: World) -> None:
    ledger = ledger_class().options(checkpoint_every=4).remote()
    ray.get([ledger.add.remote("program", entry) for entry in range(10)])
    time.sleep(0.5)
    crash(ledger)
    assert ray.get(ledger.read.remote()) == {"program": list(range(10))}
    assert ray.get(ledger.runs_here.remote()) == 2, "eight of ten calls are in the second checkpoint"


def test_crashes_one_after_the_other_lose_nothing(world: World) -> None:
    ledger = ledger_class().options(checkpoint_every=3).remote()
    for entry in range(12):
        ray.get(ledger.add.remote("program", entry))
        if entry % 4 == 3:
            crash(ledger)
    assert ray.get(ledger.read.remote()) == {"program": list(range(12))}


def test_calls_of_a_process_that_forgets_the_actor_in_between_count_too(world: World) -> None:
    ledger = ledger_class().options(checkpoint_every=3).remote()

    @ray.remote
    def deposit(handles: list[Any], entries: list[int]) -> int:
        caller = str(os.getpid())
        return [ray.get(handles[0].add.remote(caller, entry)) for entry in entries][-1]

    for first in range(0, 30, 6):
        ray.get(deposit.remote([ledger], list(range(first, first + 6))))
        time.sleep(0.1)
    crash(ledger)
    ray.get(deposit.remote([ledger], [30, 31]))
    entries = ray.get(ledger.read.remote())
    assert sorted(entry for each in entries.values() for entry in each) == list(range(32))


def test_a_call_that_raised_counts_too(world: World) -> None:
    ledger = ledger_class().options(checkpoint_every=100).remote()
    ray.get(ledger.add.remote("program", 0))
    with pytest.raises(ValueError, match="refused 1"):
        ray.get(ledger.fail.remote("program", 1))
    crash(ledger)
    assert ray.get(ledger.read.remote()) == {"program": [0, 1]}


def test_a_method_that_opted_out_is_not_replayed(world: World) -> None:
    ledger = ledger_class(replayed=False).options(checkpoint_every=100).remote()
    ray.get([ledger.add.remote("program", entry) for entry in range(5)])
    crash(ledger)
    assert ray.get(ledger.read.remote()) == {}


def test_arguments_of_replayed_calls_are_kept_for_them(world: World) -> None:
    import numpy

    class Sum:
        def __init__(self) -> None:
            self.total = 0

        def save_checkpoint(self) -> int:
            return self.total

        def restore_checkpoint(self, total: int) -> None:
            self.total = total

        def add(self, values: Any) -> int:
            self.total += int(values.sum())
            return self.total

        @ray.method(replay=False, max_task_retries=0)
        def die(self) -> None:
            os._exit(1)

    adder = ray.remote(max_restarts=-1, checkpoint_every=100)(Sum).remote()
    for _ in range(3):
        ray.get(adder.add.remote(ray.put(numpy.ones(100_000, dtype=int))))
    crash(adder)

    def after() -> int:
        try:
            return int(ray.get(adder.add.remote(numpy.ones(1, dtype=int))))
        except ray.exceptions.ActorUnavailableError:
            return 0

    assert world.eventually(after, "the actor should come back") == 300_001


def test_a_checkpoint_that_cannot_be_saved_ends_the_actor_with_the_reason(world: World) -> None:
    class Broken:
        def save_checkpoint(self) -> Any:
            raise OSError("no ink")

        def restore_checkpoint(self, state: Any) -> None:
            pass

        def work(self) -> int:
            return 1

    broken = ray.remote(max_restarts=-1, checkpoint_every=1)(Broken).remote()

    def failure() -> str:
        try:
            ray.get(broken.work.remote())
        except ActorDiedError as error:
            return str(error)
        return ""

    text = world.eventually(failure, "the actor should end")
    assert "its checkpoint could not be saved" in text and "no ink" in text


@pytest.mark.cluster(init={"_system_config": {"checkpoint_limit": 10_000}})
@pytest.mark.parametrize(
    ("state", "why"),
    [
        (lambda: bytes(20_000), "more than checkpoint_limit, which is 10,000"),
        (lambda: [ray.put(1)], "cannot contain object references"),
    ],
)
def test_states_that_cannot_be_kept_are_named(world: World, state: Any, why: str) -> None:
    class Odd:
        def save_checkpoint(self) -> Any:
            return state()

        def restore_checkpoint(self, state: Any) -> None:
            pass

        def work(self) -> int:
            return 1

    odd = ray.remote(max_restarts=-1, checkpoint_every=1)(Odd).remote()

    def failure() -> str:
        try:
            ray.get(odd.work.remote())
        except ActorDiedError as error:
            return str(error)
        return ""

    assert why in world.eventually(failure, "the actor should end")


def test_classes_that_cannot_have_checkpoints_are_refused(world: World) -> None:
    class Bare:
        def work(self) -> None:
            pass

    class Hooks(Bare):
        def save_checkpoint(self) -> Any:
            pass

        def restore_checkpoint(self, state: Any) -> None:
            pass

    class Retrying(Hooks):
        @ray.method(retry_exceptions=True)
        def risky(self) -> None:
            pass

    class Streaming(Hooks):
        def items(self) -> Any:
            yield 1

    restarted = {"max_restarts": -1, "checkpoint_every": 2}
    for cls, options, why in (
        (Bare, restarted, "no method save_checkpoint"),
        (Hooks, {"checkpoint_every": 2}, "never restarted: give it max_restarts"),
        (Hooks, {**restarted, "max_concurrency": 2}, "one call at a time"),
        (Hooks, {**restarted, "allow_out_of_order_execution": True}, "allow_out_of_order_execution"),
        (Retrying, restarted, "'risky'.*cannot have retry_exceptions"),
        (Streaming, restarted, "'items'.*is a generator"),
    ):
        with pytest.raises(ValueError, match=why):
            ray.remote(cls).options(**options).remote()
    with pytest.raises(ValueError, match=r"checkpoint_every.*a number of calls >= 1"):
        ray.remote(checkpoint_every=-1, max_restarts=1)(Hooks)


# --- Simulated faults


def caller_class() -> Any:
    class Caller:
        """Makes calls one after the other or many at once, and remembers which were acknowledged."""

        def __init__(self, name: str, ledger: Any) -> None:
            self.name = name
            self.ledger = ledger

        def run(self, first: int, count: int) -> list[int]:
            refs = [(entry, self.ledger.add.remote(self.name, entry)) for entry in range(first, first + count)]
            acknowledged = []
            for entry, ref in refs:
                try:
                    ray.get(ref)
                    acknowledged.append(entry)
                except ray.exceptions.ActorError:
                    pass
                except ObjectLostError:
                    acknowledged.append(entry)
            return acknowledged

    return ray.remote(num_cpus=0)(Caller)


def check_ledger_under_storm(seed: int, retries: int) -> None:
    """Several callers on the program's node, which survives, and an actor that is killed again and again."""
    rng = random.Random(seed)
    kinds = ["crash_node", "pause_node", "cut", "loss", "duplicate", "reorder", "delay", "reset"]
    plan = random_plan(rng.randrange(1 << 30), 4, duration=60.0, faults=8, kinds=kinds)
    with cluster(seed, nodes=4, faults=plan) as world:
        start(4)
        here = ray.get_runtime_context().get_node_id()
        every = rng.choice([1, 2, 5, 20])
        ledger = ledger_class().options(checkpoint_every=every, max_task_retries=retries, **AWAY).remote()
        make = caller_class().options(scheduling_strategy=on(here))
        callers = {f"caller {index}": make.remote(f"caller {index}", ledger) for index in range(3)}
        acknowledged: dict[str, list[int]] = {name: [] for name in callers}
        for round_ in range(6):
            count = rng.randrange(1, 12)
            results = {name: caller.run.remote(100 * round_, count) for name, caller in callers.items()}
            if rng.random() < 0.7:
                time.sleep(rng.random() * rng.choice([0.001, 0.01, 0.1, 5]))
                running = [
                    process
                    for node in world.nodes[1:]
                    for process in node.workers.values()
                    if process is not None and not process.ended and process.core.executor.actor.spec is not None
                ]
                for process in running:
                    world.end_process(process, "killed (SIGKILL)")
            for name, ref in results.items():
                acknowledged[name] += ray.get(ref)
            time.sleep(rng.random() * 12)
        time.sleep(90)
        state = ray.get(ledger.read.options(max_task_retries=-1).remote())
        for name, entries in acknowledged.items():
            found = state.get(name, [])
            assert found == sorted(set(found)), f"{name}'s calls ran twice or out of order: {found}; {plan}"
            missing = set(entries) - set(found)
            assert not missing, f"acknowledged calls of {name} are lost: {sorted(missing)} of {entries}; {plan}"
            if retries:
                assert found == entries, f"{name} was told that calls failed which were to be retried"


@pytest.mark.parametrize("seed", [*range(10), 11, 114])
def test_acknowledged_calls_count_once_under_a_storm(seed: int) -> None:
    check_ledger_under_storm(seed, retries=-1 if seed % 2 else 0)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_acknowledged_calls_count_once_under_hundreds_of_storms() -> None:
    for seed in range(100, 500):
        check_ledger_under_storm(seed, retries=-1 if seed % 2 else 0)


def test_a_caller_that_dies_takes_no_acknowledged_call_with_it() -> None:
    """What it kept for replay ends with it, so the actor saves its state when it hears of that."""
    with cluster(3):
        start()
        ledger = ledger_class().options(checkpoint_every=1000).remote()
        caller = caller_class().remote("gone", ledger)
        assert len(ray.get(caller.run.remote(0, 7))) == 7
        ray.kill(caller)
        time.sleep(2)
        crash(ledger)
        assert ray.get(ledger.read.remote()) == {"gone": list(range(7))}
