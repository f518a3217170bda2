"""Programs that end are never said to wait for ever, however often they are looked at and whatever fails meanwhile."""

from __future__ import annotations

import logging
import random
import time
from typing import Any

import pytest

import thornback as ray

LOOKS = {"wait_check": 20_000_000}
"""So often that nearly every wait is looked at, many of them in the middle of a change."""
LAYERS = 3


class Layer:
    """An actor that calls those of the next layer, and waits for them."""

    def __init__(self, below: list[Any]) -> None:
        self.below = below

    def work(self, seed: int) -> int:
        draw = random.Random(seed)
        time.sleep(draw.random() / 20)
        refs = [actor.work.remote(seed + number) for number, actor in enumerate(self.below) if draw.random() < 0.7]
        return 1 + sum(ray.get(refs))


def nested(depth: int, seed: int, earlier: list[Any]) -> int:
    """A task that waits for tasks of its own, and perhaps for one that was submitted before it."""
    draw = random.Random(seed)
    time.sleep(draw.random() / 20)
    if earlier and draw.random() < 0.5:
        ray.get(earlier[0])
    if depth == 0:
        return 1
    again = ray.remote(nested).options(max_retries=-1)
    refs = [again.remote(depth - 1, seed + number, []) for number in range(draw.randrange(1, 4))]
    first, rest = ray.wait(refs, num_returns=1)
    return 1 + sum(ray.get(first)) + sum(ray.get(rest))


def run(seed: int, faults: bool) -> None:
    """A random program on a random small cluster."""
    draw = random.Random(seed)
    with ray.simulate(nodes=draw.randrange(1, 4), cpus=draw.randrange(1, 3), seed=seed, config=LOOKS) as world:
        ray.init()
        actor_class = ray.remote(Layer).options(num_cpus=0, max_restarts=-1, max_task_retries=-1)
        below: list[Any] = []
        for _ in range(LAYERS):
            below = [actor_class.remote(below) for _ in range(draw.randrange(1, 3))]
        task = ray.remote(nested).options(max_retries=-1)
        refs: list[Any] = []
        for number in range(6):
            refs.append(task.remote(draw.randrange(3), seed + number, refs[-1:]))
        refs += [actor.work.remote(seed) for actor in below for _ in range(2)]
        if faults:
            for _ in range(3):
                world.run_for(draw.random() / 5)
                world.kill_worker(draw.randrange(len(world.nodes)))
        assert all(value > 0 for value in ray.get(refs))


@pytest.mark.parametrize("faults", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_what_ends_is_never_reported(seed: int, faults: bool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "thornback")
    run(seed, faults)
    assert "wait for each other" not in caplog.text


@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("faults", [False, True])
def test_what_ends_is_never_reported_over_many_seeds(faults: bool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "thornback")
    for seed in range(100, 300):
        run(seed, faults)
        assert "wait for each other" not in caplog.text, f"seed {seed}"
