"""Ends of processes are told to those whom they concern, also when that begins after the end."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

import thornback as ray
from thornback.core.ids import Address, is_node
from thornback.core.messages import Deaths
from thornback.exceptions import TaskUnschedulableError
from thornback.simulator import simulate
from thornback.util.scheduling_strategies import In, NodeAffinitySchedulingStrategy, NodeLabelSchedulingStrategy


class Told:
    """Counts of who is told of ends of processes (not of nodes)."""

    def __init__(self, world: Any) -> None:
        self.count: dict[Address, int] = {}
        world.trace.message_listeners.append(self._delivered)

    def _delivered(self, _now: int, _sender: Address, to: Address, message: Any, _cause: int) -> None:
        if type(message) is Deaths:
            processes = sum(not is_node(death.address) for death in message.deaths)
            if processes:
                self.count[to] = self.count.get(to, 0) + processes


@ray.remote
class Keeper:
    def keep(self, size: int) -> list[ray.ObjectRef]:
        return [ray.put(bytes(size))]

    def pid(self) -> int:
        return os.getpid()


@ray.remote(max_retries=0)
def read(inside: list[ray.ObjectRef]) -> int:
    return len(ray.get(inside[0]))


@pytest.mark.parametrize("size", [10, 200_000], ids=["small", "in shared memory"])
@pytest.mark.parametrize("lossy", [False, True], ids=["reliable links", "links that lose messages"])
def test_a_node_that_joins_later_learns_that_an_owner_has_ended_before(lossy: bool, size: int) -> None:
    """Whoever comes to depend on a process asks for it, so nobody need have been there when it ended."""
    with ray.simulate(nodes=3, cpus=2, seed=5, lossy=lossy) as world:
        ray.init()
        keeper = Keeper.options(num_cpus=2).remote()
        inside = ray.get(keeper.keep.remote(size))
        ray.kill(keeper)
        world.run_for(5)
        world.add_node(8)
        world.run_for(5)
        reading = read.options(num_cpus=8).remote(inside)
        with pytest.raises(ray.exceptions.OwnerDiedError):
            ray.get(reading, timeout=30)
        ray.shutdown()


def test_the_end_of_a_worker_is_told_only_to_those_whom_it_concerns() -> None:
    with ray.simulate(nodes=10, cpus=4, seed=3) as world:
        told = Told(world)
        ray.init()

        @ray.remote
        def busy(number: int) -> int:
            time.sleep(30)
            return number

        @ray.remote
        class Short:
            def say(self) -> int:
                return 1

        others = [busy.remote(number) for number in range(10)]
        for _ in range(5):
            shorts = [Short.remote() for _ in range(10)]
            assert sum(ray.get([short.say.remote() for short in shorts])) == 10
            for short in shorts:
                ray.kill(short)
            world.run_for(1)
        workers = {to: count for to, count in told.count.items() if len(to) > 8 and to != ray_driver(world)}
        assert not workers, f"50 actors have ended that no worker has had to do with, but workers were told: {workers}"
        assert ray.get(others) == list(range(10))
        ray.shutdown()


def ray_driver(world: Any) -> Address:
    """The address of the program."""
    return next(iter(world.nodes[0].drivers))


def test_what_is_sent_to_a_process_that_has_ended_is_not_sent_again_for_ever() -> None:
    """Also by those who are not told of the end: the machine where it was says that nobody is there."""
    with ray.simulate(nodes=2, cpus=2, seed=4, lossy=True) as world:
        ray.init()
        there = NodeAffinitySchedulingStrategy(world.nodes[1].node_id.hex(), soft=False)
        keeper = Keeper.options(scheduling_strategy=there).remote()
        process = world.process_with(ray.get(keeper.pid.remote()))
        assert process.node is world.nodes[1]
        call = keeper.pid.remote()
        world.run_for(0.0001)
        world.end_process(process, "killed (SIGKILL)")
        with pytest.raises(ray.exceptions.RayActorError):
            ray.get(call)
        world.run_for(10)
        for process in world.nodes[0].processes():
            for peer, endpoint in process.endpoints.items():
                waiting = peer not in world.network.directory and endpoint._protocol.outstanding
                assert not waiting, f"{process.address.hex()} still sends to {peer.hex()}, which has ended"
        ray.shutdown()


def test_a_task_that_waits_for_the_only_node_with_its_labels_is_refused_when_that_node_dies() -> None:
    with simulate(nodes=[{"cpus": 1}, {"cpus": 1, "labels": {"disk": "ssd"}}], time_limit=100) as world:
        ray.init()
        there = NodeLabelSchedulingStrategy({"disk": In("ssd")})
        work = ray.remote(time.sleep).options(scheduling_strategy=there, max_retries=0, fail_if_infeasible=True)
        work.remote(100)
        time.sleep(1)
        refs = []
        for cpus in (0.5, 0.25):
            refs.append(work.options(num_cpus=cpus).remote(0))
            time.sleep(1)
        waiting = [len(node.process.core.raylet.leases.queue) for node in world.nodes if node.process]
        assert waiting == [1, 1], "one waits there, one here, where it is known by then that there is no room"
        world.kill_node(1)
        for ref in refs:
            with pytest.raises(TaskUnschedulableError, match="labels that none of the 1 nodes has"):
                ray.get(ref, timeout=60)
        ray.shutdown()
