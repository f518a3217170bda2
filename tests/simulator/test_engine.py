"""The event queue: order, ties, cancellation, and genuine SimPy processes beside it."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest
import simpy
from hypothesis import given
from hypothesis import strategies as st

from thornback.simulator import seeds
from thornback.simulator.clock import NodeClock
from thornback.simulator.engine import COMPACT_ABOVE, Engine, Flag, NoProgressError


def engine(seed: int = 0) -> Engine:
    return Engine(seeds.stream(seed, "ties"))


def drain(env: Engine) -> None:
    assert env.pump(Flag()) is False


def test_events_happen_in_the_order_of_their_times() -> None:
    env, seen = engine(), []
    for delay in (30, 10, 20):
        env.call_after(delay, lambda delay=delay: seen.append((env.now, delay)))
    drain(env)
    assert seen == [(10, 10), (20, 20), (30, 30)]


def order_of_ties(seed: int) -> list[int]:
    env, seen = engine(seed), []
    for number in range(20):
        env.call_after(5, lambda number=number: seen.append(number))
    drain(env)
    return seen


def test_ties_are_broken_by_the_seed() -> None:
    assert order_of_ties(1) == order_of_ties(1)
    assert order_of_ties(1) != order_of_ties(2)
    assert sorted(order_of_ties(1)) == list(range(20))


def test_a_cancelled_call_does_not_happen() -> None:
    env, seen = engine(), []
    env.call_after(5, lambda: seen.append("kept"))
    dropped = env.call_after(5, lambda: seen.append("dropped"))
    dropped.cancel()
    dropped.cancel()
    drain(env)
    assert seen == ["kept"]
    assert env.events == 1


def test_cancelled_calls_do_not_pile_up() -> None:
    env = engine()
    for _ in range(100):
        env.call_after(10**9, lambda: None)
    for _ in range(50_000):
        env.call_after(10**9, lambda: None).cancel()
    assert env.pending <= 2 * (COMPACT_ABOVE + 100)
    drain(env)
    assert env.events == 100


def test_cancelling_what_has_happened_is_harmless() -> None:
    env = engine()
    call = env.call_after(1, lambda: None)
    drain(env)
    call.cancel()
    env.call_after(1, lambda: None)
    drain(env)
    assert env.events == 2


def test_simpy_processes_share_the_queue() -> None:
    env, seen = engine(), []

    def process() -> Generator[Any, Any, None]:
        yield env.timeout(10)
        seen.append(env.now)
        with simpy.Resource(env).request() as request:
            yield request
        yield env.timeout(5)
        seen.append(env.now)

    env.process(process())
    env.call_after(12, lambda: seen.append("call"))
    drain(env)
    assert seen == [10, "call", 15]


def test_streams_depend_on_every_part_of_their_name() -> None:
    names = [(0, "a"), (1, "a"), (0, "b"), (0, "a", ""), (0, "a", b"x"), (0, "ab"), (0, "a", "b")]
    assert len({seeds.derive(*name) for name in names}) == len(names)


def test_events_that_follow_each_other_without_end_at_one_instant_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thornback.simulator.engine.COLLECT_EVERY", 100)
    env = engine()

    def again() -> None:
        env.call_after(0, again)

    env.call_after(5, again)
    with pytest.raises(NoProgressError, match=r"within 10000 ns of virtual time, at 0\.000000005 s; .*again"):
        env.pump(Flag())


def test_many_events_in_a_short_time_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thornback.simulator.engine.COLLECT_EVERY", 100)
    env, seen = engine(), []
    for number in range(3000):
        env.call_after(number * 20, lambda: seen.append(env.now))
    drain(env)
    assert len(seen) == 3000


@given(st.floats(-200_000, 200_000), st.integers(0, 10**13), st.integers(0, 10**12), st.integers(1, 10**11))
def test_a_timer_is_never_early_by_the_clock_of_its_node(drift: float, since: int, at: int, delay: int) -> None:
    env = engine()
    clock = NodeClock(env)
    env._now = since
    clock.set_drift(drift)
    env._now += at
    before = clock.now()
    env._now += clock.to_engine(delay)
    assert clock.now() - before >= delay, f"{drift} ppm: the clock shows less than the {delay} ns that were asked for"
