"""``get`` and ``wait``: timeouts, order, and what counts as ready."""

from __future__ import annotations

import time
from typing import Any

import pytest

import thornback as ray
from thornback.exceptions import GetTimeoutError


def test_get_gives_up_after_its_timeout(world: Any) -> None:
    gate = world.signal()
    ref = gate.wait.remote()
    start = time.monotonic()
    with pytest.raises(GetTimeoutError, match=r"0\.2 s"):
        ray.get(ref, timeout=0.2)
    assert 0.19 <= time.monotonic() - start < 5
    with pytest.raises(TimeoutError):
        ray.get([ref, ray.put(1)], timeout=0)
    gate.send.remote()
    assert ray.get(ref, timeout=20) is None


def test_get_with_timeout_zero_takes_what_is_there(world: Any) -> None:
    @ray.remote
    def work() -> int:
        return 3

    ref = work.remote()
    assert ray.get(ref) == 3
    assert ray.get(ref, timeout=0) == 3
    assert ray.get(ray.put(4), timeout=0) == 4


def test_wait_returns_what_is_ready_first(world: Any) -> None:
    gates = [world.signal() for _ in range(3)]
    refs = [gate.wait.remote() for gate in gates]
    gates[1].send.remote()
    ready, rest = ray.wait(refs)
    assert ready == [refs[1]] and rest == [refs[0], refs[2]]
    for gate in gates:
        gate.send.remote()
    ready, rest = ray.wait(refs, num_returns=3)
    assert ready == refs and rest == []


def test_wait_returns_at_most_as_many_as_asked_for(world: Any) -> None:
    refs = [ray.put(x) for x in range(5)]
    ready, rest = ray.wait(refs, num_returns=2)
    assert ready == refs[:2] and rest == refs[2:], "in the order given"


def test_wait_with_a_timeout_returns_fewer(world: Any) -> None:
    gate = world.signal()
    refs = [ray.put(1), gate.wait.remote(), ray.put(2)]
    start = time.monotonic()
    ready, rest = ray.wait(refs, num_returns=3, timeout=0.2)
    assert (ready, rest) == ([refs[0], refs[2]], [refs[1]])
    assert 0.19 <= time.monotonic() - start < 5
    assert ray.wait(refs[1:2], timeout=0) == ([], [refs[1]])
    gate.send.remote()


def test_wait_for_nothing_returns_nothing(world: Any) -> None:
    assert ray.wait([]) == ([], [])


def test_get_of_an_empty_list_is_an_empty_list(world: Any) -> None:
    assert ray.get([]) == []


def test_a_loop_of_waits_sees_every_result_once(world: Any) -> None:
    @ray.remote
    def work(x: int) -> int:
        time.sleep(0.001 * (x % 3))
        return x

    waiting, seen = [work.remote(x) for x in range(60)], []
    while waiting:
        ready, waiting = ray.wait(waiting, num_returns=min(5, len(waiting)))
        seen += ray.get(ready)
    assert sorted(seen) == list(range(60))


def test_wait_works_on_a_thousand_references(world: Any) -> None:
    @ray.remote
    def work(x: int) -> int:
        return x

    refs = [work.remote(x) for x in range(1000)]
    ready, rest = ray.wait(refs, num_returns=1000, timeout=30)
    assert len(ready) == 1000 and not rest


def test_tasks_can_wait_and_get_with_timeouts(world: Any) -> None:
    gate = world.signal()

    @ray.remote
    def impatient(refs: list[Any]) -> Any:
        ready, rest = ray.wait(refs, timeout=0.1)
        try:
            ray.get(refs[0], timeout=0.1)
        except GetTimeoutError:
            return len(ready), len(rest), "timeout"
        return len(ready), len(rest), "value"

    assert ray.get(impatient.remote([gate.wait.remote()])) == (0, 1, "timeout")
    gate.send.remote()


def test_wait_on_borrowed_references_asks_their_owner(world: Any) -> None:
    gate = world.signal()

    @ray.remote
    def produce() -> int:
        ray.get(gate.wait.remote())
        return 9

    @ray.remote
    def watch(refs: list[Any]) -> Any:
        ready, _ = ray.wait(refs, num_returns=len(refs))
        return [ray.get(ref) for ref in ready]

    watching = watch.remote([produce.remote(), produce.remote()])
    gate.send.remote()
    assert ray.get(watching) == [9, 9]


def test_a_future_resolves_with_the_value(world: Any) -> None:
    @ray.remote
    def work(fail: bool) -> int:
        if fail:
            raise ValueError("future trouble")
        return 5

    good, bad = work.remote(False), work.remote(True)
    ray.wait([good, bad], num_returns=2)
    assert good.future().result(timeout=20) == 5
    with pytest.raises(ValueError, match="future trouble"):
        bad.future().result(timeout=20)
