"""Programs beside the one that opened the simulation: how they end, and what ends with them."""

from __future__ import annotations

import time
from typing import Any

import pytest

import thornback as ray
from thornback.exceptions import SessionEndedError
from thornback.faults import plan as p
from thornback.faults.plan import AnyFault, Plan
from thornback.simulator import simulate


@ray.remote(num_cpus=0)
class Named:
    def ping(self) -> str:
        return "pong"


def make_actor() -> None:
    ray.init(namespace="n")
    actor: Any = Named.options(name="theirs").remote()
    ray.get(actor.ping.remote())
    time.sleep(5)
    ray.shutdown()
    time.sleep(1)


def has_actor() -> bool:
    try:
        return bool(ray.get(ray.get_actor("theirs").ping.remote()) == "pong")
    except ValueError:
        return False


def test_a_program_beside_has_a_driver_of_its_own_until_it_leaves() -> None:
    with simulate(nodes=3, cpus=2) as world:
        ray.init(namespace="n")
        program = world.start_program(make_actor, node=1)
        time.sleep(2)
        assert has_actor(), "what the other program has made is there for this one"
        assert list(world.nodes[1].drivers), "its driver runs on its node"
        program.wait()
        assert world.now > 6, "it goes on after it has left the cluster, to its own end"
        assert not program.killed and program.error is None
        assert not has_actor() and not world.nodes[1].drivers


@pytest.mark.parametrize("way", ["kill", "lose its node"])
def test_a_program_beside_that_is_killed_takes_what_it_has_made_along(way: str) -> None:
    with simulate(nodes=3, cpus=2) as world:
        ray.init(namespace="n")
        program = world.start_program(make_actor, node=1)
        time.sleep(2)
        assert has_actor()
        if way == "kill":
            program.kill()
        else:
            world.kill_node(1)
        program.wait()
        assert program.killed and program.error is None and world.now < 3
        time.sleep(20)
        assert not has_actor(), "its actor ends with it"


QUICK = {"heartbeat_period": 200_000_000}


@ray.remote(num_cpus=2, max_restarts=-1, max_task_retries=-1)
class Busy:
    def work(self, seconds: float) -> str:
        time.sleep(seconds)
        return "done"


def wait_for_an_actor() -> str:
    elsewhere: Any = Busy.remote()
    ray.get(elsewhere.work.remote(0))
    return str(ray.get(elsewhere.work.remote(30)))


GIVEN_UP: dict[str, AnyFault] = {
    "heartbeats are held back for ever": p.LateHeartbeats(node=1, at=2),
    "heartbeats are late": p.LateHeartbeats(node=1, at=2, until=6),
    "the node is cut off for a while": p.Cut(a=[1], b=[0, 2], at=2, until=6),
    "the node is paused": p.PauseNode(node=1, at=2, until=6),
    "its node process is paused": p.PauseRaylet(node=1, at=2, until=6),
}


@pytest.mark.parametrize("fault", GIVEN_UP.values(), ids=GIVEN_UP)
def test_a_program_whose_node_is_given_up_by_mistake_is_told_so_where_it_waits(fault: AnyFault) -> None:
    results: list[str] = []

    def program() -> None:
        ray.init()
        try:
            wait_for_an_actor()
        except SessionEndedError as error:
            results.append(str(error))
        ray.shutdown()
        ray.init()
        results.append("it works again" * ray.get(ray.remote(abs).remote(-1)))
        ray.shutdown()

    nodes = [{"cpus": 1}, {"cpus": 1}, {"cpus": 2}]
    with simulate(nodes=nodes, config=QUICK, faults=Plan(faults=(fault,)), time_limit=100) as world:
        ray.init()
        beside = world.start_program(program, node=1)
        beside.wait()
        assert results == ["this process has ended: the cluster had declared the node dead", "it works again"]
        assert not beside.killed and beside.error is None and world.now < 20
        ray.shutdown()


def test_a_program_that_is_killed_before_it_has_connected_never_does() -> None:
    with simulate(nodes=3, cpus=2) as world:
        ray.init(namespace="n")
        program = world.start_program(make_actor)
        program.kill()
        program.wait()
        time.sleep(1)
        assert program.killed and not has_actor()


def test_what_a_program_beside_raises_is_kept() -> None:
    def fail() -> None:
        ray.init()
        raise LookupError("nothing there")

    with simulate(nodes=1, cpus=2) as world:
        ray.init()
        program = world.start_program(fail)
        program.wait()
        assert isinstance(program.error, LookupError) and not program.killed
        assert len(world.nodes[0].drivers) == 1, "its driver has ended with it"
