"""A node that leaves too early is found; one that leaves empty, or since its time is over, is not."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

import thornback as ray
from thornback.core.raylet.draining import Draining
from thornback.faults import invariants as inv
from thornback.simulator import simulate
from thornback.util import drain_node
from thornback.util.scheduling_strategies import NodeAffinitySchedulingStrategy


@ray.remote(max_retries=0)
def make(seconds: float) -> Any:
    """A large value."""
    time.sleep(seconds)
    return np.ones(50_000)


def found(seconds: float, deadline: float | None) -> list[str]:
    """What is said of a node that leaves while it has an object, and a task that takes so many seconds."""
    with simulate(nodes=3, cpus=2, seed=3) as world:
        monitor = inv.Monitor([inv.Leaving()])
        monitor.watch(world)
        ray.init()
        world.run_for(2)
        node = next(node["NodeID"] for node in ray.nodes() if node["NodeName"] == "node-1")
        there = make.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False))
        made, running = there.remote(0), there.remote(seconds)
        ray.wait([made], fetch_local=False)
        drain_node(node, "it is old", deadline)
        time.sleep(60)
        assert node not in [each["NodeID"] for each in ray.nodes() if each["Alive"]], "it leaves in any case"
        del made, running
        ray.shutdown()
    return sorted({violation.where for violation in monitor.violations})


@pytest.mark.parametrize(("seconds", "deadline"), [(0, None), (5, None), (0, 20), (30, 10)])
def test_a_node_that_leaves_when_it_may_is_not_accused(seconds: float, deadline: float | None) -> None:
    assert found(seconds, deadline) == []


def test_a_node_that_leaves_with_an_object_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Draining, "_primaries", lambda self: [])
    assert found(0, 20) == ["it leaves with an object"]


def test_a_node_that_leaves_while_a_task_runs_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Draining, "_look", lambda self: self._leave())
    assert found(30, 20) == ["it leaves while a task runs", "it leaves with an object"]
    monkeypatch.setattr(Draining, "_look", lambda self: None)
    assert found(30, 20) == [], "its time is over when it leaves"
