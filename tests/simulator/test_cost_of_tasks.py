"""What a task costs the simulator without faults: events, which are equal on every machine, rather than seconds."""

from __future__ import annotations

from collections import Counter

import pytest

import thornback as ray
from thornback.simulator.clock import Timer

TASKS = 400


def events_per_task(nodes: int) -> float:
    with ray.simulate(nodes=nodes, cpus=2, seed=1) as world:
        ray.init()

        @ray.remote
        def work() -> None:
            ray.simulator.compute(0.1)

        ray.get([work.remote() for _ in range(20)])
        before = world.events
        ray.get([work.remote() for _ in range(TASKS)])
        return (world.events - before) / TASKS


@pytest.mark.parametrize("nodes", [1, 5])
def test_a_long_task_is_three_events_and_little_besides(nodes: int) -> None:
    """It arrives, goes on after its time, and is answered; nodes, the GCS and timers have a part of the rest."""
    assert events_per_task(nodes) < 5


def test_a_node_on_which_only_equal_requests_wait_looks_for_nothing_to_take_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    timers: Counter[str] = Counter()
    run = Timer.run

    def counted(timer: Timer) -> None:
        timers[getattr(timer.call, "__qualname__", "")] += 1
        run(timer)

    monkeypatch.setattr(Timer, "run", counted)
    assert events_per_task(1) > 3
    assert timers["Reclaiming._reclaim"] < 5 < timers["Raylet._view_again"]
