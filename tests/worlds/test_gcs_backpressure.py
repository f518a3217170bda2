"""Whoever makes actors and placement groups faster than the GCS takes them waits for it, wherever he runs."""

from __future__ import annotations

import time
from typing import Any

import pytest

import thornback as ray
from tests.worlds.conftest import World
from thornback.api import current
from thornback.core.config import SECOND
from thornback.faults.plan import CrashGcs, Plan
from thornback.faults.real import RealInjector
from thornback.util import placement_group, remove_placement_group

LIMIT = 3
FEW = pytest.mark.cluster(cpus=2, init={"_system_config": {"gcs_kept_limit": LIMIT}})


class Echo:
    def say(self, number: int) -> int:
        return number


def kept() -> int:
    """Messages that this process keeps for the GCS."""
    return current.require().core.owner.gcs.kept


@FEW
def test_actors_are_made_as_fast_as_the_gcs_takes_them(world: World) -> None:
    echo: Any = ray.remote(Echo).options(num_cpus=0)
    actors = []
    for _ in range(2 * LIMIT):
        actors.append(echo.remote())
        assert kept() <= LIMIT, "the driver waits in remote() rather than to keep more"
    assert ray.get([actor.say.remote(number) for number, actor in enumerate(actors)]) == list(range(2 * LIMIT))


@FEW
def test_groups_are_made_as_fast_as_the_gcs_takes_them(world: World) -> None:
    groups = []
    for _ in range(10 * LIMIT):
        groups.append(placement_group([{"CPU": 0.01}]))
        assert kept() <= LIMIT
    assert all(group.wait(20) for group in groups)
    for group in groups:
        remove_placement_group(group)


@FEW
def test_a_coroutine_that_waits_for_the_gcs_goes_on(world: World) -> None:
    class Maker:
        async def make(self, count: int) -> int:
            echo: Any = ray.remote(Echo).options(num_cpus=0)
            actors, most = [], 0
            for _ in range(count):
                actors.append(echo.remote())
                most = max(most, current.require().core.owner.gcs.kept)
            assert [await actor.say.remote(number) for number, actor in enumerate(actors)] == list(range(count))
            return most

    maker: Any = ray.remote(Maker).options(num_cpus=0).remote()
    found = ray.get([maker.make.remote(LIMIT + 1), maker.make.remote(LIMIT + 1)])
    assert max(found) <= LIMIT, "coroutines of one actor share what it keeps"


def groups_while_the_gcs_is_away(count: int) -> float:
    """How long it takes to make groups, the first of which finds the GCS there."""
    assert placement_group([{"CPU": 0.01}]).wait(20)
    time.sleep(0.7)
    began = time.monotonic()
    groups = [placement_group([{"CPU": 0.01}]) for _ in range(count)]
    lasted = time.monotonic() - began
    assert all(group.wait(20) for group in groups), "what was asked for while the GCS was away is made"
    return lasted


SETTINGS = {"gcs_kept_limit": 20, "gcs_retry": SECOND // 5}
AWAY = Plan(faults=(CrashGcs(at=0.5, restart_after=2.0),))


@pytest.mark.parametrize("count", [15, 60])
def test_who_wants_more_than_the_limit_waits_until_the_gcs_is_back(count: int) -> None:
    with ray.simulate(cpus=2, seed=3, faults=AWAY, config=SETTINGS):
        ray.init()
        lasted = groups_while_the_gcs_is_away(count)
        ray.shutdown()
    assert lasted < 0.1 if count < SETTINGS["gcs_kept_limit"] else lasted > 1, f"{count} groups took {lasted} s"


@pytest.mark.parametrize("count", [15, 60])
def test_who_wants_more_than_the_limit_of_a_real_gcs_waits_as_well(count: int) -> None:
    ray.init(num_cpus=2, _system_config=SETTINGS)
    try:
        with RealInjector(AWAY):
            lasted = groups_while_the_gcs_is_away(count)
    finally:
        ray.shutdown()
    assert lasted < 0.5 if count < SETTINGS["gcs_kept_limit"] else lasted > 0.5, f"{count} groups took {lasted} s"
