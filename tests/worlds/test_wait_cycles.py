"""Tasks and actors that wait for each other for ever are reported to the driver, once, with the lines that wait."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

import thornback as ray
from thornback.util import placement_group, remove_placement_group, why_pending
from thornback.util.scheduling_strategies import PlacementGroupSchedulingStrategy as InGroup

CHECK = {"_system_config": {"wait_check": 300_000_000}}
QUIET = 4.0
"""Seconds in which a report would have come several times."""
pytestmark = [pytest.mark.cluster(cpus=2, init=CHECK)]

HERE = r"\S*test_wait_cycles\.py:\d+"


@pytest.fixture
def reports(caplog: pytest.LogCaptureFixture) -> Iterator[Any]:
    """The reports of cycles so far."""
    caplog.set_level(logging.WARNING, "thornback")
    yield lambda: [record.getMessage() for record in caplog.records if "wait for each other" in record.getMessage()]


class Caller:
    """An actor that calls another one and waits for it."""

    def __init__(self) -> None:
        self.other: Any = None

    def meet(self, other: Any) -> None:
        self.other = other

    def call(self, depth: int) -> int:
        return 0 if depth == 0 else ray.get(self.other.call.remote(depth - 1)) + 1


def pair() -> list[Any]:
    """Two actors that know each other."""
    actors = [ray.remote(Caller).options(num_cpus=0).remote() for _ in range(2)]
    ray.get([actors[0].meet.remote(actors[1]), actors[1].meet.remote(actors[0])])
    return actors


def end(*actors: Any) -> None:
    for actor in actors:
        ray.kill(actor)


def test_actors_that_call_each_other_are_reported_once_with_both_lines(world: Any, reports: Any) -> None:
    first, second = pair()
    ref = first.call.remote(3)
    [text] = world.eventually(reports, "the cycle is reported")
    lines = [line for line in text.splitlines() if line.startswith("  - ")]
    assert len([line for line in lines if "get()" in line]) == 2, text
    for line in lines:
        if "get()" in line:
            assert re.search(rf"Caller\.call .* in get\(\) at {HERE} call for .*\(\.remote\(\) at {HERE} call\)", line)
    assert "async methods" in text.splitlines()[-1], "the report says what helps"
    time.sleep(QUIET)
    assert len(reports()) == 1, "a cycle is told once"
    assert ray.wait([ref], timeout=0)[0] == []
    end(first, second)


def test_an_actor_that_waits_for_itself(world: Any, reports: Any) -> None:
    @ray.remote(num_cpus=0)
    class Self:
        def outer(self, me: Any) -> int:
            return ray.get(me.inner.remote())

        def inner(self) -> int:
            return 1

    actor = Self.remote()
    actor.outer.remote(actor)
    [text] = world.eventually(reports, "the cycle is reported")
    assert re.search(r"Self\.outer .* in get\(\) at", text) and re.search(r"Self\.inner .* in the queue", text)
    end(actor)


def test_a_chain_of_calls_that_ends_is_no_cycle(world: Any, reports: Any) -> None:
    @ray.remote(num_cpus=0)
    def deep(level: int) -> int:
        if level == 0:
            time.sleep(QUIET)
            return 0
        return ray.get(deep.remote(level - 1)) + 1

    assert ray.get(deep.remote(4)) == 4
    assert reports() == [], "the wait was long, but somebody was at work"


def test_a_wait_with_a_timeout_is_no_cycle(world: Any, reports: Any) -> None:
    @ray.remote(num_cpus=0)
    class Patient:
        def outer(self, me: Any) -> str:
            try:
                ray.get(me.inner.remote(), timeout=QUIET / 2)
            except ray.exceptions.GetTimeoutError:
                return "gave up"
            return "impossible"

        def inner(self) -> None: ...

    actor = Patient.remote()
    assert ray.get(actor.outer.remote(actor)) == "gave up"
    assert reports() == []
    end(actor)


def test_wait_for_any_goes_on_with_the_other_one(world: Any, reports: Any) -> None:
    signal = world.signal()

    @ray.remote(num_cpus=0)
    class Any_:
        def outer(self, me: Any) -> int:
            ready, _ = ray.wait([me.inner.remote(), signal.wait.remote()], num_returns=1)
            return len(ready)

        def inner(self) -> None: ...

    actor = Any_.remote()
    ref = actor.outer.remote(actor)
    time.sleep(QUIET)
    assert reports() == [], "the signal may come"
    ray.get(signal.send.remote())
    assert ray.get(ref) == 1
    end(actor)


@pytest.mark.cluster(cpus=2, init={"resources": {"slot": 2}, **CHECK})
def test_actors_that_hold_what_their_own_actors_need(world: Any, reports: Any) -> None:
    @ray.remote(num_cpus=0, resources={"slot": 1})
    class Leaf:
        def ping(self) -> int:
            return 1

    @ray.remote(num_cpus=0, resources={"slot": 1})
    class Parent:
        def work(self) -> int:
            return ray.get(Leaf.remote().ping.remote())

    parents = [Parent.remote() for _ in range(2)]
    refs = [parent.work.remote() for parent in parents]
    [text, *_] = world.eventually(reports, "the cycle is reported")
    assert re.search(r"Parent\.work .* in get\(\) at .* for \S*Leaf\.ping", text), text
    assert re.search(r"waits .*until \{slot: 1\} is free: .* held by actor \S*Parent \{slot: 2\}", text), text
    assert "num_cpus=0" in text.splitlines()[-1]
    time.sleep(QUIET)
    assert len(reports()) == 1, reports()
    end(*parents)
    del refs


class Idle:
    """An actor that does nothing."""

    def ping(self) -> None: ...


def idle_actors() -> list[Any]:
    """Actors that hold all CPUs."""
    actors = [ray.remote(Idle).options(num_cpus=1).remote() for _ in range(2)]
    ray.get([actor.ping.remote() for actor in actors])
    return actors


def test_a_program_that_waits_for_cpus_that_its_idle_actors_hold(world: Any, reports: Any) -> None:
    actors = idle_actors()

    @ray.remote(num_cpus=1)
    def work() -> int:
        return 1

    @ray.remote(num_cpus=0)
    def wait_here(refs: list[Any], handles: list[Any]) -> int:
        return ray.get(refs[0])

    ref = work.remote()
    helper = wait_here.remote([ref], actors)
    del actors
    world.eventually(lambda: "held by actor Idle {CPU: 2}" in why_pending(helper), "the helper waits for the task")
    [text] = world.eventually(reports, "the cycle is reported")
    assert re.search(r"wait_here .* in get\(\) at .* for work", text), text
    assert "actor Idle does nothing, but keeps its resources until its last handle is gone" in text
    ray.cancel(helper, force=True)
    assert ray.get(ref) == 1


@pytest.mark.only("simulated")
def test_the_program_itself_can_be_part_of_it(world: Any, reports: Any) -> None:
    actors = idle_actors()

    @ray.remote(num_cpus=1)
    def work() -> int:
        return 1

    world.simulation.engine.call_after(10_000_000_000, lambda: world.simulation.kill_worker(0))
    assert ray.get(work.remote()) == 1, "nothing in the cluster ends the wait, but a fault from outside does"
    [text] = reports()
    assert re.search(r"the program waits .* in get\(\) at .*can_be_part_of_it for work .*\.remote\(\) at", text), text
    assert "actor Idle does nothing" in text
    assert re.search(r"work waits until \{CPU: 1\} is free: .* held by actor Idle \{CPU: 2\}", text), text
    end(*actors)


def test_a_helper_that_may_end_the_idle_actors_is_no_cycle(world: Any, reports: Any) -> None:
    actors = idle_actors()

    @ray.remote(num_cpus=1)
    def work() -> int:
        return 1

    @ray.remote(num_cpus=0)
    def kill_later(victims: list[Any]) -> None:
        time.sleep(QUIET)
        ray.kill(victims[0])

    ref = work.remote()
    helper = kill_later.remote(actors)
    assert ray.get(ref) == 1
    assert reports() == [], "the helper had the handles too, and was at work"
    ray.get(helper)
    end(*actors)


@pytest.mark.cluster(cpus=2, init={"resources": {"slot": 2}, **CHECK})
def test_groups_that_hold_what_their_own_tasks_reserve(world: Any, reports: Any) -> None:
    outer = placement_group([{"CPU": 1, "slot": 2}], name="outer")
    assert outer.wait(20)

    @ray.remote(num_cpus=1)
    def nested() -> bool:
        inner = placement_group([{"slot": 1}], name="inner")
        return ray.get(inner.ready()) is not None

    @ray.remote(num_cpus=0)
    def supervise() -> None:
        time.sleep(2 * QUIET)
        remove_placement_group(outer)

    ref = nested.options(scheduling_strategy=InGroup(outer)).remote()
    with pytest.raises(ray.exceptions.GetTimeoutError):
        ray.get(ref, timeout=QUIET)
    assert reports() == [], "the program may remove its group after the timeout"
    done = supervise.remote()
    with pytest.raises(ray.exceptions.TaskPlacementGroupRemoved):
        ray.get(ref)
    [text] = reports()
    assert re.search(r"nested .* in get\(\) at", text), text
    assert re.search(r"placement group inner waits for room: bundle 0 needs \{slot: 1\}", text), text
    ray.get(done)


@pytest.mark.only("simulated")
@pytest.mark.cluster(cpus=2, nodes=3, init=CHECK)
def test_a_worker_that_dies_in_the_middle_leads_to_no_false_report(world: Any, reports: Any) -> None:
    @ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
    class Half:
        def outer(self, other: Any, depth: int) -> int:
            return 0 if depth == 0 else ray.get(other.outer.remote(other, 0))

    @ray.remote(num_cpus=1, max_retries=-1)
    def slow() -> int:
        time.sleep(3)
        return 1

    actors = [Half.remote() for _ in range(3)]
    refs = [slow.remote() for _ in range(4)]
    chained = [actor.outer.remote(actors[0], 1) for actor in actors[1:]]
    for _ in range(6):
        time.sleep(0.3)
        world.simulation.kill_worker(1)
    assert ray.get(refs) == [1] * 4
    assert ray.get(chained) == [0, 0]
    assert reports() == []
