"""Objects that are spilled, evicted, copied and promoted while nodes, links and disks fail: every byte is verified."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import thornback as ray
from thornback.faults import plan as p
from thornback.faults.plan import AnyFault, Plan
from thornback.simulator import simulate
from thornback.util import state
from thornback.util.scheduling_strategies import NodeAffinitySchedulingStrategy

MIB = 1 << 20
NODE = {"object_store_memory": 10 * MIB}
SETTINGS = {"spill_file_size": 2 * MIB}


def run(*faults: AnyFault, seed: int = 5) -> Any:
    """Three times what the stores hold goes around between three nodes; returns the world's counts."""
    options: dict[str, Any] = {"nodes": [NODE] * 3, "cpus": 2, "config": SETTINGS, "seed": seed, "time_limit": 900}
    options["costs"] = {"make": 0.02, "mixed": 0.02}  # so that all nodes get some of them
    with simulate(faults=Plan(faults=faults), **options) as world:
        ray.init()

        @ray.remote(max_retries=-1, scheduling_strategy="SPREAD")
        def make(seed: int) -> Any:
            return np.random.default_rng(seed).integers(0, 255, MIB, dtype=np.uint8)

        @ray.remote(max_retries=-1, scheduling_strategy="SPREAD")
        def mixed(one: Any, other: Any) -> Any:
            return one ^ other

        made = [make.remote(seed) for seed in range(30)]
        ray.wait(made, num_returns=len(made))
        both = [mixed.remote(made[index], made[(index * 7 + 3) % 30]) for index in range(30)]
        again = [mixed.remote(both[index], made[(index * 11 + 5) % 30]) for index in range(30)]
        del both
        for index in range(30):
            numbers = (index, (index * 7 + 3) % 30, (index * 11 + 5) % 30)
            one, other, third = (
                np.random.default_rng(number).integers(0, 255, MIB, dtype=np.uint8) for number in numbers
            )
            assert np.array_equal(ray.get(again[index]), one ^ other ^ third), f"result {index} should be right"
        del made, again

        def nothing_left() -> bool:
            return all(
                store["objects"] == store["used"] == store["spilled_bytes"] == 0 for store in state.list_stores()
            )

        for _ in range(200):
            if nothing_left():
                break
            world.run_for(0.5)
        assert nothing_left(), f"memory and disk should be empty in the end: {state.list_objects()[:3]}"
        ray.shutdown()
        return world.stats


FAULTS: dict[str, tuple[AnyFault, ...]] = {
    "none": (),
    "copies are evicted as the primary's node crashes": (
        p.CrashNode(node=1, after=p.Trigger(message="ArgumentsPinned", count=12), reboot_after=1),
        p.EvictCopies(node=2, after=p.Trigger(message="Deaths", node=2)),
        p.EvictCopies(node=0, after=p.Trigger(message="Deaths", node=0)),
    ),
    "copies are evicted while objects are spilled": tuple(
        p.EvictCopies(node=node, after=p.Trigger(event="object.spilled", count=count))
        for node in range(3)
        for count in (1, 5, 9)
    ),
    "spill files are torn": tuple(p.TornSpill(node=node, count=2) for node in range(3)),
    "spill files become corrupt": tuple(
        p.CorruptSpill(node=node, after=p.Trigger(event="object.spilled", count=count))
        for node, count in ((0, 4), (1, 6), (2, 8))
    ),
    "transfers are reset": tuple(
        p.Reset(a=a, b=b, after=p.Trigger(message="ObjectChunk", count=count))
        for a, b, count in ((0, 1, 2), (1, 2, 4), (0, 2, 6))
    ),
    "chunks become corrupt": tuple(p.CorruptChunk(node=node, count=4) for node in range(3)),
    "a node crashes while it serves transfers": (
        p.CrashNode(node=1, after=p.Trigger(message="FetchObject", node=1, count=3), reboot_after=1),
    ),
    "a worker crashes with its arguments pinned": (
        p.CrashWorker(node=1, after=p.Trigger(message="ArgumentsPinned", node=1)),
    ),
    "disks fail for a while": tuple(p.SpillError(node=node, at=0.05, until=1) for node in range(3)),
    "stores are half full with something else": tuple(
        p.FillStore(node=node, at=0.05, until=3, fraction=0.5) for node in range(3)
    ),
    "messages are lost, doubled and reordered": (
        p.Loss(rate=0.1, at=0, until=20),
        p.Duplicate(rate=0.1, at=0, until=20),
        p.Reorder(rate=0.2, at=0, until=20),
    ),
}


@pytest.mark.parametrize("faults", FAULTS.values(), ids=FAULTS)
def test_what_is_lost_is_made_again_and_nothing_stays_behind(faults: tuple[AnyFault, ...]) -> None:
    stats = run(*faults)
    assert stats["faults"] >= len(faults), "each fault should have happened"


@pytest.mark.parametrize("race", ["crash", "eviction"])
def test_a_copy_that_became_the_primary_and_is_lost_at_once_is_made_again(race: str) -> None:
    promoted = p.Trigger(message="KeepCopy", node=2)
    fault: AnyFault = p.CrashNode(node=2, after=promoted, reboot_after=1)
    if race == "eviction":
        fault = p.EvictCopies(node=2, after=p.Trigger(message="Deaths", node=2))
    faults = (p.CrashNode(node=1, at=2, reboot_after=1), fault)
    with simulate(nodes=3, cpus=2, faults=Plan(faults=faults), seed=3, time_limit=900) as world:
        ray.init()
        nodes = sorted(ray.nodes(), key=lambda node: node["NodeName"])
        there = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=True) for node in nodes]

        @ray.remote(max_retries=-1)
        def make(seed: int) -> Any:
            return np.random.default_rng(seed).integers(0, 255, MIB, dtype=np.uint8)

        @ray.remote(max_retries=-1)
        def first(value: Any) -> int:
            return int(value[0])

        made = [make.options(scheduling_strategy=there[1]).remote(seed) for seed in range(2)]
        assert len(ray.get([first.options(scheduling_strategy=there[2]).remote(ref) for ref in made])) == 2
        world.run_for(60)
        assert world.stats["faults"] == 2, "both faults should have happened"
        for seed, ref in enumerate(made):
            assert np.array_equal(ray.get(ref), np.random.default_rng(seed).integers(0, 255, MIB, dtype=np.uint8))
        ray.shutdown()
