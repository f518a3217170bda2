"""Actors and placement groups that ended so long ago that the GCS has forgotten them."""

from __future__ import annotations

from typing import Any

import pytest

import thornback as ray
from tests.worlds.conftest import World
from thornback.core.owner import groups
from thornback.exceptions import ActorDiedError, TaskPlacementGroupRemoved
from thornback.util import placement_group, remove_placement_group
from thornback.util.scheduling_strategies import PlacementGroupSchedulingStrategy as InGroup

KEPT = 2
"""Ended actors and groups that are remembered here."""
pytestmark = pytest.mark.cluster(cpus=2, init={"_system_config": {"dead_actors": KEPT, "removed_groups": KEPT}})


class Echo:
    def say(self, number: int) -> int:
        return number


@ray.remote(num_cpus=0.1)
def work() -> int:
    return 1


def ended_actors(count: int) -> list[Any]:
    """Actors that have ended, the oldest first."""
    echo: Any = ray.remote(Echo).options(num_cpus=0)
    actors = [echo.remote() for _ in range(count)]
    for actor in actors:
        assert ray.get(actor.say.remote(1)) == 1
        ray.kill(actor)
        with pytest.raises(ActorDiedError):
            ray.get(actor.say.remote(1))
    return actors


def removed_groups(count: int) -> list[Any]:
    """Groups that are removed, the oldest first."""
    made = [placement_group([{"CPU": 0.1}]) for _ in range(count)]
    for group in made:
        assert group.wait(20)
        remove_placement_group(group)
    return made


def test_who_first_calls_a_forgotten_actor_learns_that_it_has_ended(world: World) -> None:
    first, *_ = ended_actors(KEPT + 2)

    @ray.remote
    def call(actor: Any) -> str:
        with pytest.raises(ActorDiedError):
            ray.get(actor.say.remote(1), timeout=20)
        return "told"

    assert ray.get(call.remote(first), timeout=30) == "told"


def test_who_first_uses_a_forgotten_group_learns_that_it_is_removed(world: World) -> None:
    first, *_ = removed_groups(KEPT + 2)

    @ray.remote
    def use(group: Any) -> str:
        with pytest.raises(TaskPlacementGroupRemoved):
            ray.get(work.options(scheduling_strategy=InGroup(group)).remote(), timeout=20)
        return "told"

    assert ray.get(use.remote(first), timeout=30) == "told"


def test_a_maker_that_has_forgotten_its_group_too_learns_that_it_is_removed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "KEPT", KEPT)
    first, *_ = removed_groups(2 * KEPT + 2)
    with pytest.raises(TaskPlacementGroupRemoved):
        ray.get(work.options(scheduling_strategy=InGroup(first)).remote(), timeout=20)


def test_an_actor_that_is_yet_to_be_registered_is_waited_for(world: World) -> None:
    """Its constructor waits for an argument, and its handle is used elsewhere meanwhile."""
    signal = world.signal()

    @ray.remote
    def argument() -> int:
        ray.get(signal.wait.remote())
        return 1

    @ray.remote
    def call(actor: Any) -> int:
        return ray.get(actor.value.remote())

    class Kept:
        def __init__(self, value: int) -> None:
            self._value = value

        def value(self) -> int:
            return self._value

    actor: Any = ray.remote(Kept).options(num_cpus=0).remote(argument.options(num_cpus=0).remote())
    called = call.remote(actor)
    assert ray.wait([called], timeout=1.0)[0] == []
    ray.get(signal.send.remote())
    assert ray.get(called, timeout=20) == 1
